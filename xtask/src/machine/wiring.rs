//! How a machine is connected to us: the emulator's command, and where console, log and verdict come out of it.

use crate::machine::{Ending, bochs};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

/// Where the console is.
pub(super) enum ConsoleWire {
    /// The emulator's standard input and output.
    Stdio,
    /// The emulator connects here.
    Socket(TcpListener),
    /// The emulator writes it to a file for others, and its terminal is its debugger's.
    Debugger(PathBuf),
}

/// Where the host's log comes out.
pub(super) enum LogWire {
    /// There is none.
    None,
    /// The emulator connects here.
    Socket(UnixListener),
    /// Among the emulator's own words on its standard output, the verdict with it.
    Stdout,
}

/// A machine's connections, before it is started.
pub(super) struct Wiring {
    /// The emulator's command, complete.
    pub(super) command: Command,
    /// Where the console is.
    pub(super) console: ConsoleWire,
    /// Where the log is.
    pub(super) log: LogWire,
    /// How the emulator's end is understood.
    pub(super) verdict: Verdict,
}

/// How the end of an emulator's process is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By the process's exit status.
    Status,
    /// By the last words among the log.
    LastWords,
}

impl Verdict {
    /// What `status` and the image's last words mean. Without an image, a machine that is switched off has ended well.
    pub(super) fn ending(self, status: ExitStatus, last_words: Option<u8>, has_image: bool) -> Ending {
        match self {
            Verdict::Status => Ending::of(status, has_image),
            Verdict::LastWords => last_words
                .and_then(bochs::words::meaning)
                .unwrap_or(Ending::Emulator(status.code())),
        }
    }
}
