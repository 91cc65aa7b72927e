//! Clocks of the bare machine.
