//! `cargo xtask run`: an image in QEMU with a Debian kernel as its guest, and this terminal as the guest's console, or
//! one command in the guest.

use crate::command::{Command, Event, Unframer};
use crate::debian::Kernel;
use crate::initramfs::{self, OUR_INIT, Purpose};
use crate::machine::running::Keyboard;
use crate::machine::{Boot, Emulator, Ending, Level, Machine, Running};
use crate::progress::Step;
use crate::terminal::{self, Escape, RawTerminal};
use crate::{guests, image, unpacked};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// How long a guest may take until it runs the command, unless told otherwise.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// How long a guest may take to switch itself off once its command has ended.
const GOODBYE_LIMIT: Duration = Duration::from_secs(10);

/// Where the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// On the image, in QEMU with an AMD processor (SVM)
    Qemu,
    /// On the image, in QEMU on this computer's own processor, through nested KVM
    Kvm,
    /// On the image, in Bochs with an Intel processor (VMX)
    Bochs,
    /// In QEMU without the image, to see what the guest does on a machine of its own
    Bare,
}

impl Place {
    const fn emulator(self) -> Emulator {
        match self {
            Place::Qemu | Place::Bare => Emulator::Qemu,
            Place::Kvm => Emulator::Kvm,
            Place::Bochs => Emulator::Bochs,
        }
    }
}

/// What `run` takes.
#[derive(Debug, Args)]
pub struct Run {
    /// Which example is the image; its guest has the same name
    #[arg(default_value = "linux")]
    pub example: String,
    /// The guest's kernel [default: Debian's, fetched once]
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The guest's initrd [default: busybox with a shell, made here]
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// More words for the guest's command line
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub cmdline: String,
    /// More words for the image's own command line, as in guest.linux.vcpus=1
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    pub host_cmdline: String,
    /// The guest's memory, in M or G
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_memory)]
    pub memory: u64,
    /// How many processors the machine has; the guest has as many vcpus as guest.NAME.vcpus= in --host-cmdline says
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub pcpus: u32,
    /// The least important lines of the host's log to show [default: info, and warn with a command]
    #[arg(long, value_enum)]
    pub log: Option<Level>,
    /// Wait for gdb on port 1234 before the first instruction; with Bochs, begin in its own debugger
    #[arg(long)]
    pub gdb: bool,
    /// Stop the machine after so many seconds, as an error
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Where the guest runs
    #[arg(long, value_enum, default_value = "qemu")]
    pub machine: Place,
    /// Which of Debian's kernels
    #[arg(long, value_enum, default_value = "cloud")]
    pub package: Kernel,
    /// Run this in the guest instead of a shell: print only its output, end with its status. A single word with spaces
    /// in it is a line for the shell
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

fn parse_memory(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: say 512M or 3G");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let mib = match unit {
        "M" | "m" => number,
        "G" | "g" => number.checked_mul(1024).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    if mib == 0 { Err(wrong()) } else { Ok(mib) }
}

impl Run {
    /// Runs it, and answers with the status it ended with.
    pub fn run(self) -> Result<u8> {
        let command = (!self.command.is_empty()).then(|| Command::new(&self.command));
        let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
        let boot = self.prepare(command.as_ref(), scratch.path())?;
        let modules = boot.modules_size()?;
        let mut machine =
            Machine::new(self.machine.emulator(), boot).memory_mib(Machine::memory_for(self.memory, modules));
        machine.command_line = self.line(command.is_some());
        if self.machine == Place::Bare {
            machine.memory_mib = self.memory;
        }
        machine.pcpus = self.pcpus;
        machine.debugger = self.gdb;
        machine.restarts = self.machine == Place::Bare && command.is_none();
        machine.time_limit = self.timeout.map(Duration::from_secs);
        if self.gdb {
            self.explain_gdb(&machine);
        }
        match command {
            Some(command) => {
                if self.timeout.is_none() && !self.gdb {
                    machine.time_limit = Some(BOOT_LIMIT.saturating_mul(self.machine.emulator().patience()));
                }
                self.run_command(machine, &command)
            }
            None => self.run_console(machine),
        }
    }

