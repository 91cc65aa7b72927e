//! Compatibility mode: 32-bit code of a 64-bit guest.

use xenvisor_abi::memory::XENMEM_memory_map;
use xenvisor_abi::memory::compat::MemoryMap;
use xenvisor_abi::xen::{HYPERVISOR_memory_op, HYPERVISOR_xen_version};
use xenvisor_abi::{GuestHandle32, version};
use xenvisor_guests::hypercall;
use xenvisor_guests::prelude::*;

core::arch::global_asm!(
    r#"
    .text
    .global modes_compat
# (number, first, second argument, instruction) -> what RAX and RBX are afterwards, in RAX and RDX
modes_compat:
    pushq %rbx
    movq %rdi, %rax
    movq %rsi, %rbx
    movl %ecx, modes_instruction
    movq %rdx, %rcx
    # Garbage in the upper halves, where 32-bit code does not see it.
    movabsq $0xdeadbeef00000000, %rdx
    orq %rdx, %rax
    orq %rdx, %rbx
    orq %rdx, %rcx
    pushq $0x18
    pushq $1f
    lretq
    .code32
1:
modes_instruction:
    nop
    nop
    nop
    nop
    ljmp $8, $2f
    .code64
2:  movq %rbx, %rdx
    popq %rbx
    ret
    "#,
    options(att_syntax)
);

#[repr(C)]
struct Pair {
    rax: u64,
    rbx: u64,
}

unsafe extern "C" {
    fn modes_compat(number: u64, first: u64, second: u64, instruction: u32) -> Pair;
}

fn call(number: u32, first: u32, second: u64) -> Pair {
    let [a, b, c] = hypercall::instruction_bytes();
    // SAFETY: the program's code may be written to, and is below 4 GiB, as its stack is.
    unsafe {
        modes_compat(
            number.into(),
            first.into(),
            second,
            u32::from_le_bytes([a, b, c, 0x90]),
        )
    }
}

/// Says what came of each mode.
pub(crate) fn all(guest: &mut Guest) {
    let asked = call(HYPERVISOR_xen_version, version::XENVER_version, 0);
    guest.say(format_args!("compatibility mode: {:#x}", asked.rax));
    guest.say(format_args!(
        "compatibility mode, upper half: {:#x}",
        asked.rbx >> 32
    ));
    let mut entries = [[0_u32; 5]; 8];
    let mut map = MemoryMap {
        nr_entries: entries.len() as u32,
        buffer: GuestHandle32(entries.as_mut_ptr().expose_provenance() as u32),
    };
    let at = core::ptr::from_mut(&mut map).expose_provenance() as u64;
    let asked = call(HYPERVISOR_memory_op, XENMEM_memory_map, at);
    // SAFETY: the hypervisor has written to both; the compiler has not seen it.
    let (count, [_, _, bytes, ..]) = unsafe {
        (
            (&raw const map.nr_entries).read_volatile(),
            entries.as_ptr().read_volatile(),
        )
    };
    let good = count > 0 && count < 8 && bytes > 0;
    guest.say(format_args!(
        "compatibility mode, a map of its layout: {:#x} {good}",
        asked.rax
    ));
}
