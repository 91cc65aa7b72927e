//! Traps: the 256 gates through which the processor comes back to us, and who serves them.
//!
//! Exceptions of the host are bugs of the host: each is reported and ends the machine. Interrupts are
//! acknowledged, noted, and left to whoever looks next; a handler never decides anything.
//!
//! Each gate is a stub of 16 bytes that pushes its vector (and a zero where the processor pushes no error
//! code), so that every trap finds the same [`TrapFrame`]. Source: SDM vol. 3A §7.13–7.14.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use x86::Ring;
use x86::bits64::segmentation::Descriptor64;
use x86::dtables::{DescriptorTablePointer, lidt};
use x86::segmentation::{BuildDescriptor, DescriptorBuilder, GateDescriptorBuilder};

use super::segments::CODE;
use super::stacks::ExceptionStack;

/// What the stubs leave on the stack, lowest address first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrapFrame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rbp: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbx: u64,
    pub(crate) rax: u64,
    pub(crate) vector: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// Bytes between one stub and the next.
const STUB: u64 = 16;
/// The vectors below this are exceptions.
const EXCEPTIONS: u64 = 32;

global_asm!(
    r#"
    .section .text.traps, "ax", @progbits
    .balign 16
    .global xenvisor_trap_stubs
xenvisor_trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    # These push an error code themselves: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX.
    .if !((vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
    pushq $0
    .endif
    pushq $vector
    jmp xenvisor_trap_common
    .set vector, vector + 1
    .endr

    .balign 16
xenvisor_trap_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    xorl %ebp, %ebp
    call {trap}
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq
    .text
    "#,
    trap = sym trap,
    options(att_syntax)
);

unsafe extern "C" {
    // The first of the 256 stubs; only its address counts.
    static xenvisor_trap_stubs: u8;
}

#[repr(C, align(16))]
struct Gates(UnsafeCell<[Descriptor64; 256]>);

// SAFETY: written once by `write`, before anything else runs; after that only the processor reads it.
unsafe impl Sync for Gates {}

static GATES: Gates = Gates(UnsafeCell::new([Descriptor64::NULL; 256]));

/// Writes the gates, which all processors share. Once, before the first [`load`].
pub(crate) fn write() {
    let stubs = (&raw const xenvisor_trap_stubs).addr() as u64;
    let mut gates = [Descriptor64::NULL; 256];
    for (vector, gate) in (0_u64..).zip(&mut gates) {
        let stack = ExceptionStack::ALL
            .into_iter()
            .find(|stack| stack.vector() == vector)
            .map_or(0, ExceptionStack::slot);
        *gate = <DescriptorBuilder as GateDescriptorBuilder<u64>>::interrupt_descriptor(
            CODE,
            stubs + vector * STUB,
        )
        .present()
        .dpl(Ring::Ring0)
        .ist(stack)
        .finish();
    }
    // SAFETY: `write` runs once, on the only processor that runs, with interrupts off.
    unsafe { GATES.0.get().write(gates) };
}

/// Loads the gates into the running processor, with interrupts off, after its segments.
pub(crate) fn load() {
    // SAFETY: the table was written before, lives for ever, and each gate leads to its stub in the code segment that
    // all processors have.
    unsafe { lidt(&DescriptorTablePointer::new(&*GATES.0.get())) };
}

/// Every trap of the host comes here, with interrupts off.
extern "C" fn trap(frame: &TrapFrame) {
    if frame.vector < EXCEPTIONS {
        super::fault::report(frame);
    }
    super::interrupts::serve(frame.vector);
}
