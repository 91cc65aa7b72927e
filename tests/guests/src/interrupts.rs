//! Exceptions and upcalls: an interrupt table, and as much of a local APIC as upcalls need.
//!
//! Exceptions are fatal: the guest says which it was and crashes. An upcall is noted, and the vcpu goes on.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::console::Console;
use crate::guest::SHARED_INFO;
use crate::layout::{VcpuInfo, Word};
use crate::{Shutdown, hypercall};

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    r#"
    .text
guest_upcall_entry:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    cld
    call guest_upcall
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    iretq

    .balign 16
guest_exception_entries:
    .set vector, 0
    .rept 32
    .balign 16
    pushq $vector
    jmp 1f
    .set vector, vector + 1
    .endr
1:  movq (%rsp), %rdi
    leaq 8(%rsp), %rsi
    andq $-16, %rsp
    call guest_exception
    "#,
    options(att_syntax)
);

#[cfg(target_arch = "x86")]
core::arch::global_asm!(
    r#"
    .text
guest_upcall_entry:
    pushal
    movl %esp, %ebp
    andl $-16, %esp
    cld
    call guest_upcall
    movl %ebp, %esp
    popal
    iretl

    .balign 16
guest_exception_entries:
    .set vector, 0
    .rept 32
    .balign 16
    pushl $vector
    jmp 1f
    .set vector, vector + 1
    .endr
1:  movl (%esp), %eax
    leal 4(%esp), %edx
    andl $-16, %esp
    subl $8, %esp
    pushl %edx
    pushl %eax
    call guest_exception
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static guest_upcall_entry: u8;
    static guest_exception_entries: u8;
}

/// Words of an entry of the interrupt table.
const WORDS: usize = size_of::<Word>() / 2;
/// A present interrupt gate.
const GATE: u32 = 0x8e00;
const CODE_SEGMENT: u32 = 8;

static TABLE: [[AtomicU32; WORDS]; 256] = [const { [const { AtomicU32::new(0) }; WORDS] }; 256];
static UPCALLS: AtomicU32 = AtomicU32::new(0);

/// Registers of the local APIC, at its usual address.
const END_OF_INTERRUPT: usize = 0xfee0_00b0;
const SPURIOUS: usize = 0xfee0_00f0;
const ENABLED: u32 = 0x1ff;

/// Has an interrupt lead to code at this address, which ends with IRET or never. Code of the privilege level may cause it
/// by INT.
pub fn set_gate(vector: u8, handler: usize, level: u8) {
    let entry = &TABLE[usize::from(vector)];
    let address = handler as u64;
    let words = [
        (address as u32 & 0xffff) | CODE_SEGMENT << 16,
        (address as u32 & 0xffff_0000) | GATE | u32::from(level & 3) << 13,
        (address >> 32) as u32,
        0,
    ];
    for (place, word) in entry.iter().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
}

/// Sets up the table, with an entry for each exception.
pub(crate) fn catch_exceptions() {
    let entries = (&raw const guest_exception_entries).expose_provenance();
    for vector in 0..32 {
        set_gate(vector, entries + usize::from(vector) * 16, 0);
    }
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: usize,
    }
    let pointer = Pointer {
        limit: (size_of_val(&TABLE) - 1) as u16,
        base: TABLE.as_ptr().expose_provenance(),
    };
    // SAFETY: the table is there as long as the guest is, and its entries lead to handlers.
    unsafe { core::arch::asm!("lidt [{}]", in(reg) &pointer, options(nostack)) }
}

/// Makes an upcall's handler be there, and the local APIC be on.
pub(crate) fn prepare(vector: u8) {
    set_gate(vector, (&raw const guest_upcall_entry).expose_provenance(), 0);
    write_apic(SPURIOUS, ENABLED);
}

/// How many upcalls there were.
pub(crate) fn upcalls() -> u32 {
    UPCALLS.load(Ordering::Relaxed)
}

fn write_apic(register: usize, value: u32) {
    // SAFETY: the local APIC is at its usual address, which is mapped to itself.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(register).write_volatile(value) }
}

/// An upcall: the guest has begun to look. Which ports are pending, whoever waits for them sees by himself.
#[unsafe(no_mangle)]
extern "C" fn guest_upcall() {
    UPCALLS.fetch_add(1, Ordering::Relaxed);
    // The first `vcpu_info` is at the beginning of the page. The flag is cleared before the selector, so that nothing
    // that comes between the two is missed.
    SHARED_INFO
        .byte(offset_of!(VcpuInfo, evtchn_upcall_pending))
        .store(0, Ordering::SeqCst);
    let selector = offset_of!(VcpuInfo, evtchn_pending_sel);
    for half in 0..size_of::<Word>() / 4 {
        SHARED_INFO.word(selector + half * 4).swap(0, Ordering::SeqCst);
    }
    write_apic(END_OF_INTERRUPT, 0);
}

/// An exception: `stack` begins with an error code, if the vector has one, or the instruction's address.
#[unsafe(no_mangle)]
extern "C" fn guest_exception(vector: usize, stack: *const usize) -> ! {
    use core::fmt::Write;
    static NESTED: AtomicUsize = AtomicUsize::new(0);
    if NESTED.fetch_add(1, Ordering::Relaxed) == 0
        && let Some(mut console) = Console::open()
    {
        // SAFETY: the processor has pushed at least three words there.
        let [a, b, c] = unsafe { stack.cast::<[usize; 3]>().read() };
        let _infallible = write!(
            console,
            "exception {vector}; on the stack {a:#x} {b:#x} {c:#x}\r\n"
        );
        console.flush();
    }
    hypercall::shut_down(Shutdown::Crash)
}
