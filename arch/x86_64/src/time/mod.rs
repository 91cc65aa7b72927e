//! Clocks of the bare machine: which time it is, and how long things take.

pub mod calibrate;
#[cfg(target_os = "none")]
pub mod clock;
#[cfg(target_os = "none")]
pub(crate) mod reference;
pub mod rtc;
