//! A kit for small PVH guests: enough for "a guest that does X" in about twenty lines, and for unikernels of one's own.
//!
//! A guest is a function `fn(&mut Guest) -> Shutdown`, named in [`guest!`]. It runs in 64-bit mode with all of the first
//! 4 GiB mapped to itself, one vcpu, interrupts off. It speaks through its Xen console, makes hypercalls by the
//! instruction of its processor, and waits for events by polling ports.
//!
//! ```
//! use xenvisor_guests::prelude::*;
//!
//! fn hello(guest: &mut Guest) -> Shutdown {
//!     guest.say(format_args!("hello from {} bytes of command line", guest.command_line().len()));
//!     Shutdown::PowerOff
//! }
//! ```
//!
//! Built for a workstation, a guest is a program that says what it is: only a hypervisor can run it.
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod events;
#[cfg(target_os = "none")]
mod grants;
#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
pub mod hypercall;
#[cfg(target_os = "none")]
mod others;
#[cfg(target_os = "none")]
pub mod raw;
#[cfg(not(target_os = "none"))]
mod workstation;
#[cfg(not(target_os = "none"))]
pub use workstation::raw;

#[cfg(target_os = "none")]
pub use guest::Guest;
#[cfg(not(target_os = "none"))]
pub use workstation::Guest;

/// What a guest needs.
pub mod prelude {
    pub use crate::{Guest, Shutdown};
}

/// How a guest ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// All is done.
    PowerOff,
    /// It wants to be built again.
    Reboot,
    /// It has failed.
    Crash,
}

/// Makes a program of a function `fn(&mut Guest) -> Shutdown`.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        extern "C" fn guest_main(start_info: u32) -> ! {
            let mut guest = $crate::Guest::new(start_info);
            let end = $main(&mut guest);
            guest.shut_down(end)
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _: fn(&mut $crate::Guest) -> $crate::Shutdown = $main;
            println!("a guest: build it for x86_64-unknown-none and let a hypervisor run it");
        }
    };
}
