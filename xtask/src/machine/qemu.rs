//! One machine emulated by QEMU, as a description; [`Qemu::start`] makes it run.

use crate::machine::Running;
use crate::machine::log::Line;
use crate::tools;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What the machine boots.
#[derive(Clone, Debug)]
pub enum Boot {
    /// An image by PVH, with its modules in one bundle.
    Image {
        /// The image.
        image: PathBuf,
        /// The bundle, unless it has no modules.
        bundle: Option<PathBuf>,
    },
    /// An image from an ISO, by GRUB.
    Iso {
        /// The ISO.
        iso: PathBuf,
        /// The image in it, for its symbols.
        image: PathBuf,
    },
    /// Xen, with a Linux as its dom0.
    Xen {
        /// The hypervisor, an ELF file.
        hypervisor: PathBuf,
        /// dom0's kernel.
        kernel: PathBuf,
        /// Its initrd.
        initrd: PathBuf,
    },
    /// A guest's kernel, without an image below it: to find out whose fault something is.
    Bare {
        /// The kernel.
        kernel: PathBuf,
        /// Its initrd.
        initrd: PathBuf,
    },
}

impl Boot {
    /// The image's ELF file, where there is an image.
    pub fn image(&self) -> Option<&Path> {
        match self {
            Boot::Image { image, .. } | Boot::Iso { image, .. } => Some(image),
            Boot::Bare { .. } | Boot::Xen { .. } => None,
        }
    }
}

/// Is handed what the console says, as it says it.
pub type ConsoleSink = Box<dyn FnMut(&[u8]) + Send>;
/// Is handed the lines of the host's log.
pub type LogSink = Box<dyn FnMut(&Line) + Send>;

/// A machine to be started.
pub struct Qemu {
    /// What it boots.
    pub boot: Boot,
    /// Its processor, in QEMU's words.
    pub processor: String,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// The command line of what it boots. An ISO has its own.
    pub command_line: String,
    /// Whether it waits for gdb on port 1234 before its first instruction.
    pub gdb: bool,
    /// Whether it starts again when it resets itself, instead of ending.
    pub restarts: bool,
    /// When it is stopped at the latest, counted from its start.
    pub time_limit: Option<Duration>,
    /// Who hears the console, besides [`Running::console`].
    pub console_sink: Option<ConsoleSink>,
    /// Who hears the log, besides [`Running::log`].
    pub log_sink: Option<LogSink>,
}

impl Qemu {
    /// A machine with SVM and nested paging, and 2 GiB of memory.
    pub fn new(boot: Boot) -> Qemu {
        Qemu {
            boot,
            // QEMU 7.2 loses the flags after CMPXCHG16B: an exit right behind it stores an operand as RFLAGS, and Linux
            // 6.12 dies of it within a second. Without the feature kernels do without the instruction.
            processor: "qemu64,+svm,+npt,-cx16".to_owned(),
            memory_mib: 2048,
            command_line: String::new(),
            gdb: false,
            restarts: false,
            time_limit: None,
            console_sink: None,
            log_sink: None,
        }
    }

    /// Sets when it is stopped at the latest.
    pub fn time_limit(mut self, limit: Duration) -> Qemu {
        self.time_limit = Some(limit);
        self
    }

    /// Sets its memory.
    pub fn memory_mib(mut self, memory: u64) -> Qemu {
        self.memory_mib = memory;
        self
    }

    /// Sets the command line of what it boots.
    pub fn command_line(mut self, line: &str) -> Qemu {
        line.clone_into(&mut self.command_line);
        self
    }

    /// Starts it.
    pub fn start(self) -> Result<Running> {
        let scratch = tempfile::Builder::new()
            .prefix("xenvisor-")
            .tempdir()
            .context("cannot create a scratch folder")?;
        let log_socket = scratch.path().join("log");
        let mut command = reaped(tools::qemu()?);
        command.args(self.arguments(&log_socket));
        Running::start(self, command, scratch, &log_socket)
    }

    /// The memory a machine needs for guests of `guests_mib` and modules of `modules` bytes: the modules are there as
    /// they were loaded and once unpacked from their bundle, and the host wants some for itself.
    pub fn memory_for(guests_mib: u64, modules: u64) -> u64 {
        let modules_mib = modules.div_ceil(1 << 20);
        guests_mib
            .saturating_add(modules_mib.saturating_mul(3))
            .saturating_add(256)
            .next_multiple_of(64)
    }

    fn arguments(&self, log_socket: &Path) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        let memory = format!("{}M", self.memory_mib);
        add(&["-accel", "tcg", "-cpu", &self.processor, "-m", &memory]);
        add(&["-nodefaults", "-no-user-config", "-display", "none"]);
        add(&[
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]);
        if !self.restarts {
            add(&["-no-reboot"]);
        }
        if self.gdb {
            add(&["-gdb", "tcp::1234", "-S"]);
        }
        if self.boot.image().is_some() {
            let socket = format!("socket,id=log,path={}", log_socket.display());
            add(&[
                "-chardev",
                &socket,
                "-device",
                "isa-debugcon,iobase=0xe9,chardev=log",
            ]);
            add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]);
        }
        let path = |path: &Path| path.display().to_string();
        match &self.boot {
            Boot::Image { image, bundle } => {
                add(&["-kernel", &path(image), "-append", &self.command_line]);
                if let Some(bundle) = bundle {
                    add(&["-initrd", &path(bundle)]);
                }
            }
            Boot::Iso { iso, .. } => add(&["-cdrom", &path(iso), "-boot", "d"]),
            Boot::Xen {
                hypervisor,
                kernel,
                initrd,
            } => {
                add(&["-kernel", &path(hypervisor), "-append", &self.command_line]);
                let modules = format!("{} console=hvc0 quiet,{}", path(kernel), path(initrd));
                add(&["-initrd", &modules]);
            }
            Boot::Bare { kernel, initrd } => {
                add(&[
                    "-kernel",
                    &path(kernel),
                    "-initrd",
                    &path(initrd),
                    "-append",
                    &self.command_line,
                ]);
            }
        }
        arguments
    }
}

/// The same command, ended by Linux when the thread that started it ends in whatever way, where that can be asked for.
fn reaped(command: Command) -> Command {
    let Some(setpriv) = crate::apt::find_tool("setpriv") else {
        return command;
    };
    let mut wrapped = Command::new(setpriv);
    wrapped
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(name, value);
        }
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_holds_its_guests_the_modules_and_the_host() {
        assert_eq!(Qemu::memory_for(512, 20 << 20), 832);
        assert!(Qemu::memory_for(64, 0) >= 64 + 200);
    }

    #[test]
    fn an_image_gets_a_log_and_a_way_to_end_and_a_bare_kernel_neither() {
        let image = Boot::Image {
            image: "image".into(),
            bundle: Some("bundle".into()),
        };
        let arguments = Qemu::new(image).arguments(Path::new("/tmp/log")).join(" ");
        assert!(arguments.contains("isa-debugcon"), "{arguments}");
        assert!(arguments.contains("isa-debug-exit"), "{arguments}");
        let bare = Boot::Bare {
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
        };
        let arguments = Qemu::new(bare).arguments(Path::new("/tmp/log")).join(" ");
        assert!(!arguments.contains("0xf4"), "{arguments}");
    }
}