    fn prepare(&self, command: Option<&Command>, scratch: &Path) -> Result<Boot> {
        // First what may fail at once, then what takes long.
        self.machine.emulator().ensure()?;
        if let Some(names) = guests::of(&self.example) {
            anyhow::ensure!(
                command.is_none() && self.kernel.is_none() && self.machine != Place::Bare,
                "{} runs guests of its own: there is no Linux in it to take a kernel or a command",
                self.example
            );
            return self.with_own_guests(names, scratch);
        }
        let kernel = self.kernel(scratch)?;
        let purpose = match command {
            Some(command) => Purpose::Command(command.clone()),
            None if self.initrd.is_some() => Purpose::Own,
            None => Purpose::Shell {
                terminal: std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned()),
                size: terminal::size(),
            },
        };
        let initrd = scratch.join("initrd");
        std::fs::write(&initrd, initramfs::build(self.initrd.as_deref(), &purpose)?)
            .context("cannot write the initrd")?;
        if self.machine == Place::Bare {
            return Ok(Boot::Bare { kernel, initrd });
        }
        let bundle = image::bundle(&[("vmlinuz", &kernel), ("initrd", &initrd)], scratch)?;
        Ok(Boot::Image {
            image: image::build(&self.example, self.log)?,
            bundle: Some(bundle),
        })
    }

    fn kernel(&self, scratch: &Path) -> Result<PathBuf> {
        let unpack = self.machine.emulator().wants_unpacked_kernels();
        let Some(kernel) = &self.kernel else {
            return if unpack {
                unpacked::fetch(self.package)
            } else {
                self.package.fetch()
            };
        };
        if !unpack {
            return Ok(kernel.clone());
        }
        let file = scratch.join("vmlinux");
        std::fs::write(&file, unpacked::unpack(kernel)?).context("cannot write the unpacked kernel")?;
        Ok(file)
    }

    /// An example whose guests are this repository's.
    fn with_own_guests(&self, names: &[&str], scratch: &Path) -> Result<Boot> {
        let mut files = Vec::new();
        for name in names {
            files.push((*name, guests::build(name)?));
        }
        let modules: Vec<_> = files.iter().map(|(name, file)| (*name, file.as_path())).collect();
        let bundle = image::bundle(&modules, scratch)?;
        Ok(Boot::Image {
            image: image::build(&self.example, self.log)?,
            bundle: Some(bundle),
        })
    }

    /// The command line of what QEMU boots.
    fn line(&self, has_command: bool) -> String {
        if guests::of(&self.example).is_some() {
            return self.host_cmdline.clone();
        }
        let console = match self.machine {
            Place::Qemu | Place::Kvm | Place::Bochs => "console=hvc0",
            // There nobody is told of a panic; the machine is reset instead of standing still.
            Place::Bare => "console=ttyS0 panic=-1",
        };
        let mut guest = console.to_owned();
        if has_command {
            guest.push_str(" quiet loglevel=1");
            if self.initrd.is_some() {
                guest.push_str(&format!(" rdinit={OUR_INIT}"));
            }
        }
        if !self.cmdline.trim().is_empty() {
            guest.push_str(&format!(" {}", self.cmdline.trim()));
        }
        match self.machine {
            Place::Bare => guest,
            Place::Qemu | Place::Kvm | Place::Bochs => {
                let name = &self.example;
                let memory = self.memory;
                let host = format!(
                    "guest.{name}.memory={memory}M guest.{name}.cmdline=\"{guest}\" {}",
                    self.host_cmdline
                );
                host.trim_end().to_owned()
            }
        }
    }

    fn explain_gdb(&self, machine: &Machine) {
        if self.machine == Place::Bochs {
            eprintln!(
                "xtask: c runs the machine, b ADDRESS stops it there, r shows registers, help tells the rest"
            );
            return;
        }
        let symbols = machine
            .boot
            .image()
            .map(|image| image.display().to_string())
            .unwrap_or_default();
        eprintln!("xtask: the machine waits for:  gdb {symbols} -ex 'target remote :1234'");
    }

    fn run_console(&self, mut machine: Machine) -> Result<u8> {
        let least = self.log.unwrap_or(Level::Info);
        let signals = Signals::watch()?;
        if std::io::stdin().is_terminal() {
            eprintln!("xtask: the guest's console is yours; Ctrl-A X leaves it");
        }
        let raw = RawTerminal::enter();
        let line_open = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&line_open);
        machine.console_sink = Some(Box::new(move |bytes| {
            let mut stdout = std::io::stdout().lock();
            // A reader of ours that went away is no reason to stop the guest.
            let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            open.store(!bytes.ends_with(b"\n"), Ordering::Relaxed);
        }));
        let end = if raw.is_raw() { "\r\n" } else { "\n" };
        let coloured = std::io::stderr().is_terminal();
        machine.log_sink = Some(Box::new(move |line| {
            if line.level >= least {
                // Not into the middle of a line of the guest, when both go to one terminal.
                let start = if coloured && line_open.swap(false, Ordering::Relaxed) {
                    "\r\n"
                } else {
                    ""
                };
                eprint!("{start}{}{end}", line.display(coloured));
            }
        }));
        let mut running = machine.start()?;
        let quit = Arc::new(AtomicBool::new(false));
        if let Some(keyboard) = running.take_keyboard() {
            type_into(keyboard, Arc::clone(&quit));
        }
        let ending = loop {
            if let Some(ending) = running.try_wait()? {
                break ending;
            }
            if quit.load(Ordering::Relaxed) || signals.seen().is_some() {
                running.stop(Ending::Stopped);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        drop(raw);
        if let Some(signal) = signals.seen() {
            return Ok(signal.saturating_add(128));
        }
        report(&running, ending);
        Ok(ending.exit_status())
    }

    fn run_command(&self, mut machine: Machine, command: &Command) -> Result<u8> {
        let least = self.log.unwrap_or(Level::Warn);
        machine.log_sink = Some(Box::new(move |line| {
            if line.level >= least {
                eprintln!("{}", line.display(std::io::stderr().is_terminal()));
            }
        }));
        let (events, from_guest) = mpsc::channel();
        let mut unframer = Unframer::new(command.nonce());
        machine.console_sink = Some(Box::new(move |bytes| {
            for event in unframer.take(bytes) {
                // Nobody listens any more only when the verdict is known.
                let _ = events.send(event);
            }
        }));
        let signals = Signals::watch()?;
        let mut boot = Some(Step::begin(&format!(
            "booting in {}",
            self.machine.emulator().name()
        )));
        let mut running = machine.start()?;
        let mut began = false;
        let status = loop {
            match from_guest.recv_timeout(Duration::from_millis(20)) {
                Ok(Event::Began) if began => {
                    eprintln!("xtask: the guest started again before the command had ended");
                    return Ok(1);
                }
                Ok(Event::Began) => {
                    began = true;
                    boot = None;
                    if self.timeout.is_none() {
                        running.set_time_limit(None);
                    }
                }
                Ok(Event::Output(bytes)) => {
                    let mut stdout = std::io::stdout().lock();
                    if stdout.write_all(&bytes).and_then(|()| stdout.flush()).is_err() {
                        // Who read our output has enough, as in `| head -1`.
                        return Ok(141);
                    }
                }
                Ok(Event::Error(line)) => {
                    let mut stderr = std::io::stderr().lock();
                    let _ = stderr.write_all(&line).and_then(|()| stderr.write_all(b"\n"));
                }
                Ok(Event::Ended(status)) => break status,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Some(signal) = signals.seen() {
                        return Ok(signal.saturating_add(128));
                    }
                    running.try_wait()?;
                }
                // The machine ended, and all it said was heard.
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    drop(boot);
                    let ending = running.wait()?;
                    let when = if began {
                        "before the command had ended"
                    } else {
                        "before the command began"
                    };
                    eprintln!("xtask: {ending} {when}\n{}", running.story());
                    return Ok(if ending == Ending::GuestsEnded {
                        1
                    } else {
                        ending.exit_status()
                    });
                }
            }
        };
        running.set_time_limit(Some(
            GOODBYE_LIMIT.saturating_mul(self.machine.emulator().patience()),
        ));
        let ending = running.wait()?;
        if ending != Ending::GuestsEnded {
            eprintln!(
                "xtask: after the command had ended, {ending}\n{}",
                running.story()
            );
        }
        Ok(if ending == Ending::HostFailed {
            ending.exit_status()
        } else {
            status
        })
    }
}

