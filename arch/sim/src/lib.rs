//! The simulated machine: the same guests, on a workstation, from a seed.
//!
//! [`SimMachine`] has memory, a clock that advances with what is done, and a seed that decides everything chance would:
//! who runs next, for how long, and how long each step takes. The same seed gives the same run, byte for byte.
//!
//! Its guests are [programs](programs): Rust that makes hypercalls, touches guest memory and takes interrupts, one
//! [action](guest::action) at a time, so that a run can be interrupted between any two of them. Guest code of a real
//! kernel is not executed.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, reason = "tests make up numbers that fit")
)]

pub mod cpu;
pub mod guest;
pub mod kernel;
pub mod machine;
pub mod memory;
mod pcpus;
pub mod programs;
pub mod record;
pub mod schedule;
pub mod stall;
pub mod starve;

pub use guest::SimGuest;
pub use machine::SimMachine;
