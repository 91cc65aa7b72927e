//! Machines emulated by Bochs: an Intel processor with VMX and nested paging, a console on a socket, the log on the
//! debug port.
//!
//! An image is booted from a disk made for it ([`disk`]), for Bochs itself loads no ELF files: that is faster than GRUB
//! by some seconds. Bochs knows no way for a machine to give an exit status: the image's last words on the debug port
//! say it ([`words`]), and a letter to another port ends Bochs.

pub mod boot_sector;
pub mod disk;
pub mod words;

use crate::machine::wiring::{ConsoleWire, LogWire, Verdict, Wiring};
use crate::machine::{Boot, Machine};
use crate::tools;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Its processor.
const PROCESSOR: &str = "corei7_skylake_x";

// It knows fewer MSRs than a real processor of its kind, the microcode's version not among them; there an unknown one
// reads as zero. What a guest reads is not concerned.

/// How many instructions are a second of the machine's time. Bochs does about so many in a second of ours, so the
/// machine's clock is about right.
const INSTRUCTIONS_PER_SECOND: u32 = 100_000_000;

/// Bochs takes no more memory than this from us. What a machine has beyond, it would keep in a file, and Bochs 2.7 mixes
/// up what it brings back from there.
const MOST_MIB: u64 = 2048;

/// Bochs's command for `machine`.
pub(super) fn wire(machine: &Machine, scratch: &Path) -> Result<Wiring> {
    if machine.memory_mib > MOST_MIB {
        bail!(
            "the machine needs {} MiB of memory, and Bochs has {MOST_MIB} MiB at most: give the guests less",
            machine.memory_mib
        );
    }
    let bochs = tools::bochs()?;
    let medium = medium(machine, scratch)?;
    let console = if machine.debugger {
        ConsoleWire::Debugger(scratch.join("console"))
    } else {
        let socket = TcpListener::bind("127.0.0.1:0").context("cannot open a socket for the console")?;
        ConsoleWire::Socket(socket)
    };
    let configuration = scratch.join("bochsrc");
    let text = configuration_text(machine, &bochs, &medium, &console)?;
    std::fs::write(&configuration, text).context("cannot write Bochs's configuration")?;
    let orders = scratch.join("orders");
    std::fs::write(&orders, orders_text(machine, scratch)?).context("cannot write orders for Bochs")?;
    let mut command = bochs.command;
    command
        .args(["-q", "-f"])
        .arg(&configuration)
        .arg("-rc")
        .arg(&orders);
    let mut command = tools::reaped(command);
    let log = if machine.debugger {
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
        LogWire::None
    } else {
        LogWire::Stdout
    };
    Ok(Wiring {
        command,
        console,
        log,
        verdict: Verdict::LastWords,
    })
}

/// What it boots from.
enum Medium {
    Disk(PathBuf),
    Cdrom(PathBuf),
}

fn medium(machine: &Machine, scratch: &Path) -> Result<Medium> {
    match &machine.boot {
        Boot::Image { image, bundle } => {
            let disk = scratch.join("disk");
            disk::write(image, bundle.as_deref(), &machine.command_line, &disk)?;
            Ok(Medium::Disk(disk))
        }
        Boot::Iso { iso, .. } => Ok(Medium::Cdrom(iso.clone())),
        Boot::Xen { .. } | Boot::Bare { .. } => {
            bail!("Bochs boots images of this repository only: it loads no kernels by itself")
        }
    }
}

fn configuration_text(
    machine: &Machine,
    bochs: &tools::Bochs,
    medium: &Medium,
    console: &ConsoleWire,
) -> Result<String> {
    let mut text = String::new();
    let mut add = |line: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    // Nobody looks at the screen, but Bochs wants one: one that waits for nobody.
    add("display_library: rfb, options=\"timeout=0\"");
    add("mouse: enabled=0");
    add("speaker: enabled=0");
    add(&format!("romimage: file=\"{}\"", bochs.firmware.display()));
    add(&format!("vgaromimage: file=\"{}\"", bochs.graphics.display()));
    let processor = machine.processor.as_deref().unwrap_or(PROCESSOR);
    let reset = u8::from(machine.restarts);
    add(&format!(
        "cpu: model={processor}, count={}, ips={INSTRUCTIONS_PER_SECOND}, reset_on_triple_fault={reset}, ignore_bad_msrs=1",
        machine.pcpus
    ));
    add(&format!("memory: guest={0}, host={0}", machine.memory_mib));
    add("clock: sync=none, time0=utc");
    let port = u8::from(!machine.debugger);
    add(&format!("port_e9_hack: enabled={port}"));
    add(&match console {
        ConsoleWire::Socket(socket) => {
            let address = socket
                .local_addr()
                .context("cannot open a socket for the console")?;
            format!("com1: enabled=1, mode=socket-client, dev={address}")
        }
        ConsoleWire::Debugger(file) => format!("com1: enabled=1, mode=file, dev=\"{}\"", file.display()),
        ConsoleWire::Stdio => "com1: enabled=0".to_owned(),
    });
    add("ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14");
    match medium {
        Medium::Disk(disk) => {
            add(&format!(
                "ata0-master: type=disk, path=\"{}\", mode=flat, cylinders=0, heads=16, spt=63",
                disk.display()
            ));
            add("boot: disk");
        }
        Medium::Cdrom(iso) => {
            add(&format!(
                "ata0-master: type=cdrom, path=\"{}\", status=inserted",
                iso.display()
            ));
            add("boot: cdrom");
        }
    }
    add("log: -");
    add("panic: action=fatal");
    add("error: action=report");
    add("info: action=ignore");
    add("debug: action=ignore");
    Ok(text)
}

/// What Bochs's debugger is told at the start: to run the machine and then to end; or, for who debugs, the names of the
/// image's functions.
fn orders_text(machine: &Machine, scratch: &Path) -> Result<String> {
    if !machine.debugger {
        return Ok("c\nq\n".to_owned());
    }
    let Some(image) = machine.boot.image() else {
        return Ok(String::new());
    };
    let names = scratch.join("names");
    std::fs::write(&names, names_of(image)?).context("cannot write the names for Bochs's debugger")?;
    Ok(format!("ldsym global \"{}\"\n", names.display()))
}

/// The names of an image's functions as Bochs's debugger reads them: an address and a name in each line.
fn names_of(image: &Path) -> Result<String> {
    use object::{Object, ObjectSymbol, SymbolKind};
    let bytes = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let elf = object::File::parse(&*bytes).with_context(|| format!("cannot read {}", image.display()))?;
    let mut text = String::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        if let Ok(name) = symbol.name() {
            let _ = writeln!(text, "{:x} {name}", symbol.address());
        }
    }
    Ok(text)
}
