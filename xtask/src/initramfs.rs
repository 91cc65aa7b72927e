//! The guest's first filesystem: busybox, our process 1, and, in an archive of its own behind it, what this run wants.
//!
//! Everything of ours is below `/xtask`, so that it fits into anybody's initrd.

use crate::archive::{Archive, append};
use crate::command::Command;
use crate::debian;
use anyhow::{Context, Result};
use std::path::Path;

const INIT: &[u8] = include_bytes!("init.sh");
const SESSION: &[u8] = include_bytes!("session.sh");
/// Where our process 1 is, for a filesystem with a process 1 of its own.
pub const OUR_INIT: &str = "/xtask/init";

/// What a guest is to do once it is up.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// A shell for whoever sits at the console, whose terminal is of that type and size (rows, columns).
    Shell {
        /// The value of `TERM`.
        terminal: String,
        /// Rows and columns, where known.
        size: Option<(u16, u16)>,
    },
    /// One command, its output framed.
    Command(Command),
    /// Whatever the initrd does by itself.
    Own,
}

/// The first filesystem of a guest: `initrd` if one is given, else ours.
pub fn build(initrd: Option<&Path>, purpose: &Purpose) -> Result<Vec<u8>> {
    let mut bytes = match initrd {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => base()?,
    };
    match purpose {
        Purpose::Own => {}
        Purpose::Shell { terminal, size } => {
            if initrd.is_none() {
                append(&mut bytes, &shell_settings(terminal, *size)?);
            }
        }
        Purpose::Command(command) => {
            let mut archive = Archive::new();
            // Ours has it already.
            if initrd.is_some() {
                ours(&mut archive)?;
            }
            archive.file("xtask/command", command.script().as_bytes())?;
            archive.file("xtask/nonce", command.nonce().as_bytes())?;
            append(&mut bytes, &archive.finish()?);
        }
    }
    Ok(bytes)
}

fn base() -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    ours(&mut archive)?;
    for folder in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"] {
        archive.folder(folder)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.file("etc/group", b"root:x:0:\n")?;
    archive.link("init", OUR_INIT)?;
    archive.finish()
}

fn ours(archive: &mut Archive) -> Result<()> {
    let busybox = debian::busybox()?;
    let busybox = std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.folder("xtask")?;
    archive.program("xtask/busybox", &busybox)?;
    archive.program("xtask/init", INIT)?;
    archive.program("xtask/session", SESSION)
}

fn shell_settings(terminal: &str, size: Option<(u16, u16)>) -> Result<Vec<u8>> {
    let terminal: String = terminal
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-._+".contains(*c))
        .collect();
    let mut settings = format!("export TERM={terminal}\n");
    if let Some((rows, columns)) = size {
        settings.push_str(&format!("stty rows {rows} columns {columns} <\"$console\"\n"));
    }
    let mut archive = Archive::new();
    archive.file("xtask/terminal", settings.as_bytes())?;
    archive.finish()
}
