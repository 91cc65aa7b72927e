//! The switch into a guest and back: the few instructions that no Rust code may come between.
//!
//! Interrupts of the machine are let in only while the guest runs: GIF is cleared, then RFLAGS.IF is set, so that the
//! processor leaves the guest for an interrupt but takes none on the way. On the way out the host's FS, GS, TR and
//! system-call MSRs come back before GIF is set again, because a non-maskable interrupt needs TR at once.
//! APM vol. 2 §15.5, §15.17; what VMLOAD and VMSAVE carry: §15.5.2.

use core::arch::naked_asm;
use core::mem::offset_of;

use xenvisor_core::machine::Registers;

/// Runs a guest until it exits.
///
/// `registers` are the general registers but for RAX, RSP, RIP and RFLAGS, which the control block carries: loaded
/// before, stored after. `guest` is the machine address of its control block, `host` that of a page that holds what
/// this processor's VMSAVE stored.
///
/// # Safety
/// Privilege level 0, interrupts off, EFER.SVME set, the host save area given to the processor. Both pages are control
/// blocks that nobody else touches meanwhile; the guest's confines it to its own memory. `registers` is valid for reads
/// and writes.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn enter(registers: *mut Registers, guest: u64, host: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdx",
        "push rdi",
        "mov rax, rsi",
        "clgi",
        "sti",
        "vmload rax",
        "mov rbx, [rdi + {rbx}]",
        "mov rcx, [rdi + {rcx}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rbp, [rdi + {rbp}]",
        "mov r8, [rdi + {r8}]",
        "mov r9, [rdi + {r9}]",
        "mov r10, [rdi + {r10}]",
        "mov r11, [rdi + {r11}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "mov rdi, [rdi + {rdi}]",
        "vmrun rax",
        // RAX and RSP are the host's again; everything else is the guest's.
        "vmsave rax",
        "xchg rdi, [rsp]",
        "mov [rdi + {rbx}], rbx",
        "mov [rdi + {rcx}], rcx",
        "mov [rdi + {rdx}], rdx",
        "mov [rdi + {rsi}], rsi",
        "mov [rdi + {rbp}], rbp",
        "mov [rdi + {r8}], r8",
        "mov [rdi + {r9}], r9",
        "mov [rdi + {r10}], r10",
        "mov [rdi + {r11}], r11",
        "mov [rdi + {r12}], r12",
        "mov [rdi + {r13}], r13",
        "mov [rdi + {r14}], r14",
        "mov [rdi + {r15}], r15",
        "pop rcx",
        "mov [rdi + {rdi}], rcx",
        "pop rax",
        "vmload rax",
        "cli",
        "stgi",
        // Nothing of the guest stays in a register that the host might use before it writes it.
        "xor eax, eax",
        "xor ecx, ecx",
        "xor edx, edx",
        "xor esi, esi",
        "xor edi, edi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        rbx = const offset_of!(Registers, rbx),
        rcx = const offset_of!(Registers, rcx),
        rdx = const offset_of!(Registers, rdx),
        rsi = const offset_of!(Registers, rsi),
        rdi = const offset_of!(Registers, rdi),
        rbp = const offset_of!(Registers, rbp),
        r8 = const offset_of!(Registers, r8),
        r9 = const offset_of!(Registers, r9),
        r10 = const offset_of!(Registers, r10),
        r11 = const offset_of!(Registers, r11),
        r12 = const offset_of!(Registers, r12),
        r13 = const offset_of!(Registers, r13),
        r14 = const offset_of!(Registers, r14),
        r15 = const offset_of!(Registers, r15),
    )
}
