//! Interrupt controllers of the bare machine.
