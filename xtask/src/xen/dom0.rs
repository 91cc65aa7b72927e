//! One machine with Xen, a dom0 that does one thing, and one guest.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::archive::Archive;
use crate::debian;
use crate::machine::{Boot, Emulator, Machine};
use crate::progress::Step;

use super::packages::Packages;

const INIT: &[u8] = include_bytes!("init.sh");
/// Kernel modules, in the order they are loaded in.
const MODULES: [&str; 5] = [
    "xen-evtchn.ko",
    "xen-gntdev.ko",
    "xen-gntalloc.ko",
    "xen-privcmd.ko",
    "xenfs/xenfs.ko",
];
const TOOLS: [&str; 4] = ["xl", "xenstored", "xenconsoled", "xen-init-dom0"];
/// What dom0 gets of the machine's memory, and the machine besides it, in MiB.
const DOM0_MIB: u64 = 512;
const XEN_MIB: u64 = 512;
/// What frames a guest's words in all that is said.
const BEGIN: &str = "=== what the guest said";
const END: &str = "=== that was all; state ";

/// A guest to run.
pub(super) struct Guest<'a> {
    pub(super) file: &'a Path,
    pub(super) command_line: &'a str,
    pub(super) memory_mib: u64,
}

/// How it went.
pub(super) struct Said {
    pub(super) console: String,
    pub(super) crashed: bool,
}

/// Everything that is the same for each guest.
pub(super) struct Dom0 {
    packages: Packages,
}

impl Dom0 {
    pub(super) fn fetch() -> Result<Dom0> {
        crate::tools::qemu()?;
        Ok(Dom0 {
            packages: Packages::fetch()?,
        })
    }

    /// Boots it all, and comes back when the guest has ended.
    pub(super) fn run(&self, guest: &Guest<'_>, limit: Duration, verbose: bool) -> Result<Said> {
        let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
        let write = |name: &str, bytes: &[u8]| {
            let file = scratch.path().join(name);
            std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
            Ok::<_, anyhow::Error>(file)
        };
        let boot = Boot::Xen {
            hypervisor: write("xen", &unzipped(&self.packages.hypervisor()?)?)?,
            kernel: self.packages.kernel()?,
            initrd: write("initrd", &self.filesystem(guest)?)?,
        };
        let step = Step::begin("Xen, its dom0 and the guest");
        let mut machine = Machine::new(Emulator::Qemu, boot)
            .memory_mib(DOM0_MIB + XEN_MIB + guest.memory_mib)
            .command_line(&format!(
                "console=com1 dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M loglvl=warning guest_loglvl=all"
            ))
            .time_limit(limit);
        machine.processor = Some("qemu64,+svm,+npt".to_owned());
        if verbose {
            machine.console_sink = Some(Box::new(|bytes| {
                eprint!("{}", String::from_utf8_lossy(bytes));
            }));
        }
        let mut running = machine.start()?;
        for (text, stage) in [
            ("about to get started", "Xen is up"),
            ("dom0 is up", "dom0 is up"),
            ("creating the guest", "the guest runs"),
        ] {
            running.wait_for(text)?;
            step.say(stage);
        }
        running.wait_for(BEGIN)?;
        let console = running.wait_for(END)?;
        let state = running.wait_for("\n")?;
        running.wait()?;
        let Some((_, console)) = console.split_once('\n') else {
            bail!("dom0's words are cut short: {console:?}");
        };
        let console = console.strip_suffix(END).unwrap_or(console).replace('\r', "");
        let crashed = match state.trim() {
            "---s--" | "gone" => false,
            state if state.contains('c') => true,
            state => bail!("the guest has not ended: its state is {state:?}; it said\n{console}"),
        };
        Ok(Said { console, crashed })
    }

    /// dom0's filesystem, with the guest in it.
    fn filesystem(&self, guest: &Guest<'_>) -> Result<Vec<u8>> {
        let busybox = debian::busybox()?;
        let busybox =
            std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
        let file =
            std::fs::read(guest.file).with_context(|| format!("cannot read {}", guest.file.display()))?;
        let mut archive = Archive::new();
        for folder in [
            "bin",
            "dev",
            "etc",
            "etc/xen",
            "lib",
            "lib/x86_64-linux-gnu",
            "lib64",
            "modules",
            "proc",
            "run",
            "run/xen",
            "sys",
            "tmp",
            "var",
            "var/lib",
            "var/lib/xen",
            "var/lib/xenstored",
            "var/lock",
            "var/log",
            "var/log/xen",
        ] {
            archive.folder(folder)?;
        }
        archive.link("var/run", "/run")?;
        archive.device("dev/console", 5, 1)?;
        archive.program("init", INIT)?;
        archive.program("bin/busybox", &busybox)?;
        for tool in TOOLS {
            archive.program(&format!("bin/{tool}"), &self.packages.tool(tool)?)?;
        }
        for (name, bytes) in self.packages.libraries()? {
            archive.program(&format!("lib/x86_64-linux-gnu/{name}"), &bytes)?;
        }
        archive.link(
            "lib64/ld-linux-x86-64.so.2",
            "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        )?;
        for (number, module) in MODULES.iter().enumerate() {
            archive.file(&format!("modules/{number}.ko"), &self.packages.module(module)?)?;
        }
        archive.file("etc/xen/xl.conf", b"")?;
        archive.file("guest", &file)?;
        archive.file("guest.cfg", configuration(guest).as_bytes())?;
        archive.finish()
    }
}

/// The guest in xl's words. It stays when it has ended, to be looked at.
fn configuration(guest: &Guest<'_>) -> String {
    let quoted = guest.command_line.replace(['"', '\\'], "");
    let memory = guest.memory_mib;
    format!(
        "name=\"guest\"\ntype=\"pvh\"\nkernel=\"/guest\"\ncmdline=\"{quoted}\"\nmemory={memory}\nvcpus=1\n\
         on_poweroff=\"preserve\"\non_reboot=\"preserve\"\non_crash=\"preserve\"\non_watchdog=\"preserve\"\n"
    )
}

fn unzipped(file: &Path) -> Result<Vec<u8>> {
    let compressed = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(compressed)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot unpack {}", file.display()))?;
    Ok(bytes)
}
