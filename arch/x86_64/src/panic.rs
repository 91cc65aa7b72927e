//! The last words of the host: in plain text on COM1, so that they can be read without the log's decoder.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::console::serial::LastWords;
use crate::host::end::{End, end};
use crate::host::fault::backtrace;

/// Whether the machine is already saying its last words.
static ENDING: AtomicBool = AtomicBool::new(false);

/// True the first time. After that something failed while the failure was being told: just end.
pub(crate) fn first_failure() -> bool {
    !ENDING.swap(true, Ordering::AcqRel)
}

/// Ends the machine because the host cannot go on, and says why.
pub(crate) fn fail(reason: fmt::Arguments<'_>) -> ! {
    // SAFETY: the machine is ending; nobody waits for an interrupt any more.
    unsafe { x86::irq::disable() };
    if first_failure() {
        // Writing to the line cannot fail, and there is nobody left to tell.
        let _ = writeln!(LastWords, "\nxenvisor: {reason}");
        backtrace();
    }
    end(End::HostFailed)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail(format_args!("host {info}"))
}
