//! The programs this repository needs from outside: made to be there when that is allowed, else named with the command
//! that installs them.

use crate::apt::{self, Apt, Suite, find_tool, tool_exists};
use crate::debian;
use crate::progress;
use crate::workspace::{self, BARE_TARGET};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program, and the Debian package it is in.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Found if this is a program in the PATH, or, with a slash in it, a file.
    pub found_by: &'static str,
    /// The Debian package with it.
    pub package: &'static str,
}

/// The emulator of AMD processors.
pub const QEMU: Tool = Tool {
    found_by: "qemu-system-x86_64",
    package: "qemu-system-x86",
};

/// The emulator of Intel processors.
pub const BOCHS: Tool = Tool {
    found_by: "bochs",
    package: "bochs",
};

/// What Bochs boots with: its firmware, and that of its graphics card.
pub const BOCHS_FIRMWARE: [Tool; 2] = [
    Tool {
        found_by: "/usr/share/bochs/BIOS-bochs-latest",
        package: "bochsbios",
    },
    Tool {
        found_by: "/usr/share/vgabios/vgabios.bin",
        package: "vgabios",
    },
];

/// The smallest of the packages of which Bochs wants one, for a screen that we do not use.
const BOCHS_SCREEN: &str = "bochs-term";

/// What makes an ISO.
pub const ISO_TOOLS: [Tool; 4] = [
    Tool {
        found_by: "grub-mkrescue",
        package: "grub-common",
    },
    Tool {
        found_by: "/usr/lib/grub/i386-pc/multiboot2.mod",
        package: "grub-pc-bin",
    },
    Tool {
        found_by: "xorriso",
        package: "xorriso",
    },
    Tool {
        found_by: "mformat",
        package: "mtools",
    },
];

/// Xen's public headers, the yardstick for every layout.
pub const XEN_HEADERS: Tool = Tool {
    found_by: "/usr/include/xen/xen.h",
    package: "libxen-dev",
};

impl Tool {
    /// The package with it, and what is chosen where that package leaves a choice.
    fn packages(self) -> impl Iterator<Item = &'static str> {
        let chosen = (self.package == BOCHS.package).then_some(BOCHS_SCREEN);
        std::iter::once(self.package).chain(chosen)
    }

    fn is_here(self) -> bool {
        if self.found_by.contains('/') {
            Path::new(self.found_by).exists()
        } else {
            tool_exists(self.found_by)
        }
    }
}

/// Whether this process may install packages.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes `tools` be here, or says how they come here.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&str> = tools
        .iter()
        .filter(|tool| !tool.is_here())
        .flat_map(|tool| tool.packages())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_root() || !tool_exists("apt-get") {
        bail!(
            "missing: {}. On Debian, run\n\n    sudo {command}\n",
            missing.join(", ")
        );
    }
    let apt = |what: &str, arguments: &[&str]| {
        progress::run(
            what,
            Command::new("apt-get")
                .args(["-q", "-y", "-o", "APT::Status-Fd=1", "-o", "Acquire::Retries=3"])
                .args(["-o", "DPkg::Lock::Timeout=300"])
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .env("LC_ALL", "C.UTF-8"),
        )
    };
    apt("fetching the system's package lists", &["update"])?;
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&format!("installing {}", missing.join(", ")), &arguments)
        .with_context(|| format!("{command} failed"))?;
    Ok(())
}

/// Makes rustc able to build for the bare machine, or says what to do.
pub fn ensure_bare_target() -> Result<()> {
    ensure_target(BARE_TARGET)
}

/// Makes rustc able to build for a target, or says what to do.
pub fn ensure_target(target: &str) -> Result<()> {
    if libraries(&["--target", target])?.is_some_and(|folder| folder.is_dir()) {
        return Ok(());
    }
    if !tool_exists("rustup") {
        bail!(
            "this Rust cannot build for {target}, and there is no rustup to add it. \
             Install Rust with rustup (https://rustup.rs), then run\n\n    rustup target add {target}\n"
        );
    }
    rustup(
        &format!("adding the Rust target {target}"),
        &["target", "add", target],
    )
}

/// Where rustc has the libraries of a target, its own without one; `None` for a target it does not know.
fn libraries(of: &[&str]) -> Result<Option<PathBuf>> {
    let output = Command::new("rustc")
        .current_dir(workspace::root())
        .args(["--print", "target-libdir"])
        .args(of)
        .output()
        .context("cannot run rustc")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(output.status.success().then_some(folder))
}

/// Makes `cargo fmt` and `cargo clippy` work, or says what to do.
pub fn ensure_lint_tools() -> Result<()> {
    for (tool, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        // rustup puts a program of that name in the PATH even when the part behind it is not there.
        let works = Command::new(tool)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !works {
            rustup(&format!("adding {component}"), &["component", "add", component])?;
        }
    }
    Ok(())
}

