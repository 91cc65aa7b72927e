//! The commands of this repository, one file a verb, and what they share: the emulator ([`machine`]), the guest's
//! small userland ([`initramfs`]), the packages it is made of ([`debian`]).
//!
//! The boot tests use the same library, so a test starts a machine the way a person does.
#![forbid(unsafe_code)]

pub mod abi;
pub mod apt;
pub mod archive;
pub mod bench;
pub mod check;
pub mod cli;
pub mod command;
pub mod coverage;
pub mod debian;
pub mod guests;
pub mod image;
pub mod initramfs;
pub mod iso;
pub mod machine;
pub mod one_guest;
pub mod progress;
pub mod run;
pub mod sim;
pub mod terminal;
pub mod test;
pub mod tools;
pub mod unpacked;
pub mod workspace;
pub mod xen;
pub mod xtf;

use clap::Parser;
use std::process::ExitCode;

/// Does what the command line of this process says, and answers with the status to exit with.
pub fn main() -> ExitCode {
    match cli::Cli::parse().verb.run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(101)
        }
    }
}
