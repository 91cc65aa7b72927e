//! The running processor's state that an exit has to bring back: what a control structure is told of it
//! (SDM vol. 3 §25.5).

use x86::controlregs::{cr0, cr3, cr4};
use x86::dtables::{DescriptorTablePointer, sgdt, sidt};
use x86::msr::{
    IA32_EFER, IA32_FS_BASE, IA32_GS_BASE, IA32_PAT, IA32_SYSENTER_CS, IA32_SYSENTER_EIP, IA32_SYSENTER_ESP,
    rdmsr,
};
use x86::segmentation::{cs, ss};
use x86::task::tr;

use super::setup::HostState;
use super::world_switch::exited;

/// The running processor's. The stack pointer is each entry's own.
pub(super) fn of_running_processor() -> HostState {
    let mut global = DescriptorTablePointer::<u64>::default();
    let mut interrupt = DescriptorTablePointer::<u64>::default();
    // SAFETY: privilege level 0; the instructions only read, and the MSRs exist on every processor with long mode.
    unsafe {
        sgdt(&mut global);
        sidt(&mut interrupt);
        let task = tr();
        HostState {
            cr0: cr0().bits() as u64,
            cr3: cr3(),
            cr4: cr4().bits() as u64,
            cs: cs().bits(),
            ss: ss().bits(),
            // 64-bit code uses none of these, and null selectors are allowed.
            ds: 0,
            es: 0,
            fs: 0,
            gs: 0,
            tr: task.bits(),
            fs_base: rdmsr(IA32_FS_BASE),
            gs_base: rdmsr(IA32_GS_BASE),
            tr_base: task_base(global.base, task.index()),
            gdtr_base: global.base as u64,
            idtr_base: interrupt.base as u64,
            sysenter_cs: rdmsr(IA32_SYSENTER_CS),
            sysenter_esp: rdmsr(IA32_SYSENTER_ESP),
            sysenter_eip: rdmsr(IA32_SYSENTER_EIP),
            pat: rdmsr(IA32_PAT),
            efer: rdmsr(IA32_EFER),
            rsp: 0,
            rip: exited as *const () as u64,
        }
    }
}

/// The base of the task state, from its descriptor of 16 bytes (SDM vol. 3 §8.2.3).
///
/// # Safety
/// `table` is the loaded table of global descriptors, and `index` that of the loaded task state.
unsafe fn task_base(table: *const u64, index: u16) -> u64 {
    // SAFETY: the processor has read both halves from there, when the task register was loaded.
    let (low, high) = unsafe {
        let descriptor = table.add(usize::from(index));
        (descriptor.read(), descriptor.add(1).read())
    };
    (low >> 16 & 0xff_ffff) | (low >> 56 & 0xff) << 24 | high << 32
}
