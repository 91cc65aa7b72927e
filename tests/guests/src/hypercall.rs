//! Hypercalls: by the instruction of the processor (VMMCALL on AMD's, VMCALL on Intel's), or through the hypercall page.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use xenvisor_abi::sched::{
    SCHEDOP_shutdown, SHUTDOWN_crash, SHUTDOWN_poweroff, SHUTDOWN_reboot, Shutdown as Argument,
};
use xenvisor_abi::xen::HYPERVISOR_sched_op;

use crate::guest::Page;
use crate::processor::{cpuid, write_msr};
use crate::{Shutdown, Way};

/// The page of stubs, once the hypervisor has filled it.
static STUBS: Page = Page::new();
/// Where the stubs are, if calls go through them.
static THROUGH: AtomicUsize = AtomicUsize::new(0);
/// The instruction: 0 where that is not known yet.
static INSTRUCTION: AtomicU8 = AtomicU8::new(0);
const VMCALL: u8 = 1;
const VMMCALL: u8 = 2;

/// Has the hypervisor fill the hypercall page. Xen takes the width of the code that does so for the width of the guest:
/// shared structures have that layout from now on.
pub fn ask_for_page() {
    let leaf = (0x4000_0000..0x4001_0000)
        .step_by(0x100)
        .find(|leaf| cpuid(*leaf, 0)[1..] == [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e]);
    if let Some(leaf) = leaf {
        let [_, msr, ..] = cpuid(leaf + 2, 0);
        write_msr(msr, STUBS.address() as u64);
    }
}

/// Makes calls go this way from now on. The hypercall page must have been asked for.
pub fn go(way: Way) {
    let through = match way {
        Way::Instruction => 0,
        Way::Page => STUBS.address(),
    };
    THROUGH.store(through, Ordering::Relaxed);
}

fn instruction() -> u8 {
    let known = INSTRUCTION.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let intel = cpuid(0, 0)[2] == u32::from_le_bytes(*b"ntel");
    let found = if intel { VMCALL } else { VMMCALL };
    INSTRUCTION.store(found, Ordering::Relaxed);
    found
}

/// The bytes of the instruction, for code that is put together by hand.
pub fn instruction_bytes() -> [u8; 3] {
    match instruction() {
        VMCALL => [0x0f, 0x01, 0xc1],
        _ => [0x0f, 0x01, 0xd9],
    }
}

/// Makes a hypercall; the result as the register has it. A 32-bit guest passes the low halves of the arguments.
pub fn call(number: u32, arguments: [u64; 5]) -> i64 {
    let through = THROUGH.load(Ordering::Relaxed);
    if through != 0 {
        return by!("call {0}", number, arguments, through + number as usize * 32);
    }
    if instruction() == VMCALL {
        by!("vmcall", number, arguments)
    } else {
        by!("vmmcall", number, arguments)
    }
}

/// Xen's calling convention in 64-bit mode: the number and the result in RAX, arguments in these registers.
#[cfg(target_arch = "x86_64")]
macro_rules! by {
    ($how:literal, $number:expr, $arguments:expr $(, $stub:expr)?) => {{
        let [a, b, c, d, e] = $arguments;
        let mut result = u64::from($number);
        // SAFETY: what the call does to memory is in what its arguments point to, which is this guest's own. A stub
        // changes no more than the instruction.
        unsafe {
            asm!($how, $(in(reg) $stub,)? inout("rax") result, inout("rdi") a => _, inout("rsi") b => _,
                inout("rdx") c => _, inout("r10") d => _, inout("r8") e => _);
        }
        result.cast_signed()
    }};
}

/// Xen's calling convention in 32-bit mode: EAX; EBX, ECX, EDX, ESI, EDI. ESI is not the compiler's to give away.
#[cfg(target_arch = "x86")]
macro_rules! by {
    ("call {0}", $number:expr, $arguments:expr, $stub:expr) => {{
        let _: u32 = $number;
        by!(@ "call eax", $stub as u32, $arguments)
    }};
    ($how:literal, $number:expr, $arguments:expr) => {
        by!(@ $how, $number, $arguments)
    };
    (@ $how:literal, $eax:expr, $arguments:expr) => {{
        let arguments = $arguments.map(|argument| argument as u32);
        let mut result: u32 = $eax;
        // SAFETY: what the call does to memory is in what its arguments point to, which is this guest's own. A stub
        // changes no more than the instruction, and loads the number itself.
        unsafe {
            asm!("push esi", "mov ebx, [edi]", "mov ecx, [edi + 4]", "mov edx, [edi + 8]", "mov esi, [edi + 12]",
                "mov edi, [edi + 16]", $how, "pop esi", inout("eax") result, inout("edi") arguments.as_ptr() => _,
                out("ebx") _, out("ecx") _, out("edx") _);
        }
        i64::from(result.cast_signed())
    }};
}

use by;

/// Makes a hypercall with a command and a structure.
pub fn with<T>(number: u32, command: u32, argument: &mut T) -> i64 {
    call(
        number,
        [
            u64::from(command),
            core::ptr::from_mut(argument).expose_provenance() as u64,
            1,
            0,
            0,
        ],
    )
}

/// As [`with`], with the error as an error.
///
/// # Errors
/// Xen's error number, negative.
pub fn checked<T>(number: u32, command: u32, argument: &mut T) -> Result<i64, i64> {
    let result = with(number, command, argument);
    if result < 0 { Err(result) } else { Ok(result) }
}

/// Ends the guest.
pub fn shut_down(how: Shutdown) -> ! {
    let reason = match how {
        Shutdown::PowerOff => SHUTDOWN_poweroff,
        Shutdown::Reboot => SHUTDOWN_reboot,
        Shutdown::Crash => SHUTDOWN_crash,
    };
    loop {
        with(HYPERVISOR_sched_op, SCHEDOP_shutdown, &mut Argument { reason });
    }
}
