//! Modes of a 32-bit guest: 16-bit protected mode, real mode, user mode, virtual-8086 mode.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};

use xenvisor_abi::version;
use xenvisor_abi::xen::HYPERVISOR_xen_version;
use xenvisor_guests::prelude::*;
use xenvisor_guests::{hypercall, interrupts, raw};

// Each of these makes the hypercall in AL with EBX = 0 in its mode, and comes back with the result. Code for modes of
// 16 bits is copied to LOW, in the first 64 KiB.
global_asm!(
    r#"
    .set LOW, 0x8000

    .macro enter
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl 20(%esp), %eax
    xorl %ebx, %ebx
    movl %esp, modes_stack
    .endm

    .text
    .global modes_protected_16, modes_real, modes_user, modes_virtual_8086
modes_protected_16:
    enter
    ljmp $0x18, $LOW

modes_real:
    enter
    ljmp $0x18, $(LOW + modes_low_real - modes_low)

modes_user:
    enter
    pushl $0x2b
    pushl $modes_user_stack
    pushl $2
    pushl $0x23
    pushl $modes_user_code
    iretl

modes_virtual_8086:
    enter
    pushl $0
    pushl $0
    pushl $0
    pushl $0
    pushl $0
    pushl $0x7000
    pushl $0x23002                      # VM, IOPL 3
    pushl $0
    pushl $(LOW + modes_low_virtual - modes_low)
    iretl

    .global modes_back
modes_back:
    movl $0x10, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    movl %ecx, %ss
    movl modes_stack, %esp
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

    .global modes_user_code
modes_user_code:
    vmmcall
    int $0x41

    .global modes_low, modes_low_end, modes_low_real_call, modes_low_virtual
modes_low:
    .code16
    vmmcall
    ljmpl $8, $modes_back
modes_low_real:
    movl %cr0, %ecx
    andb $0xfe, %cl
    movl %ecx, %cr0
    ljmp $0, $(LOW + modes_low_real_call - modes_low)
modes_low_real_call:
    vmmcall
    movl %cr0, %ecx
    orb $1, %cl
    movl %ecx, %cr0
    ljmpl $8, $modes_back
modes_low_virtual:
    vmmcall
    int $0x41
modes_low_end:
    .code32

    .bss
    .align 16
modes_stack: .skip 16
    .skip 1024
modes_user_stack:
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    fn modes_protected_16(number: u32) -> i32;
    fn modes_real(number: u32) -> i32;
    fn modes_user(number: u32) -> i32;
    fn modes_virtual_8086(number: u32) -> i32;
    static modes_back: u8;
    static modes_user_code: u8;
    static modes_low: u8;
    static modes_low_end: u8;
    static modes_low_real_call: u8;
    static modes_low_virtual: u8;
}

const LOW: usize = 0x8000;
const RETURN_VECTOR: u8 = 0x41;

/// Code, data, 16-bit code, nothing; user code and data; the task.
static SEGMENTS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
/// A task state of which the stack for level 0 counts.
static TASK: [AtomicU32; 26] = [const { AtomicU32::new(0) }; 26];
static STACK: [AtomicU32; 1024] = [const { AtomicU32::new(0) }; 1024];

fn prepare() {
    let task = TASK.as_ptr().expose_provenance() as u32;
    let segments: [u64; 8] = [
        0,
        0x00cf_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x0000_9b00_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x0000_8900_0000_0067 | u64::from(task & 0xff_ffff) << 16 | u64::from(task >> 24) << 56,
        0,
    ];
    for (place, segment) in SEGMENTS.chunks(2).zip(segments) {
        place[0].store(segment as u32, Ordering::Relaxed);
        place[1].store((segment >> 32) as u32, Ordering::Relaxed);
    }
    let stack = STACK.as_ptr().expose_provenance() + size_of_val(&STACK);
    TASK[1].store(stack as u32, Ordering::Relaxed);
    TASK[2].store(0x10, Ordering::Relaxed);
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: usize,
    }
    let pointer = Pointer {
        limit: (size_of_val(&SEGMENTS) - 1) as u16,
        base: SEGMENTS.as_ptr().expose_provenance(),
    };
    // SAFETY: the first three segments are those the guest runs with.
    unsafe { asm!("lgdt [{}]", "ltr {:x}", in(reg) &pointer, in(reg) 0x30) }
    interrupts::set_gate(RETURN_VECTOR, (&raw const modes_back).expose_provenance(), 3);
}

/// Puts the code for 16-bit modes where they reach it, with this processor's instruction everywhere.
fn place_code() {
    let [low, end, real, virtual_8086, user] = [
        &raw const modes_low,
        &raw const modes_low_end,
        &raw const modes_low_real_call,
        &raw const modes_low_virtual,
        &raw const modes_user_code,
    ]
    .map(|place: *const u8| place.expose_provenance());
    let mut code = [0; 128];
    let code = &mut code[..end - low];
    raw::read(low as u64, code);
    for place in [low, real, virtual_8086] {
        code[place - low..][..3].copy_from_slice(&hypercall::instruction_bytes());
    }
    raw::write(LOW as u64, code);
    raw::write(user as u64, &hypercall::instruction_bytes());
}

/// Says what came of each mode.
pub(crate) fn all(guest: &mut Guest) {
    const _: () = assert!(version::XENVER_version == 0);
    prepare();
    place_code();
    type InMode = unsafe extern "C" fn(u32) -> i32;
    let modes: [(&str, InMode); 4] = [
        ("16-bit protected mode", modes_protected_16),
        ("real mode", modes_real),
        ("user mode", modes_user),
        ("virtual-8086 mode", modes_virtual_8086),
    ];
    for (name, in_mode) in modes {
        // SAFETY: everything it needs is prepared, and it keeps what its caller keeps.
        let result = unsafe { in_mode(HYPERVISOR_xen_version) };
        guest.say(format_args!("{name}: {result:#x}"));
    }
}
