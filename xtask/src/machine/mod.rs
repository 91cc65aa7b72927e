//! Emulated machines: described, started, watched, ended. What `cargo xtask run` and the boot tests share.
//!
//! A [`Machine`] says what it boots and on which [`Emulator`]; the emulator makes a command of it and says how console,
//! log and verdict come out; [`Running`] does not know which emulator it was.

pub mod backtrace;
pub mod bochs;
pub mod boot;
pub mod console;
pub mod description;
pub mod emulator;
pub mod ending;
pub mod kvm;
pub mod log;
pub mod qemu;
pub mod running;
pub mod wiring;

pub use boot::Boot;
pub use console::Console;
pub use description::Machine;
pub use emulator::Emulator;
pub use ending::Ending;
pub use log::{Level, Line, Log};
pub use running::Running;
