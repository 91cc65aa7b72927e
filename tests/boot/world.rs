//! What the boot tests share: images built once, machines made from them, guests with a task.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use xtask::iso::{Iso, Protocol};
use xtask::machine::{Boot, Emulator, Ending, Running};
use xtask::{archive::Archive, guests, image};

/// How a machine gets its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the emulator, by PVH.
    Pvh,
    /// From GRUB.
    Grub(Protocol),
}

/// Which emulator the tests are about: the one that `cargo xtask test` names, QEMU if nobody does.
pub fn emulator() -> Emulator {
    Emulator::from_environment().unwrap_or_else(|error| panic!("{error:#}"))
}

/// A guest of `tests/guests`, of 64-bit code.
pub fn guest(name: &str) -> Vec<u8> {
    std::fs::read(guests::build(name).unwrap()).unwrap()
}

/// The ELF file of an image, built when it is first asked for.
pub fn built(example: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|held| held.into_inner());
    image::build(example, None).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A machine with an image, its modules and its command line, still to be started.
pub struct Machine {
    example: &'static str,
    modules: Vec<(String, Vec<u8>)>,
    line: String,
    memory_mib: u64,
    pcpus: u32,
    counts_instructions: bool,
    limit: Duration,
    way: Way,
}

impl Machine {
    /// A machine with `example` as its image and nothing else.
    pub fn with(example: &'static str) -> Machine {
        Machine {
            example,
            modules: Vec::new(),
            line: String::new(),
            memory_mib: 256,
            pcpus: 1,
            counts_instructions: false,
            limit: Duration::from_secs(60),
            way: Way::Pvh,
        }
    }

    /// Adds a module.
    pub fn module(mut self, name: &str, contents: &[u8]) -> Machine {
        self.modules.push((name.to_owned(), contents.to_vec()));
        self
    }

    /// Adds words to the image's command line.
    pub fn line(mut self, words: &str) -> Machine {
        self.line = format!("{} {words}", self.line).trim().to_owned();
        self
    }

    /// Sets the machine's memory.
    pub fn memory_mib(mut self, memory: u64) -> Machine {
        self.memory_mib = memory;
        self
    }

    /// Sets how many processors the machine has.
    pub fn pcpus(mut self, pcpus: u32) -> Machine {
        self.pcpus = pcpus;
        self
    }

    /// Lets the counter of the machine count the instructions that are executed.
    pub fn counting_instructions(mut self) -> Machine {
        self.counts_instructions = true;
        self
    }

    /// Sets the time after which the machine is stopped and the test has failed.
    pub fn limit(mut self, seconds: u64) -> Machine {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Sets how the image is loaded.
    pub fn by(mut self, way: Way) -> Machine {
        self.way = way;
        self
    }

    /// Starts it.
    pub fn start(&self) -> Running {
        let image = built(self.example);
        let scratch = tempfile::tempdir().unwrap();
        let boot = match self.way {
            Way::Pvh => {
                let bundle = scratch.path().join("bundle");
                let mut archive = Archive::new();
                for (name, contents) in &self.modules {
                    archive.file(name, contents).unwrap();
                }
                std::fs::write(&bundle, archive.finish().unwrap()).unwrap();
                Boot::Image {
                    image,
                    bundle: (!self.modules.is_empty()).then_some(bundle),
                }
            }
            Way::Grub(first) => {
                let iso = scratch.path().join("iso");
                let files: Vec<PathBuf> = self
                    .modules
                    .iter()
                    .map(|(name, _)| scratch.path().join(format!("module-{name}")))
                    .collect();
                for (file, (_, contents)) in files.iter().zip(&self.modules) {
                    std::fs::write(file, contents).unwrap();
                }
                let modules: Vec<_> = self
                    .modules
                    .iter()
                    .zip(&files)
                    .map(|((name, _), file)| (name.as_str(), file.as_path()))
                    .collect();
                Iso {
                    image: &image,
                    modules: &modules,
                    command_line: &self.line,
                    first,
                }
                .write(&iso)
                .unwrap_or_else(|error| panic!("{error:#}"));
                Boot::Iso { iso, image }
            }
        };
        let mut machine = xtask::machine::Machine::new(emulator(), boot);
        machine.counts_instructions = self.counts_instructions;
        let mut running = machine
            .memory_mib(self.memory_mib)
            .pcpus(self.pcpus)
            .command_line(&self.line)
            .time_limit(self.limit * emulator().patience())
            .start()
            .unwrap_or_else(|error| panic!("{error:#}"));
        running.keep(scratch);
        running
    }

    /// Runs it until it ends as `expected`; everything else fails the test.
    pub fn ends(&self, expected: Ending) -> Running {
        let mut running = self.start();
        running
            .expect(expected)
            .unwrap_or_else(|error| panic!("{error:#}"));
        running
    }
}
