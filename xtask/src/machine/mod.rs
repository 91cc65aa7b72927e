//! Emulated machines: described, started, watched, ended. What `cargo xtask run` and the boot tests share.

pub mod backtrace;
pub mod console;
pub mod ending;
pub mod log;
pub mod qemu;
pub mod running;

pub use console::Console;
pub use ending::Ending;
pub use log::{Level, Line, Log};
pub use qemu::{Boot, Qemu};
pub use running::Running;
