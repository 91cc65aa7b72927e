//! xenvisor: a Xen-compatible hypervisor as a library.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

#[cfg(target_os = "none")]
pub use xenvisor_x86_64 as bare;
