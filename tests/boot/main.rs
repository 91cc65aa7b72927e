//! Machines that boot: images in an emulator, from the first instruction to the last. The same tests run in QEMU on an
//! AMD processor and in Bochs on an Intel processor; [`world::emulator`] says which this time.
//!
//! Each test has a time limit, and its failure shows the console, the host's log, and the host's backtrace.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

mod command;
mod exits;
mod guests;
mod host;
mod linux;
#[path = "../policies/images.rs"]
mod policy_images;
mod processor;
mod shares;
mod talks;
mod world;
mod xtf;
