//! Segments and the task state: what 64-bit mode still asks for.
//!
//! One flat code segment, one flat data segment, and a task state whose only use is to give non-maskable
//! interrupts, double faults and machine checks a stack of their own.
//!
//! Source: SDM vol. 3A §9.2.4, §9.7 (task management in 64-bit mode).

use core::cell::UnsafeCell;

use x86::Ring;
use x86::bits64::segmentation::Descriptor64;
use x86::bits64::task::TaskStateSegment;
use x86::dtables::{DescriptorTablePointer, lgdt};
use x86::segmentation::{
    BuildDescriptor, CodeSegmentType, DataSegmentType, Descriptor, DescriptorBuilder, GateDescriptorBuilder,
    SegmentDescriptorBuilder, SegmentSelector, load_ss,
};

use super::stacks::{ExceptionStack, Stacks};

/// Selector of the code segment.
pub(crate) const CODE: SegmentSelector = SegmentSelector::new(1, Ring::Ring0);
/// Selector of the data segment: the stack's.
const DATA: SegmentSelector = SegmentSelector::new(2, Ring::Ring0);
/// Selector of the task state.
const TASK: SegmentSelector = SegmentSelector::new(3, Ring::Ring0);

/// The descriptor table, in the order of the selectors.
#[repr(C, align(16))]
struct Descriptors {
    null: Descriptor,
    code: Descriptor,
    data: Descriptor,
    task: Descriptor64,
}

/// The segments of one processor.
pub(crate) struct Segments {
    descriptors: UnsafeCell<Descriptors>,
    task: UnsafeCell<TaskStateSegment>,
}

// SAFETY: written once by `load`, by the processor whose they are, before it runs anything else; after that only that
// processor touches it (it marks the task state busy).
unsafe impl Sync for Segments {}

impl Segments {
    /// Segments that are not loaded.
    pub(crate) const fn new() -> Self {
        Self {
            descriptors: UnsafeCell::new(Descriptors {
                null: Descriptor::NULL,
                code: Descriptor::NULL,
                data: Descriptor::NULL,
                task: Descriptor64::NULL,
            }),
            task: UnsafeCell::new(TaskStateSegment::new()),
        }
    }

    /// Loads them into the running processor. Once, with interrupts off.
    pub(crate) fn load(&'static self, stacks: &Stacks) {
        let mut task = TaskStateSegment::new();
        for stack in ExceptionStack::ALL {
            // Slot 1 of the hardware's table is index 0 here.
            task.set_ist(usize::from(stack.slot() - 1), stacks.top(stack));
        }
        let task_bytes = size_of::<TaskStateSegment>() as u64;
        // No I/O permission map: it would begin past the end.
        task.iomap_base = 104;
        const _: () = assert!(size_of::<TaskStateSegment>() == 104);

        let descriptors = Descriptors {
            null: Descriptor::NULL,
            code: flat(
                <DescriptorBuilder as SegmentDescriptorBuilder<u32>>::code_descriptor(
                    0,
                    0xf_ffff,
                    CodeSegmentType::ExecuteReadAccessed,
                ),
            )
            .l()
            .finish(),
            data: flat(
                <DescriptorBuilder as SegmentDescriptorBuilder<u32>>::data_descriptor(
                    0,
                    0xf_ffff,
                    DataSegmentType::ReadWriteAccessed,
                ),
            )
            .db()
            .finish(),
            task: <DescriptorBuilder as GateDescriptorBuilder<u64>>::tss_descriptor(
                self.task.get().addr() as u64,
                task_bytes - 1,
                true,
            )
            .present()
            .dpl(Ring::Ring0)
            .finish(),
        };
        // SAFETY: `load` runs once, on the processor that they are for, with interrupts off: nobody else looks at
        // them. They live for ever at the addresses given to the processor, the selectors name the
        // descriptors written here, and the boot code segment is replaced by one that means the same.
        unsafe {
            self.task.get().write(task);
            self.descriptors.get().write(descriptors);
            lgdt(&DescriptorTablePointer::new(&*self.descriptors.get()));
            x86::bits64::segmentation::load_cs(CODE);
            load_ss(DATA);
            x86::task::load_tr(TASK);
        }
    }
}

fn flat(descriptor: DescriptorBuilder) -> DescriptorBuilder {
    descriptor.present().dpl(Ring::Ring0).limit_granularity_4kb()
}
