//! xenvisor: a Xen-compatible hypervisor as a library.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