/// What to know about an ending that is not a good one.
fn report(running: &Running, ending: Ending) {
    match ending {
        Ending::GuestsEnded | Ending::Stopped => {}
        Ending::GuestCrashed => eprintln!("xtask: {ending}"),
        Ending::HostFailed => eprintln!("xtask: {ending}\n{}", running.backtrace()),
        Ending::TimedOut | Ending::Emulator(_) => eprintln!("xtask: {ending}\n{}", running.story()),
    }
}

/// Hands what is typed to the machine, in a thread of its own.
fn type_into(mut keyboard: Keyboard, quit: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut escape = Escape::default();
        let mut keys = [0_u8; 256];
        let interactive = std::io::stdin().is_terminal();
        while let Ok(count) = std::io::stdin().read(&mut keys) {
            if count == 0 {
                break;
            }
            let typed = keys.get(..count).unwrap_or_default();
            // From a file or a pipe every byte is the guest's.
            let keys = if interactive {
                escape.take(typed)
            } else {
                terminal::Keys {
                    typed: typed.to_vec(),
                    quit: false,
                }
            };
            if keyboard
                .write_all(&keys.typed)
                .and_then(|()| keyboard.flush())
                .is_err()
            {
                break;
            }
            if keys.quit {
                quit.store(true, Ordering::Relaxed);
                break;
            }
        }
        // The machine keeps its keyboard, even when nobody types any more.
        std::thread::park();
        drop(keyboard);
    });
}

