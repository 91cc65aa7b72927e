//! The verbs a guest can utter, and the loop that runs vcpus and serves what they say.
//!
//! The life of a hypercall: [`run`] runs a vcpu until it exits; [`exit`] serves that one exit; a hypercall goes through
//! [`table`] to the function of its name, which gets a [`context::Context`] (who calls, and the doors to the caller's
//! memory) and returns an [`answer::Answer`] or an [`errno::Errno`]. One file a hypercall; a row a sub-operation.
//!
//! Each operation decodes, authorises, prepares and commits, in that order; the place for its results in guest memory
//! is reserved before anything changes. Nothing here knows hardware.
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
#[cfg(test)]
extern crate std;

pub mod answer;
pub mod console_io;
pub mod context;
pub mod errno;
pub mod event_channel_op;
pub mod exit;
pub mod grant_table_op;
pub mod hvm_op;
pub mod launch;
pub mod memory_op;
pub mod multicall;
pub mod refused;
pub mod run;
pub mod sched_op;
pub mod set_timer_op;
pub mod shape;
pub mod table;
#[cfg(test)]
mod testing;
pub mod vcpu_op;
pub mod vm_assist;
pub mod xen_version;
