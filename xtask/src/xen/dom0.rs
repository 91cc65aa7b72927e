//! One machine with Xen, a dom0 that does one thing, and one guest, with another beside it or none.

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
pub(crate) struct Guest<'a> {
    pub(crate) file: &'a Path,
    pub(crate) command_line: &'a str,
    pub(crate) memory_mib: u64,
    pub(crate) vcpus: u32,
}

/// What is to be run, and how.
pub(crate) struct Order<'a> {
    /// The guest that is listened to: domain 1.
    pub(crate) guest: Guest<'a>,
    /// One that is there with it: domain 2. The machine goes down under it.
    pub(crate) companion: Option<Guest<'a>>,
    /// Where the counter of the machine counts instructions.
    pub(crate) counts_instructions: bool,
    pub(crate) limit: Duration,
    /// Print all that Xen and its dom0 say, too.
    pub(crate) verbose: bool,
}

impl<'a> Order<'a> {
    /// One guest, in a machine like any.
    pub(crate) const fn one(guest: Guest<'a>, limit: Duration) -> Self {
        Order {
            guest,
            companion: None,
            counts_instructions: false,
            limit,
            verbose: false,
        }
    }

    fn guests(&self) -> impl Iterator<Item = (&'static str, &Guest<'a>)> {
        [
            ("guest", Some(&self.guest)),
            ("companion", self.companion.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, guest)| Some((name, guest?)))
    }
}

/// How it went.
pub(crate) struct Said {
    pub(crate) console: String,
    pub(crate) crashed: bool,
}

/// Everything that is the same for each guest.
pub(crate) struct Dom0 {
    packages: Packages,
}

impl Dom0 {
    pub(crate) fn fetch() -> Result<Dom0> {
        crate::tools::qemu()?;
        Ok(Dom0 {
            packages: Packages::fetch()?,
        })
    }

    /// Boots it all, and comes back when the guest has ended.
    pub(crate) fn run(&self, order: &Order<'_>) -> Result<Said> {
        let scratch = tempfile::tempdir().context("cannot create a scratch folder")?;
        let write = |name: &str, bytes: &[u8]| {
            let file = scratch.path().join(name);
            std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
            Ok::<_, anyhow::Error>(file)
        };
        let boot = Boot::Xen {
            hypervisor: write("xen", &unzipped(&self.packages.hypervisor()?)?)?,
            kernel: self.packages.kernel()?,
            initrd: write("initrd", &self.filesystem(order)?)?,
        };
        let memory_mib: u64 = order.guests().map(|(_, guest)| guest.memory_mib).sum();
        let step = Step::begin("Xen, its dom0 and the guest");
        let mut machine = Machine::new(Emulator::Qemu, boot)
            .memory_mib(DOM0_MIB + XEN_MIB + memory_mib)
            .command_line(&format!(
                "console=com1 dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M loglvl=warning guest_loglvl=all"
            ))
            .time_limit(order.limit);
        machine.counts_instructions = order.counts_instructions;
        machine.processor = Some("qemu64,+svm,+npt".to_owned());
        if order.verbose {
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

    /// dom0's filesystem, with the guests in it.
    fn filesystem(&self, order: &Order<'_>) -> Result<Vec<u8>> {
        let busybox = debian::busybox()?;
        let busybox =
            std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
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
        archive.folder("guests")?;
        for (name, guest) in order.guests() {
            let file = guest.file;
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            archive.file(&format!("guests/{name}"), &bytes)?;
            archive.file(
                &format!("guests/{name}.cfg"),
                configuration(name, guest).as_bytes(),
            )?;
        }
        archive.finish()
    }
}

/// A guest in xl's words. It stays when it has ended, to be looked at.
fn configuration(name: &str, guest: &Guest<'_>) -> String {
    let quoted = guest.command_line.replace(['"', '\\'], "");
    let (memory, vcpus) = (guest.memory_mib, guest.vcpus);
    format!(
        "name=\"{name}\"\ntype=\"pvh\"\nkernel=\"/guests/{name}\"\ncmdline=\"{quoted}\"\nmemory={memory}\n\
         vcpus={vcpus}\non_poweroff=\"preserve\"\non_reboot=\"preserve\"\non_crash=\"preserve\"\n\
         on_watchdog=\"preserve\"\n"
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
