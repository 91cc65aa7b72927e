//! One test in one machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::found::Test;
use super::known;
use super::outcome::Outcome;
use crate::image;
use crate::machine::{Boot, Qemu};

/// What holds for every test of a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'l> {
    /// The image the machine boots.
    pub image: &'l Path,
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
    let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
    let bundle = scratch.path().join("bundle");
    let modules = image::bundle(&[("guest", &test.file)])?;
    let bytes = u64::try_from(modules.len()).unwrap_or(u64::MAX);
    std::fs::write(&bundle, modules).context("cannot write the bundle")?;
    let boot = Boot::Image {
        image: limits.image.to_path_buf(),
        bundle: Some(bundle),
    };
    let line = format!(
        "guest.guest.memory={}M guest.guest.vcpus={}",
        test.memory_mib, test.vcpus
    );
    let began = Instant::now();
    let mut running = Qemu::new(boot)
        .memory_mib(Qemu::memory_for(test.memory_mib, bytes))
        .command_line(&line)
        .time_limit(limits.time)
        .start()?;
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
