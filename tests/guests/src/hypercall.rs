//! Hypercalls by the instruction of the processor: VMMCALL on AMD's, VMCALL on Intel's.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use xenvisor_abi::sched::{
    SCHEDOP_shutdown, SHUTDOWN_crash, SHUTDOWN_poweroff, SHUTDOWN_reboot, Shutdown as Argument,
};
use xenvisor_abi::xen::HYPERVISOR_sched_op;

use crate::Shutdown;

/// Makes a hypercall; the result as the register has it.
pub fn call(number: u32, arguments: [u64; 5]) -> i64 {
    let [a, b, c, d, e] = arguments;
    let intel = __cpuid(0).ecx == u32::from_le_bytes(*b"ntel");
    let mut result = u64::from(number);
    // SAFETY: Xen's calling convention: the number and the result in RAX, arguments in these registers. What the call
    // does to memory is in what its arguments point to, which is this guest's own.
    unsafe {
        if intel {
            asm!("vmcall", inout("rax") result, inout("rdi") a => _, inout("rsi") b => _, inout("rdx") c => _,
                inout("r10") d => _, inout("r8") e => _, options(nostack));
        } else {
            asm!("vmmcall", inout("rax") result, inout("rdi") a => _, inout("rsi") b => _, inout("rdx") c => _,
                inout("r10") d => _, inout("r8") e => _, options(nostack));
        }
    }
    result.cast_signed()
}

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
