//! The model of a Xen-compatible hypervisor: pure, safe, knows no hardware.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod clock;
pub mod number;
