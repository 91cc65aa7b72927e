//! `cargo xtask xtf DIR`: the test guests of a Xen Test Framework build, each in a machine of its own, and what came of
//! them as a table and as JSON.
//!
//! The build is the user's: nothing of it is in this repository. What is taken from it are its ELF files, its settings
//! beside them, and the one line each test ends with.

mod found;
mod known;
mod outcome;
mod record;
mod trial;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::machine::Emulator;
use crate::one_guest::OneGuest;
use crate::progress::Step;
use crate::workspace;

use found::Test;
use outcome::Outcome;
use record::{Change, Record};
use trial::{Limits, Trial};

/// What `xtf` takes.
#[derive(Debug, Args)]
pub struct Xtf {
    /// A build of the framework, or its folder of tests
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Only tests whose name contains this; * stands for anything. May be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,
    /// Compare with the results in this file, and fail where one is worse instead of where one is bad
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Where to write the results [default: xtf.json where cargo builds]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// How many machines at a time [default: one for each processor]
    #[arg(long, value_name = "COUNT")]
    pub jobs: Option<usize>,
    /// Where they run
    #[arg(long, value_enum, default_value = "qemu")]
    pub machine: Emulator,
    /// How long a test may take; four times as long in Bochs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub time_limit: u64,
    /// Say what each test that did not succeed had to say
    #[arg(long, short)]
    pub verbose: bool,
}

impl Xtf {
    /// Runs them; the status is 1 when a test is bad, or, with `--against`, worse.
    pub fn run(self) -> Result<u8> {
        self.machine.ensure()?;
        let before = match &self.against {
            Some(file) => Some(Record::read(file)?),
            None => None,
        };
        let mut tests = found::tests(&self.folder)?;
        tests.retain(|test| test.is_wanted(&self.only));
        ensure!(!tests.is_empty(), "no test there has such a name");
        let image = OneGuest::build(self.machine)?;
        let limits = Limits {
            image: &image,
            time: Duration::from_secs(self.time_limit),
        };
        let record = Record::new(try_all(&tests, &limits, self.jobs())?);
        println!("{}", record.table(std::io::stdout().is_terminal()));
        for trial in record.trials.iter().filter(|trial| self.is_told(trial)) {
            println!("\n==== {}: {} ====\n{}", trial.name, trial.outcome, trial.story);
        }
        let file = match self.json {
            Some(file) => file,
            None => workspace::target_dir()?.join("xtf.json"),
        };
        record.write(&file)?;
        println!("{}; all of it is in {}", record.summary(), file.display());
        let Some(before) = before else {
            return Ok(u8::from(record.trials.iter().any(Trial::is_bad)));
        };
        let mut changes = record.changes_since(&before);
        // Who asks for a few tests does not miss the others.
        changes.retain(|change| self.only.is_empty() || !matches!(change, Change::Gone { .. }));
        for change in &changes {
            println!("{change}");
        }
        Ok(u8::from(changes.iter().any(Change::is_worse)))
    }

    fn is_told(&self, trial: &Trial) -> bool {
        trial.is_bad() || (self.verbose && trial.outcome != Outcome::Success)
    }

    fn jobs(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.unwrap_or(processors).max(1)
    }
}

/// Tries all, `jobs` at a time; the answers are in the order of the tests.
fn try_all(tests: &[Test], limits: &Limits<'_>, jobs: usize) -> Result<Vec<Trial>> {
    let step = Step::begin(&format!("running {} tests", tests.len()));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(tests.len()));
    let work = || -> Result<()> {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(test) = tests.get(place) else {
                return Ok(());
            };
            let trial = trial::run(test, limits).with_context(|| format!("cannot run {}", test.name))?;
            let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            done.push((place, trial));
            let hundredths = done.len().saturating_mul(100).checked_div(tests.len());
            step.percent(hundredths.and_then(|part| u64::try_from(part).ok()).unwrap_or(0));
            step.say(&test.name);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            let finished = worker.join();
            finished.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread of ours panicked")))
        })
    })?;
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, trial)| trial).collect())
}
