//! The person in front of the machine: a serial line, both ways.

#[cfg(target_os = "none")]
pub mod serial;