/// One of the LLVM tools that come with rustc as a part of their own.
pub fn llvm_tool(name: &str) -> Result<PathBuf> {
    let libraries = libraries(&[])?.context("rustc does not say where its libraries are")?;
    let tool = libraries.with_file_name("bin").join(name);
    if !tool.is_file() {
        rustup("adding llvm-tools", &["component", "add", "llvm-tools"])?;
    }
    if tool.is_file() {
        Ok(tool)
    } else {
        bail!("{name} is not there; run\n\n    rustup component add llvm-tools\n")
    }
}

fn rustup(what: &str, arguments: &[&str]) -> Result<()> {
    progress::run(
        what,
        Command::new("rustup")
            .current_dir(workspace::root())
            .args(arguments),
    )
    .map(drop)
}

/// How to start the emulator: a command without arguments yet.
pub fn qemu() -> Result<Command> {
    if let Some(found) = find_tool(QEMU.found_by) {
        return Ok(Command::new(found));
    }
    let borrowed = workspace::cache_dir()?.join("qemu");
    if is_root() {
        ensure(&[QEMU])?;
        return find_tool(QEMU.found_by)
            .map(Command::new)
            .context("QEMU is installed and cannot be found");
    }
    if let Err(error) = borrow_packages(&[QEMU.package], &borrowed) {
        return Err(error.context(
            "QEMU is missing and cannot be fetched. On Debian, run\n\n    \
             sudo apt-get install --no-install-recommends qemu-system-x86\n",
        ));
    }
    let mut command = Command::new(borrowed.join("usr/bin").join(QEMU.found_by));
    let libraries = [
        "usr/lib/x86_64-linux-gnu",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/pulseaudio",
    ];
    let libraries = libraries.map(|folder| borrowed.join(folder));
    command.env(
        "LD_LIBRARY_PATH",
        std::env::join_paths(libraries).context("the cache's path has a colon in it")?,
    );
    command.env("QEMU_MODULE_DIR", borrowed.join("usr/lib/x86_64-linux-gnu/qemu"));
    // What it needs and the machine has installed was not borrowed.
    for root in [borrowed.as_path(), Path::new("/")] {
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(root.join(data));
        }
    }
    Ok(command)
}

/// The same command, ended by Linux when the thread that started it ends in whatever way, where that can be asked for.
pub fn reaped(command: Command) -> Command {
    let Some(setpriv) = find_tool("setpriv") else {
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

/// Bochs: a command without arguments yet, and its two firmware files.
#[derive(Debug)]
pub struct Bochs {
    /// Starts it.
    pub command: Command,
    /// Its firmware.
    pub firmware: PathBuf,
    /// The firmware of its graphics card.
    pub graphics: PathBuf,
}

/// How to start Bochs.
pub fn bochs() -> Result<Bochs> {
    let [firmware, graphics] = BOCHS_FIRMWARE;
    let tools = [BOCHS, firmware, graphics];
    if is_root() {
        ensure(&tools)?;
    }
    if let (Some(found), true) = (
        find_tool(BOCHS.found_by),
        BOCHS_FIRMWARE.iter().all(|tool| tool.is_here()),
    ) {
        return Ok(Bochs {
            command: Command::new(found),
            firmware: firmware.found_by.into(),
            graphics: graphics.found_by.into(),
        });
    }
    let borrowed = workspace::cache_dir()?.join("bochs");
    let packages: Vec<&str> = tools.iter().flat_map(|tool| tool.packages()).collect();
    if let Err(error) = borrow_packages(&packages, &borrowed) {
        return Err(error.context(format!(
            "Bochs is missing and cannot be fetched. On Debian, run\n\n    \
             sudo apt-get install --no-install-recommends {}\n",
            packages.join(" ")
        )));
    }
    // What it needs and the machine has installed was not borrowed.
    let place = |file: &str| {
        let ours = borrowed.join(file.trim_start_matches('/'));
        if ours.exists() { ours } else { PathBuf::from(file) }
    };
    let mut command = Command::new(place("/usr/bin/bochs"));
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| borrowed.join(folder));
    command.env(
        "LD_LIBRARY_PATH",
        std::env::join_paths(libraries).context("the cache's path has a colon in it")?,
    );
    command.env(
        "LTDL_LIBRARY_PATH",
        place("/usr/lib/x86_64-linux-gnu/bochs/plugins"),
    );
    Ok(Bochs {
        command,
        firmware: place(firmware.found_by),
        graphics: place(graphics.found_by),
    })
}

/// Unpacks `packages` and what they need below `folder`, without installing: a way that needs no root.
fn borrow_packages(packages: &[&str], folder: &Path) -> Result<()> {
    debian::fetch_once(folder, |scratch| {
        let apt = Apt::open(Suite::Release)?;
        let missing = apt.missing_for(packages)?;
        let unpacked = scratch.join("root");
        for file in apt.download(&format!("fetching {}", packages.join(", ")), &missing, scratch)? {
            apt::unpack(&file, "./", &unpacked)?;
        }
        Ok(unpacked)
    })
}
