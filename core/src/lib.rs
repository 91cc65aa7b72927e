//! The model of a Xen-compatible hypervisor: pure, safe, knows no hardware.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "tests make up numbers that fit"
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod build;
pub mod clock;
pub mod domain;
mod domains;
pub mod event;
pub mod grant;
pub mod hypervisor;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod number;
pub mod p2m;
pub mod policy;
pub mod sched;
pub mod service;
pub mod system;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vcpu;
