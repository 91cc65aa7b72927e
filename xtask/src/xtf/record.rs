//! What came of a run: for eyes, as a file, and compared with another.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::outcome::Outcome;
use super::trial::Trial;

/// All tests of a run, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Each test.
    pub trials: Vec<Trial>,
}

impl Record {
    /// Of these trials.
    pub fn new(trials: Vec<Trial>) -> Record {
        Record { trials }
    }

    /// Reads a file that [`Record::write`] wrote.
    pub fn read(file: &Path) -> Result<Record> {
        let name = file.display();
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
        let value: Value = serde_json::from_slice(&bytes).with_context(|| format!("{name} is no JSON"))?;
        Record::from_json(&value).with_context(|| format!("{name} is no record of results"))
    }

    /// Writes it to a file.
    pub fn write(&self, file: &Path) -> Result<()> {
        let text = format!("{:#}\n", self.to_json());
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    fn to_json(&self) -> Value {
        let trials = self.trials.iter().map(|trial| {
            let mut entry = json!({
                "test": trial.name,
                "outcome": trial.outcome.name(),
                "milliseconds": u64::try_from(trial.took.as_millis()).unwrap_or(u64::MAX),
            });
            if let Some(entry) = entry.as_object_mut() {
                if let Some(reason) = trial.known() {
                    entry.insert("known".to_owned(), reason.into());
                }
                if !trial.story.is_empty() {
                    entry.insert("story".to_owned(), trial.story.as_str().into());
                }
            }
            entry
        });
        json!({ "results": trials.collect::<Vec<_>>() })
    }

    fn from_json(value: &Value) -> Option<Record> {
        let trials = value.get("results")?.as_array()?.iter().map(|entry| {
            let text = |key: &str| entry.get(key).and_then(Value::as_str);
            Some(Trial {
                name: text("test")?.to_owned(),
                outcome: Outcome::named(text("outcome")?)?,
                took: Duration::from_millis(entry.get("milliseconds").and_then(Value::as_u64).unwrap_or(0)),
                story: text("story").unwrap_or_default().to_owned(),
            })
        });
        Some(Record::new(trials.collect::<Option<_>>()?))
    }

    /// One line a test.
    pub fn table(&self, coloured: bool) -> String {
        let widest = self
            .trials
            .iter()
            .map(|trial| trial.name.len())
            .max()
            .unwrap_or(0);
        let lines = self.trials.iter().map(|trial| {
            let (start, end) = match trial.outcome {
                _ if !coloured => ("", ""),
                Outcome::Success => ("\x1b[32m", "\x1b[0m"),
                Outcome::Skip => ("\x1b[2m", "\x1b[0m"),
                _ if !trial.is_bad() => ("\x1b[33m", "\x1b[0m"),
                _ => ("\x1b[31m", "\x1b[0m"),
            };
            let seconds = trial.took.as_secs_f64();
            let known = trial
                .known()
                .map(|reason| format!("  {reason}"))
                .unwrap_or_default();
            let line = format!(
                "{:widest$}  {start}{:11}{end} {seconds:6.1} s{known}",
                trial.name, trial.outcome
            );
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// How many of each outcome, and how many of the bad ones are known.
    pub fn summary(&self) -> String {
        let mut counts = BTreeMap::<Outcome, usize>::new();
        for trial in &self.trials {
            let count = counts.entry(trial.outcome).or_default();
            *count = count.saturating_add(1);
        }
        let parts: Vec<_> = counts
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"))
            .collect();
        let known = self.trials.iter().filter(|trial| trial.known().is_some()).count();
        let known = match known {
            0 => String::new(),
            known => format!("; {known} for a known reason"),
        };
        format!("{} tests: {}{known}", self.trials.len(), parts.join(", "))
    }

    /// Where the outcomes differ from those of `before`.
    pub fn changes_since(&self, before: &Record) -> Vec<Change> {
        let outcomes = |record: &Record| -> BTreeMap<String, Outcome> {
            let pairs = record
                .trials
                .iter()
                .map(|trial| (trial.name.clone(), trial.outcome));
            pairs.collect()
        };
        let (was, is) = (outcomes(before), outcomes(self));
        let differing = was.iter().filter_map(|(name, was)| {
            let name = name.clone();
            match is.get(&name) {
                None => Some(Change::Gone { name }),
                Some(is) if is != was => Some(Change::Other {
                    name,
                    was: *was,
                    is: *is,
                }),
                Some(_) => None,
            }
        });
        let new = is.iter().filter(|(name, _)| !was.contains_key(*name));
        let new = new.map(|(name, is)| Change::New {
            name: name.clone(),
            is: *is,
        });
        differing.chain(new).collect()
    }
}

/// How a test differs from a run before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ended otherwise.
    Other {
        /// The test.
        name: String,
        /// What came of it before.
        was: Outcome,
        /// What came of it now.
        is: Outcome,
    },
    /// It was not there before.
    New {
        /// The test.
        name: String,
        /// What came of it.
        is: Outcome,
    },
    /// It is not there any more.
    Gone {
        /// The test.
        name: String,
    },
}

impl Change {
    /// Whether that is a step back.
    pub fn is_worse(&self) -> bool {
        match self {
            Change::Other { was, is, .. } => is > was,
            Change::New { .. } => false,
            Change::Gone { .. } => true,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Other { name, was, is } => {
                let word = if is > was { "worse" } else { "better" };
                write!(f, "{word}: {name}: {was} before, {is} now")
            }
            Change::New { name, is } => write!(f, "new: {name}: {is}"),
            Change::Gone { name } => write!(f, "worse: {name}: not there any more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(trials: &[(&str, Outcome)]) -> Record {
        let trials = trials.iter().map(|(name, outcome)| Trial {
            name: (*name).to_owned(),
            outcome: *outcome,
            took: Duration::from_millis(1500),
            story: if outcome.is_bad() { "its story\n" } else { "" }.to_owned(),
        });
        Record::new(trials.collect())
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("record");
        let written = record(&[
            ("a", Outcome::Success),
            ("b", Outcome::Host),
            ("c", Outcome::Skip),
        ]);
        written.write(&file).unwrap();
        assert_eq!(Record::read(&file).unwrap(), written);
        std::fs::write(&file, "{\"results\": [{\"test\": \"a\", \"outcome\": \"fine\"}]}").unwrap();
        assert!(Record::read(&file).is_err());
    }

    #[test]
    fn only_what_is_worse_than_before_or_gone_is_a_step_back() {
        let before = record(&[
            ("crashes", Outcome::Crash),
            ("fails", Outcome::Success),
            ("gone", Outcome::Failure),
            ("heals", Outcome::Failure),
            ("same", Outcome::Error),
        ]);
        let now = record(&[
            ("crashes", Outcome::Crash),
            ("fails", Outcome::Failure),
            ("heals", Outcome::Success),
            ("new", Outcome::Failure),
            ("same", Outcome::Error),
        ]);
        let changes = now.changes_since(&before);
        let told: Vec<_> = changes.iter().map(ToString::to_string).collect();
        let expected = [
            "worse: fails: success before, failure now",
            "worse: gone: not there any more",
            "better: heals: failure before, success now",
            "new: new: failure",
        ];
        assert_eq!(told, expected);
        let worse: Vec<_> = changes.iter().map(Change::is_worse).collect();
        assert_eq!(worse, [true, true, false, false]);
        assert!(now.changes_since(&now).is_empty());
    }

    #[test]
    fn the_table_has_a_line_for_each_test_and_the_summary_counts() {
        let record = record(&[("long-name", Outcome::Success), ("b", Outcome::Hang)]);
        let expected = "long-name  success        1.5 s\nb          hang           1.5 s";
        assert_eq!(record.table(false), expected);
        assert!(record.table(true).contains("\x1b[31mhang"));
        assert_eq!(record.summary(), "2 tests: 1 success, 1 hang");
        let known = self::record(&[("test-hvm64-xsa-308", Outcome::Crash)]);
        assert_eq!(known.summary(), "1 tests: 1 crash; 1 for a known reason");
    }
}
