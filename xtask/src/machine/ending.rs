//! How a machine ended, and what that means.
//!
//! An image ends QEMU through its debug exit device, whose status is `value * 2 + 1`: with a value of its own for each
//! meaning, no status of QEMU's own can be mistaken for one. Bochs has no such device; there the value is the last word
//! on the debug port.

use std::fmt;
use std::process::ExitStatus;

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every guest ended well.
    GuestsEnded,
    /// A guest crashed; the host lived on until the others had ended too.
    GuestCrashed,
    /// The host failed.
    HostFailed,
    /// The time it was given was over, and it was stopped.
    TimedOut,
    /// We stopped it because we were asked to.
    Stopped,
    /// The emulator itself ended with this status: it was not able to start, or the machine was reset.
    Emulator(Option<i32>),
}

impl Ending {
    /// The meaning of QEMU's `status`. Without an image in it, a machine that is switched off has ended well.
    pub fn of(status: ExitStatus, has_image: bool) -> Ending {
        match status.code() {
            Some(33) => Ending::GuestsEnded,
            Some(35) => Ending::GuestCrashed,
            Some(37) => Ending::HostFailed,
            Some(0) if !has_image => Ending::GuestsEnded,
            other => Ending::Emulator(other),
        }
    }

    /// The status a process should end with that ran this machine.
    pub const fn exit_status(self) -> u8 {
        match self {
            Ending::GuestsEnded | Ending::Stopped => 0,
            Ending::GuestCrashed => 1,
            Ending::HostFailed => 2,
            Ending::TimedOut => 124,
            Ending::Emulator(_) => 3,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::GuestsEnded => write!(f, "every guest ended well"),
            Ending::GuestCrashed => write!(f, "a guest crashed"),
            Ending::HostFailed => write!(f, "the host failed"),
            Ending::TimedOut => write!(f, "the time limit was reached"),
            Ending::Stopped => write!(f, "the machine was stopped"),
            Ending::Emulator(Some(0)) => write!(f, "the machine was reset or switched off without a verdict"),
            Ending::Emulator(Some(status)) => write!(f, "the emulator ended with status {status}"),
            Ending::Emulator(None) => write!(f, "the emulator was killed"),
        }
    }
}
