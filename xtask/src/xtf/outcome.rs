//! What came of a test: its own verdict, or what happened to it instead.

use std::fmt;

use crate::machine::Ending;

/// What the line with a test's verdict begins with.
const RESULT: &str = "Test result: ";

/// What came of a test, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It says that all is well.
    Success,
    /// It says that there is nothing to be tested here.
    Skip,
    /// It says that it was not able to test.
    Error,
    /// It says that something is wrong.
    Failure,
    /// It ended, or was ended, without a verdict.
    Crash,
    /// It did not end in time.
    Hang,
    /// It took the host with it.
    Host,
}

/// All of them, with the words for them in a record.
const WORDS: [(Outcome, &str); 7] = [
    (Outcome::Success, "success"),
    (Outcome::Skip, "skip"),
    (Outcome::Error, "error"),
    (Outcome::Failure, "failure"),
    (Outcome::Crash, "crash"),
    (Outcome::Hang, "hang"),
    (Outcome::Host, "host failed"),
];

impl Outcome {
    /// What follows from how the machine ended, and from what the guest said on its consoles.
    pub fn of(ending: Ending, said: &str) -> Outcome {
        match ending {
            Ending::HostFailed | Ending::Emulator(_) => Outcome::Host,
            Ending::TimedOut | Ending::Stopped => Outcome::Hang,
            Ending::GuestCrashed => Outcome::Crash,
            Ending::GuestsEnded => verdict(said).unwrap_or(Outcome::Crash),
        }
    }

    /// The outcome with this name.
    pub fn named(word: &str) -> Option<Outcome> {
        WORDS
            .iter()
            .find(|(_, name)| *name == word)
            .map(|(outcome, _)| *outcome)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        WORDS
            .iter()
            .find(|(outcome, _)| *outcome == self)
            .map_or("", |(_, name)| *name)
    }

    /// Whether something is wrong.
    pub fn is_bad(self) -> bool {
        self > Outcome::Skip
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The last verdict in what was said.
fn verdict(said: &str) -> Option<Outcome> {
    said.lines().rev().find_map(|line| {
        let (_, word) = line.split_once(RESULT)?;
        match word.split_whitespace().next()? {
            "SUCCESS" => Some(Outcome::Success),
            "SKIP" => Some(Outcome::Skip),
            "ERROR" => Some(Outcome::Error),
            "FAILURE" => Some(Outcome::Failure),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_succeeded_only_if_it_says_so_and_its_guest_ended_well() {
        let said = "--- Xen Test Framework ---\nTest result: SUCCESS with warnings\r\n";
        assert_eq!(Outcome::of(Ending::GuestsEnded, said), Outcome::Success);
        assert_eq!(Outcome::of(Ending::GuestCrashed, said), Outcome::Crash);
        assert_eq!(Outcome::of(Ending::TimedOut, said), Outcome::Hang);
        assert_eq!(Outcome::of(Ending::HostFailed, said), Outcome::Host);
        assert_eq!(Outcome::of(Ending::Emulator(Some(0)), said), Outcome::Host);
        assert_eq!(Outcome::of(Ending::GuestsEnded, "SUCCESS"), Outcome::Crash);
    }

    #[test]
    fn the_four_verdicts_are_understood_wherever_in_a_line_they_stand() {
        for (word, outcome) in [
            ("SKIP", Outcome::Skip),
            ("ERROR", Outcome::Error),
            ("FAILURE", Outcome::Failure),
        ] {
            let said = format!("0.5 info d1 Test result: {word}\nlater words");
            assert_eq!(Outcome::of(Ending::GuestsEnded, &said), outcome);
            assert!(Outcome::named(outcome.name()) == Some(outcome));
        }
        assert!(!Outcome::Skip.is_bad() && Outcome::Error.is_bad());
    }
}