/// The signals that ask us to end.
struct Signals {
    seen: Arc<AtomicUsize>,
}

impl Signals {
    fn watch() -> Result<Signals> {
        let seen = Arc::new(AtomicUsize::new(0));
        for signal in [
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&seen), number)
                .context("cannot watch for signals")?;
        }
        Ok(Signals { seen })
    }

    fn seen(&self) -> Option<u8> {
        u8::try_from(self.seen.load(Ordering::Relaxed))
            .ok()
            .filter(|signal| *signal != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        run: Run,
    }

    fn parse(words: &[&str]) -> Run {
        Words::try_parse_from([&["run"], words].concat()).unwrap().run
    }

    #[test]
    fn the_guests_wishes_travel_in_the_images_command_line() {
        let run = parse(&[
            "linux",
            "--memory",
            "1G",
            "--cmdline",
            "nosmp",
            "--host-cmdline",
            "guest.linux.vcpus=1",
        ]);
        assert_eq!(
            run.line(false),
            "guest.linux.memory=1024M guest.linux.cmdline=\"console=hvc0 nosmp\" guest.linux.vcpus=1"
        );
    }

    #[test]
    fn a_command_in_anothers_initrd_is_started_by_our_process_1() {
        let run = parse(&[
            "linux",
            "--machine",
            "bare",
            "--initrd",
            "theirs",
            "--",
            "uname",
            "-a",
        ]);
        assert_eq!(run.command, ["uname", "-a"]);
        assert_eq!(
            run.line(true),
            "console=ttyS0 panic=-1 quiet loglevel=1 rdinit=/xtask/init"
        );
    }

    #[test]
    fn a_size_without_a_unit_is_refused() {
        assert_eq!(parse_memory("64M"), Ok(64));
        assert_eq!(parse_memory("3G"), Ok(3072));
        for wrong in ["", "512", "M", "-1M", "0M", "12K", "99999999999999999999G"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }
}
