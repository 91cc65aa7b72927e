//! The switch into a guest and back: the few instructions that no Rust code may come between.
//!
//! Interrupts of the machine end a guest's run whatever its flags say (pin-based controls), so the host's stay off all
//! the time. The processor loads the host's segments, control registers and EFER by itself on the way out; the general
//! registers are ours. SDM vol. 3 §27.4, §28.5, §31.3.

use core::arch::naked_asm;
use core::mem::offset_of;

use x86::vmx::vmcs::host;
use xenvisor_core::machine::Registers;

/// Runs the guest of the current control structure until it exits. Returns 0 then, else how the instruction failed:
/// 1 without, 2 with an error number in the control structure.
///
/// `registers` are the general registers but for RSP, RIP and RFLAGS, which the control structure carries: loaded
/// before, stored after. `launched` is 0 for a structure that has not been entered since it was cleared.
///
/// # Safety
/// Privilege level 0, interrupts off, VMX on, and a control structure current whose host RIP is [`exited`], whose host
/// state is the running processor's, and whose controls confine the guest to its own memory. `registers` is valid for
/// reads and writes.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn enter(registers: *mut Registers, launched: u64) -> u64 {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "mov eax, {host_rsp}",
        "vmwrite rax, rsp",
        // The flags survive the loads.
        "test rsi, rsi",
        "mov rax, [rdi + {rax}]",
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
        "jz 2f",
        "vmresume",
        "jmp 3f",
        "2:",
        "vmlaunch",
        // Behind the instruction only when it failed: CF without, ZF with an error number. The guest's registers are
        // still where they came from.
        "3:",
        "setz al",
        "movzx eax, al",
        "add eax, 1",
        "pop rdi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        host_rsp = const host::RSP,
        rax = const offset_of!(Registers, rax),
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

/// Where an exit goes on: the second half of [`enter`].
///
/// # Safety
/// Only the processor comes here, with the stack pointer that `enter` left.
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn exited() {
    naked_asm!(
        "xchg rdi, [rsp]",
        "mov [rdi + {rax}], rax",
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
        rax = const offset_of!(Registers, rax),
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
