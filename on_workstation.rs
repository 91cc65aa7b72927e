//! An image on a workstation: the same description, on the simulated machine, from a seed.
//!
//! Guests run the simulator's programs under the names of their modules. What happens is shown as it happens; at the
//! end stands what became of each guest.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use crate::hypercalls::launch::{Ended, Finished, launch};
use crate::model::machine::Level;
use crate::prelude::{Boot, BootError, Module, System};
use crate::sim::kernel;
use crate::sim::machine::SimMachine;
use crate::sim::programs::Programs;
use crate::sim::record::Counts;
use crate::sim::schedule::ByChance;
use crate::sim::stall::StallWatch;

/// What a file for Linux asks for, and what the simulator has instead.
const OTHER_NAMES: [(&str, &str); 1] = [("vmlinuz", "linux")];
/// An archive with nothing in it, for whoever asks for an initrd.
const EMPTY_INITRD: &[u8] = b"0707010000000000000000000000000000000000000001000000000000000000000000\
00000000000000000000000000000000000000000b00000000TRAILER!!!\0\0\0\0";

const USAGE: &str = "\
Runs this image's guests on a simulated machine.

Options:
  --seed N             what decides the order of events; the same number gives the same run [default: 1]
  --log LEVEL          trace, debug, info, warn or error [default: info]
  --cmdline TEXT       the image's command line, such as guest.NAME.memory=64M
  --module NAME=FILE   a module from a file, instead of the simulator's program of that name
  --help               this
";

/// What the person asked for.
struct Options {
    seed: u64,
    level: Level,
    command_line: String,
    modules: Vec<(String, Vec<u8>)>,
}

/// Runs what an image describes. For [`image!`](crate::image) to call.
pub fn sim_image(describe: fn(&Boot) -> Result<System, BootError>) -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("{mistake}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(describe, options) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Badly) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xenvisor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows text. A reader that has gone away is no reason to stop.
fn print(text: &str) {
    let _gone = std::io::stdout().write_all(text.as_bytes());
}

impl Options {
    /// Reads the arguments; `None` when help was asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            seed: 1,
            level: Level::Info,
            command_line: String::new(),
            modules: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            if matches!(name.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            if !matches!(name.as_str(), "--seed" | "--log" | "--cmdline" | "--module") {
                return Err(format!("`{name}` is no option"));
            }
            let value = value.or_else(|| arguments.next());
            let value = value.ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--seed" => options.seed = value.parse().map_err(|_| format!("`{value}` is no seed"))?,
                "--log" => options.level = level(&value).ok_or_else(|| format!("`{value}` is no level"))?,
                "--cmdline" => options.command_line = value,
                _ => options.modules.push(read_module(&value)?),
            }
        }
        Ok(Some(options))
    }

    /// What was loaded with the image: the modules from files, and a program under every other name.
    ///
    /// They live as long as the process, as they do on a machine.
    fn boot(self, programs: &Programs) -> Boot {
        let mut modules = self.modules;
        let mut add = |name: &str, bytes: Vec<u8>| {
            if modules.iter().all(|(there, _)| there != name) {
                modules.push((name.to_owned(), bytes));
            }
        };
        for (name, program) in OTHER_NAMES {
            add(name, kernel::file(program));
        }
        programs.names().for_each(|name| add(name, kernel::file(name)));
        add("initrd", EMPTY_INITRD.to_vec());
        let module = |(name, bytes): (String, Vec<u8>)| Module {
            name: name.leak(),
            bytes: bytes.leak(),
        };
        Boot {
            command_line: self.command_line.leak(),
            modules: modules.into_iter().map(module).collect(),
        }
    }
}

fn level(name: &str) -> Option<Level> {
    Some(match name {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        _ => return None,
    })
}

fn read_module(value: &str) -> Result<(String, Vec<u8>), String> {
    let (name, file) = value
        .split_once('=')
        .ok_or_else(|| format!("`{value}` should be NAME=FILE"))?;
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    Ok((name.to_owned(), bytes))
}

fn run(
    describe: fn(&Boot) -> Result<System, BootError>,
    options: Options,
) -> Result<Ended, Box<dyn core::error::Error>> {
    let programs = Programs::standard();
    let (seed, level) = (options.seed, options.level);
    let machine = SimMachine::new(seed, programs.clone());
    machine.record().watch(level, Box::new(print));
    let boot = options.boot(&programs);
    let mut system = describe(&boot)?;
    system.schedule(ByChance::new(seed));
    let frames = machine
        .frames()
        .map_err(|_| "the simulated machine is too small")?;
    let free = frames.free();
    let mut services = crate::standard_services();
    services.push(Box::new(StallWatch::new(machine.clone())));
    let finished = launch(
        Arc::new(machine.clone()),
        frames,
        system,
        boot.command_line,
        services,
    )?;
    print(&summary(&machine, &finished, free, seed));
    Ok(finished.ended)
}

/// The end state, for people.
fn summary(machine: &SimMachine, finished: &Finished, free_before: u64, seed: u64) -> String {
    let ns = crate::model::machine::Machine::now(machine).as_ns();
    let mut text = format!(
        "\nAfter {}.{:06} s, from seed {seed}:\n",
        ns / 1_000_000_000,
        ns / 1000 % 1_000_000
    );
    let mut record = machine.record();
    for fate in &finished.fates {
        let Counts {
            hypercalls,
            events,
            interrupts,
        } = *record.counts(fate.id);
        let how = fate
            .reason
            .map_or("was not started".to_owned(), |reason| format!("{reason:?}"));
        text.push_str(&format!(
            "  {} {:<8} {how}: {hypercalls} hypercalls, {events} events sent, {interrupts} interrupts taken\n",
            fate.id, fate.name
        ));
        if fate.denials.total() > 0 {
            text.push_str(&format!("  {}          was {}\n", fate.id, fate.denials));
        }
    }
    let free = finished.hypervisor.frames.free();
    text.push_str(&if free == free_before {
        format!("  all {free} frames are free again\n")
    } else {
        format!(
            "  {} frames of {free_before} are missing\n",
            free_before.saturating_sub(free)
        )
    });
    text
}
