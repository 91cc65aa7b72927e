//! The host's log: defmt frames from the debug port, decoded with the table in the image's own ELF file.

use anyhow::{Context, Result};
use clap::ValueEnum;
use defmt_decoder::{DecodeError, Table};
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// How much a line of the log matters, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// Each step
    Trace,
    /// What helps to find a mistake
    Debug,
    /// What happened
    Info,
    /// What is not as it should be
    Warn,
    /// What went wrong
    Error,
}

impl Level {
    /// The word for it, as wide as the others.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info ",
            Level::Warn => "warn ",
            Level::Error => "error",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Level::Trace | Level::Debug => "2",
            Level::Info => "32",
            Level::Warn => "33",
            Level::Error => "31",
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// When, in the host's own words; empty when it did not say.
    pub time: String,
    /// The domain it concerns, when it begins with one.
    pub domain: Option<String>,
    /// What it says.
    pub text: String,
}

impl Line {
    fn new(level: Level, time: String, message: String) -> Line {
        // By convention a message about a domain begins with `d7: ` (or `d7v0: ` for one of its vcpus).
        let domain = message.split_once(": ").filter(|(word, _)| names_domain(word));
        match domain {
            Some((domain, text)) => Line {
                level,
                time,
                domain: Some(domain.to_owned()),
                text: text.to_owned(),
            },
            None => Line {
                level,
                time,
                domain: None,
                text: message,
            },
        }
    }

    /// The line for a terminal with colours, or without.
    pub fn display(&self, coloured: bool) -> String {
        let domain = self.domain.as_deref().unwrap_or("host");
        let (level, time, text) = (self.level.word(), &self.time, &self.text);
        if coloured {
            let colour = self.level.colour();
            format!("\x1b[2m{time:>12}\x1b[0m \x1b[{colour}m{level}\x1b[0m \x1b[36m{domain:<5}\x1b[0m {text}")
        } else {
            format!("{time:>12} {level} {domain:<5} {text}")
        }
    }
}

fn names_domain(word: &str) -> bool {
    word.strip_prefix('d').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().all(|c| c.is_ascii_digit() || c == 'v')
    })
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.display(false))
    }
}

/// The lines so far, shared between who decodes and who reads.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Vec<Line>>,
}

impl Log {
    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All lines so far, as text.
    pub fn text(&self) -> String {
        self.lines().iter().map(|line| format!("{line}\n")).collect()
    }

    /// Adds one.
    pub fn push(&self, line: Line) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

/// The table by which the frames of the image in `elf` are read; none when it logs nothing.
pub fn table(elf: &Path) -> Result<Option<Table>> {
    let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    Table::parse(&bytes).with_context(|| format!("cannot read the log's table in {}", elf.display()))
}

/// Decodes what `stream` gives until it ends, and hands each line to `sink`.
pub fn decode(mut stream: impl std::io::Read, table: &Table, mut sink: impl FnMut(Line)) {
    let mut decoder = table.new_stream_decoder();
    let mut chunk = [0_u8; 4096];
    loop {
        let count = match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        decoder.received(chunk.get(..count).unwrap_or_default());
        loop {
            match decoder.decode() {
                Ok(frame) => {
                    let level = match frame.level().map(|level| level.as_str()) {
                        Some("trace") => Level::Trace,
                        Some("debug") => Level::Debug,
                        Some("warn") => Level::Warn,
                        Some("error") => Level::Error,
                        _ => Level::Info,
                    };
                    let time = frame
                        .display_timestamp()
                        .map(|time| time.to_string())
                        .unwrap_or_default();
                    sink(Line::new(level, time, frame.display_message().to_string()));
                }
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => {
                    let text = "a log frame that cannot be read was skipped".to_owned();
                    sink(Line {
                        level: Level::Warn,
                        time: String::new(),
                        domain: None,
                        text,
                    });
                    if !table.encoding().can_recover() {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_begins_with_a_domain_concerns_it() {
        let line = |message: &str| Line::new(Level::Info, "1.5".to_owned(), message.to_owned());
        assert_eq!(line("d12: built").domain.as_deref(), Some("d12"));
        assert_eq!(line("d1v0: halted").domain.as_deref(), Some("d1v0"));
        assert_eq!(line("done: all").domain, None);
        assert_eq!(line("done: all").text, "done: all");
        assert_eq!(line("d1: built").to_string(), "         1.5 info  d1    built");
    }
}
