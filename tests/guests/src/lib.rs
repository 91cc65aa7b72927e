//! A kit for small PVH guests: enough for "a guest that does X" in about twenty lines, and for unikernels of one's own.
//!
//! A guest is a function `fn(&mut Guest) -> Shutdown`, named in [`guest!`]. It begins on one vcpu, interrupts off, and
//! all of the first 4 GiB mapped to itself. It speaks through its Xen console, makes hypercalls, and waits for events. The same
//! source is a 64-bit guest (`x86_64-unknown-none`) or a 32-bit one (`i586-unknown-linux-gnu`: the name of the target
//! means nothing here but the processor). `README.md` beside this crate says how they are built and run.
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
//! | I want to | with |
//! |---|---|
//! | say something | [`Guest::say`] |
//! | make any hypercall | `hypercall::call`, `hypercall::checked` |
//! | make hypercalls through the hypercall page | [`Guest::call_by`] |
//! | have an event channel | [`Guest::allocate_port`], [`Guest::bind_port`], [`Guest::send`], [`Guest::wait`] |
//! | get interrupts instead of polling | [`Guest::listen`], [`Guest::wait_for_upcall`] |
//! | share memory | [`Guest::offer_page`], [`Guest::map_offer`], [`Guest::copy_word`] |
//! | start another vcpu | [`Guest::start_vcpu`] |
//! | have page tables in a 32-bit guest | [`Guest::turn_on_paging`] |
//!
//! A panic and an exception are said on the console and end the guest as a crash.
//!
//! Built for a workstation, a guest is a program that says what it is: only a hypervisor can run it.
#![cfg_attr(bare, no_std)]

#[cfg(bare)]
mod console;
#[cfg(all(bare, target_arch = "x86"))]
mod entry_32;
#[cfg(all(bare, target_arch = "x86_64"))]
mod entry_64;
#[cfg(bare)]
mod events;
#[cfg(bare)]
mod grants;
#[cfg(bare)]
mod guest;
#[cfg(bare)]
pub mod hypercall;
#[cfg(bare)]
pub mod interrupts;
#[cfg(bare)]
mod layout;
#[cfg(all(bare, target_arch = "x86"))]
mod memory_32;
#[cfg(bare)]
mod others;
#[cfg(all(bare, target_arch = "x86"))]
mod paging_32;
#[cfg(bare)]
pub mod processor;
#[cfg(bare)]
pub mod raw;
#[cfg(bare)]
mod time;
pub mod trouble;
#[cfg(bare)]
mod vcpus;
#[cfg(not(bare))]
mod workstation;
#[cfg(not(bare))]
pub use workstation::raw;

#[cfg(bare)]
pub use grants::Mapping;
#[cfg(bare)]
pub use guest::Guest;
#[cfg(bare)]
pub use vcpus::{Entry, vcpu_is_done};
#[cfg(not(bare))]
pub use workstation::{Entry, Guest, Mapping, vcpu_is_done};

/// What a guest needs.
pub mod prelude {
    pub use crate::{Guest, Mapping, Paging, Refused, Shutdown, Way};
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

/// How a hypercall is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By VMMCALL or VMCALL, as CPUID says.
    Instruction,
    /// Through the hypercall page.
    Page,
}

/// How a 32-bit guest translates addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paging {
    /// Not at all.
    Off,
    /// By entries of 32 bits, with pages of 4 MiB.
    Pse,
    /// By entries of 64 bits, with pages of 2 MiB.
    Pae,
}

/// Why something about a grant was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The call as a whole: Xen's error number, negative.
    Call(i64),
    /// This grant: `GNTST_*`.
    Status(i16),
}

impl Refused {
    #[cfg(bare)]
    const fn check(status: i16) -> Result<(), Self> {
        if status == 0 {
            Ok(())
        } else {
            Err(Self::Status(status))
        }
    }
}

impl From<i64> for Refused {
    fn from(error: i64) -> Self {
        Self::Call(error)
    }
}

/// Makes a program of a function `fn(&mut Guest) -> Shutdown`. The program is `no_std` and `no_main` on the bare machine.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        #[cfg(any(target_os = "none", target_arch = "x86"))]
        #[unsafe(no_mangle)]
        extern "C" fn guest_main(start_info: u32) -> ! {
            let mut guest = $crate::Guest::new(start_info);
            let end = $main(&mut guest);
            guest.shut_down(end)
        }

        #[cfg(not(any(target_os = "none", target_arch = "x86")))]
        fn main() {
            let _: fn(&mut $crate::Guest) -> $crate::Shutdown = $main;
            println!("a guest: build it for x86_64-unknown-none and let a hypervisor run it");
        }
    };
}
