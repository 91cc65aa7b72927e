//! `io/`: rings between a guest and who serves it.

pub mod console;
pub mod xs_wire;
