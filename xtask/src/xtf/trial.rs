//! One test in one machine.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::found::Test;
use super::known;
use super::outcome::Outcome;
use crate::one_guest::OneGuest;

/// What holds for every test of a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'l> {
    /// The image the machine boots.
    pub image: &'l OneGuest,
    /// How long a test may take.
    pub time: Duration,
}

/// A test that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The test's name.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took, the boot of the machine included.
    pub took: Duration,
    /// The end of its console and of the host's log, unless it succeeded.
    pub story: String,
}

impl Trial {
    /// Why it may fail, if it may.
    pub fn known(&self) -> Option<&'static str> {
        known::reason(&self.name, self.outcome)
    }

    /// Whether something is wrong that is not known.
    pub fn is_bad(&self) -> bool {
        self.outcome.is_bad() && self.known().is_none()
    }
}

/// Runs one.
pub fn run(test: &Test, limits: &Limits<'_>) -> Result<Trial> {
    let settings = format!("guest.guest.vcpus={}", test.vcpus);
    let began = Instant::now();
    let mut running = limits
        .image
        .start(&test.file, test.memory_mib, &settings, limits.time)?;
    let ending = running.wait()?;
    let took = began.elapsed();
    // Its Xen console, and what it wrote to the port of Xen's console, which the host logs.
    let said = format!("{}\n{}", running.log().text(), running.console().text());
    let outcome = Outcome::of(ending, &said);
    let story = match outcome {
        Outcome::Success => String::new(),
        Outcome::Skip | Outcome::Error | Outcome::Failure => running.story(),
        _ => format!("{ending}\n{}", running.story()),
    };
    Ok(Trial {
        name: test.name.clone(),
        outcome,
        took,
        story,
    })
}
