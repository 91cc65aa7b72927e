//! The end of the machine.

use x86::io::outb;

use crate::console::serial::drain;
use crate::log;

/// QEMU's `isa-debug-exit` listens here: QEMU's exit status is `(value << 1) | 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// Bochs ends well when told `D` here, and with an error when told `Shutdown`.
const BOCHS_EXIT: u16 = 0x8900;

/// How a machine ended, as the value for QEMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum End {
    /// All guests ended well. QEMU's status 33.
    Well = 0x10,
    /// A guest crashed. QEMU's status 35.
    GuestCrashed = 0x11,
    /// The host itself failed. QEMU's status 37.
    HostFailed = 0x12,
}

/// Ends the machine: under QEMU its process, elsewhere all activity of this processor.
pub fn end(how: End) -> ! {
    drain();
    // SAFETY: the machine is over. Where the port is not QEMU's, whatever answers there finds nobody left to
    // be disturbed.
    unsafe { outb(DEBUG_EXIT, how as u8) };
    if log::debug_port() {
        let word: &[u8] = if how == End::Well { b"D" } else { b"Shutdown" };
        for &letter in word {
            // SAFETY: as above, and only where an emulator's debug port has answered.
            unsafe { outb(BOCHS_EXIT, letter) };
        }
    }
    loop {
        // SAFETY: with interrupts off, halting stops this processor until reset; nothing is left to run.
        unsafe {
            x86::irq::disable();
            x86::halt();
        }
    }
}
