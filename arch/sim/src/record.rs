//! What happened: log lines, console bytes, and how often each domain called.
//!
//! Kept to be looked at afterwards; shown at once where somebody wants to watch. A log line never lands in the middle
//! of a console line.

use std::collections::{BTreeMap, VecDeque};

use xenvisor_core::clock::Instant;
use xenvisor_core::machine::Level;
use xenvisor_core::number::DomainId;

/// A line of the host's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// How much it matters.
    pub level: Level,
    /// The domain it concerns.
    pub domain: Option<DomainId>,
    /// What it says.
    pub text: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, rest) = (self.at.as_ns() / 1_000_000_000, self.at.as_ns() % 1_000_000_000);
        let level = match self.level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info ",
            Level::Warn => "warn ",
            Level::Error => "error",
        };
        let domain = self.domain.map_or_else(|| "  ".to_owned(), |id| id.to_string());
        write!(out, "{seconds:4}.{rest:09} {level} {domain}  {}", self.text)
    }
}

/// How often a domain did what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Hypercalls it made; one that went on in slices counts once.
    pub hypercalls: u64,
    /// Events among them that it sent.
    pub events: u64,
    /// Interrupts it took.
    pub interrupts: u64,
}

/// Where what happens is shown.
pub type Screen = Box<dyn FnMut(&str) + Send>;

/// All of it.
#[derive(Default)]
pub struct Record {
    /// The log.
    pub lines: Vec<Line>,
    /// What guests wrote.
    pub console: Vec<u8>,
    /// What will be typed.
    pub input: VecDeque<u8>,
    /// How often each domain did what.
    pub counts: BTreeMap<DomainId, Counts>,
    /// Where it is shown, and from which level on.
    screen: Option<(Screen, Level)>,
    /// The screen is in the middle of a line.
    in_line: bool,
}

impl Record {
    /// From now on, shows console and log lines of this level and above.
    pub fn watch(&mut self, level: Level, screen: Screen) {
        self.screen = Some((screen, level));
    }

    /// A line for the log.
    pub fn line(&mut self, line: Line) {
        if let Some((screen, level)) = &mut self.screen
            && line.level >= *level
        {
            let before = if std::mem::take(&mut self.in_line) {
                "\n"
            } else {
                ""
            };
            screen(&format!("{before}{line}\n"));
        }
        self.lines.push(line);
    }

    /// Bytes from a guest.
    pub fn wrote(&mut self, bytes: &[u8]) {
        self.console.extend_from_slice(bytes);
        if let Some((screen, _)) = &mut self.screen {
            screen(&String::from_utf8_lossy(bytes));
            if let Some(last) = bytes.last() {
                self.in_line = *last != b'\n';
            }
        }
    }

    /// The books of a domain.
    pub fn counts(&mut self, domain: DomainId) -> &mut Counts {
        self.counts.entry(domain).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_log_line_never_lands_in_the_middle_of_a_console_line() {
        let seen = Arc::new(Mutex::new(String::new()));
        let mut record = Record::default();
        let screen = seen.clone();
        record.watch(
            Level::Info,
            Box::new(move |text| screen.lock().unwrap().push_str(text)),
        );
        record.wrote(b"login: ");
        for level in [Level::Debug, Level::Warn] {
            record.line(Line {
                at: Instant::from_ns(1_000_000_005),
                level,
                domain: Some(DomainId::new(3)),
                text: "hm".to_owned(),
            });
        }
        record.wrote(b"root\n");
        assert_eq!(
            *seen.lock().unwrap(),
            "login: \n   1.000000005 warn  d3  hm\nroot\n"
        );
        assert_eq!(record.lines.len(), 2, "what is not shown is kept");
    }
}
