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

use super::stacks::{ExceptionStack, STACKS};

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

struct Segments {
    descriptors: UnsafeCell<Descriptors>,
    task: UnsafeCell<TaskStateSegment>,
}

// SAFETY: written once by `load`, before there is anything else that runs; after that only the processor
// touches it (it marks the task state busy).
unsafe impl Sync for Segments {}

static SEGMENTS: Segments = Segments {
    descriptors: UnsafeCell::new(Descriptors {
        null: Descriptor::NULL,
        code: Descriptor::NULL,
        data: Descriptor::NULL,
        task: Descriptor64::NULL,
    }),
    task: UnsafeCell::new(TaskStateSegment::new()),
};

/// Loads the segments. Once, with interrupts off.
pub(crate) fn load() {
    let mut task = TaskStateSegment::new();
    for stack in ExceptionStack::ALL {
        // Slot 1 of the hardware's table is index 0 here.
        task.set_ist(usize::from(stack.slot() - 1), STACKS.top(stack));
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
            SEGMENTS.task.get().addr() as u64,
            task_bytes - 1,
            true,
        )
        .present()
        .dpl(Ring::Ring0)
        .finish(),
    };
    // SAFETY: `load` runs once, on the only processor that runs, with interrupts off: nobody else looks at
    // the statics. They live for ever at the addresses given to the processor, the selectors name the
    // descriptors written here, and the boot code segment is replaced by one that means the same.
    unsafe {
        SEGMENTS.task.get().write(task);
        SEGMENTS.descriptors.get().write(descriptors);
        lgdt(&DescriptorTablePointer::new(&*SEGMENTS.descriptors.get()));
        x86::bits64::segmentation::load_cs(CODE);
        load_ss(DATA);
        x86::task::load_tr(TASK);
    }
}

fn flat(descriptor: DescriptorBuilder) -> DescriptorBuilder {
    descriptor.present().dpl(Ring::Ring0).limit_granularity_4kb()
}
