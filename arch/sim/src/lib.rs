//! The simulated machine.
#![forbid(unsafe_code)]
