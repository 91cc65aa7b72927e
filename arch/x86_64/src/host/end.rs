//! The end of the machine.
//!
//! Real hardware stops: nothing is written to ports that may be anything there. An emulator is one whose debug port has
//! answered. QEMU says in CPUID that it is a hypervisor, and takes a value at its exit port. Bochs does not, and has no
//! such port: there the value is said on the debug port, and a letter to another port ends Bochs.

use raw_cpuid::CpuId;
use x86::io::outb;

use crate::console::serial::drain;
use crate::log;

/// QEMU's `isa-debug-exit` listens here: QEMU's exit status is `(value << 1) | 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// Bochs ends when told so here.
const BOCHS_EXIT: u16 = 0x8900;

/// What Bochs is told: to end well. What that means, our last words say.
const BOCHS_QUIT: u8 = b'D';

/// Our last words, before the value. No frame of the log is like them.
const LAST_WORDS: &[u8] = b"xenvisor ends with ";

/// How a machine ended, as the value for the emulator.
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

/// Ends the machine: under an emulator its process, elsewhere all activity of this processor.
pub fn end(how: End) -> ! {
    drain();
    if log::debug_port() {
        let hypervisor = CpuId::new()
            .get_feature_info()
            .is_some_and(|info| info.has_hypervisor());
        if hypervisor {
            // SAFETY: the machine is over, and it is QEMU. Where it has no such device, nothing answers.
            unsafe { outb(DEBUG_EXIT, how as u8) };
        } else {
            log::last_words(LAST_WORDS, how as u8);
            // SAFETY: the machine is over, and it is an emulator: only Bochs has something at this port.
            unsafe { outb(BOCHS_EXIT, BOCHS_QUIT) };
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
