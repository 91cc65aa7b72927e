//! Interrupt controllers of the bare machine: each processor's own, and the ones that collect lines.

#[cfg(target_os = "none")]
pub(crate) mod io;
#[cfg(target_os = "none")]
pub(crate) mod local;
#[cfg(any(target_os = "none", test))]
pub(crate) mod routing;
#[cfg(any(target_os = "none", test))]
pub(crate) mod timer;

/// The vectors of the host's own interrupts. Exceptions lie below 32.
pub mod vectors {
    /// COM1 has received.
    pub const CONSOLE: u8 = 0x40;
    /// The local APIC's timer has run out.
    pub const TIMER: u8 = 0xf0;
    /// Another processor wants this one to look around.
    pub const KICK: u8 = 0xf1;
    /// The local APIC has an error to tell.
    pub const ERROR: u8 = 0xfe;
    /// An interrupt that went away before it was taken; it must not be acknowledged.
    pub const SPURIOUS: u8 = 0xff;
}
