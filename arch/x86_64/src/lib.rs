//! The hardware of a 64-bit PC, behind the contract of `xenvisor_core::machine`.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod devices;
pub mod emulate;
pub mod guest;
pub mod second_stage;
pub mod svm;
pub mod vcpu;
pub mod vmx;

// The bare machine itself; what needs privileged instructions exists only there.
pub mod apic;
pub mod boot;
pub mod console;
#[cfg(target_os = "none")]
pub mod heap;
pub mod host;
pub mod log;
#[cfg(target_os = "none")]
mod panic;
pub mod time;
