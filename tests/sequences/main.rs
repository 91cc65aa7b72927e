//! Property tests: random sequences of hypercalls of three domains, compared call by call with a small model, while
//! domains are taken apart and made anew at any point; at the end, everything is back.
//!
//! One file an area. An area says which calls there are ([`runner::Area`]), makes them and knows what they should do;
//! [`runner`] invents sequences from seeds, runs them, and makes a sequence that fails as short as it can before it
//! prints it with its seed. [`world`] has the three domains, small ones, since they are made anew for each sequence.
//!
//! `SEQUENCES=n` runs so many an area (100,000 unless told otherwise), `SEED=n` only the one of that seed.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

mod events;
mod grants;
mod memory;
mod runner;
mod world;
