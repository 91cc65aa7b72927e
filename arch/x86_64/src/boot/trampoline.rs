//! Where the other processors begin: real mode, at a page below 1 MiB that a start-up interrupt names.
//!
//! The code is copied to that page and does what is needed to leave it: straight into long mode, by the boot tables,
//! then to the image's own addresses, the host's tables and the stack that is laid out for it. One processor at a time
//! comes through; what it takes along is in [`HANDOVER`]. SDM vol. 3 §9.4, §10.8.5.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::host::pcpu::Pcpu;

/// What a processor that starts takes along.
#[repr(C)]
pub(crate) struct Handover {
    /// The host's root of page tables.
    root: AtomicU64,
    /// Its stack pointer.
    stack: AtomicU64,
    /// Its [`Pcpu`].
    pcpu: AtomicU64,
}

/// For the processor that starts next.
pub(crate) static HANDOVER: Handover = Handover {
    root: AtomicU64::new(0),
    stack: AtomicU64::new(0),
    pcpu: AtomicU64::new(0),
};

impl Handover {
    /// Lays it out for a processor that has not been started yet.
    pub(crate) fn prepare(&self, root: u64, pcpu: &'static Pcpu) {
        self.root.store(root, Ordering::Relaxed);
        self.stack.store(pcpu.stacks().main_top(), Ordering::Relaxed);
        let address = core::ptr::from_ref(pcpu).expose_provenance() as u64;
        self.pcpu.store(address, Ordering::Release);
    }
}

unsafe extern "C" {
    // The edges of the code to copy; only their addresses count.
    static xenvisor_trampoline: u8;
    static xenvisor_trampoline_end: u8;
}

/// The code for the page.
pub(crate) fn code() -> &'static [u8] {
    let start = &raw const xenvisor_trampoline;
    let bytes = (&raw const xenvisor_trampoline_end).addr() - start.addr();
    // SAFETY: the two symbols are the edges of a constant of the image.
    unsafe { core::slice::from_raw_parts(start, bytes) }
}

global_asm!(
    r#"
    .section .rodata.trampoline, "a", @progbits
    .code16
    .global xenvisor_trampoline
xenvisor_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt_pointer - xenvisor_trampoline
    movl $0x20, %eax                # CR4.PAE
    movl %eax, %cr4
    movl $xenvisor_boot_root, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          # EFER: long mode enable, no-execute enable
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010033, %eax          # CR0: PG WP NE ET MP PE
    movl %eax, %cr0
    ljmpl $8, $xenvisor_processor_long
trampoline_gdt_pointer:
    .short 15
    .long xenvisor_boot_gdt
    .global xenvisor_trampoline_end
xenvisor_trampoline_end:

    .text
    .code64
xenvisor_processor_long:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movq {handover} + {root}, %rax
    movq %rax, %cr3
    movq {handover} + {stack}, %rsp
    movq {handover} + {pcpu}, %rdi
    xorl %ebp, %ebp
    call {start}
    ud2
    "#,
    handover = sym HANDOVER,
    root = const offset_of!(Handover, root),
    stack = const offset_of!(Handover, stack),
    pcpu = const offset_of!(Handover, pcpu),
    start = sym crate::host::processors::start,
    options(att_syntax)
);
