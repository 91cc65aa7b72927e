//! Machines emulated by QEMU: in software, or on this computer's own processor.

use crate::machine::wiring::{ConsoleWire, LogWire, Verdict, Wiring};
use crate::machine::{Boot, Machine};
use crate::tools;
use anyhow::{Context, Result};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The processor in software. QEMU 7.2 loses the flags after CMPXCHG16B: an exit right behind it stores an operand as
/// RFLAGS, and Linux 6.12 dies of it within a second. Without the feature kernels do without the instruction.
const PROCESSOR: &str = "qemu64,+svm,+npt,-cx16";

/// Who executes the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// QEMU itself.
    Tcg,
    /// This computer's processor.
    Kvm,
}

impl Accelerator {
    const fn name(self) -> &'static str {
        match self {
            Accelerator::Tcg => "tcg",
            Accelerator::Kvm => "kvm",
        }
    }

    const fn processor(self) -> &'static str {
        match self {
            Accelerator::Tcg => PROCESSOR,
            Accelerator::Kvm => "host",
        }
    }
}

/// QEMU's command for `machine`.
pub(super) fn wire(machine: &Machine, accelerator: Accelerator, scratch: &Path) -> Result<Wiring> {
    let socket = scratch.join("log");
    let mut command = tools::reaped(tools::qemu()?);
    command.args(arguments(machine, accelerator, &socket));
    let log = if machine.boot.image().is_some() {
        LogWire::Socket(UnixListener::bind(&socket).context("cannot open a socket for the log")?)
    } else {
        LogWire::None
    };
    Ok(Wiring {
        command,
        console: ConsoleWire::Stdio,
        log,
        verdict: Verdict::Status,
    })
}

fn arguments(machine: &Machine, accelerator: Accelerator, log_socket: &Path) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    let memory = format!("{}M", machine.memory_mib);
    let processor = machine.processor.as_deref().unwrap_or(accelerator.processor());
    add(&["-accel", accelerator.name(), "-cpu", processor, "-m", &memory]);
    add(&["-smp", &machine.pcpus.to_string()]);
    if machine.counts_instructions {
        // One instruction is a nanosecond, and time in which nobody executes any is left out.
        add(&["-icount", "shift=0,sleep=off"]);
        add(&["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
    }
    add(&["-nodefaults", "-no-user-config", "-display", "none"]);
    add(&[
        "-chardev",
        "stdio,id=console,signal=off",
        "-serial",
        "chardev:console",
    ]);
    if !machine.restarts {
        add(&["-no-reboot"]);
    }
    if machine.debugger {
        add(&["-gdb", "tcp::1234", "-S"]);
    }
    if machine.boot.image().is_some() {
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
    match &machine.boot {
        Boot::Image { image, bundle } => {
            add(&["-kernel", &path(image), "-append", &machine.command_line]);
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
            add(&["-kernel", &path(hypervisor), "-append", &machine.command_line]);
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
                &machine.command_line,
            ]);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Emulator;

    fn words(boot: Boot, accelerator: Accelerator) -> String {
        arguments(
            &Machine::new(Emulator::Qemu, boot),
            accelerator,
            Path::new("/tmp/log"),
        )
        .join(" ")
    }

    #[test]
    fn an_image_gets_a_log_and_a_way_to_end_and_a_bare_kernel_neither() {
        let image = Boot::Image {
            image: "image".into(),
            bundle: Some("bundle".into()),
        };
        let said = words(image.clone(), Accelerator::Tcg);
        assert!(said.contains("isa-debugcon"), "{said}");
        assert!(said.contains("isa-debug-exit"), "{said}");
        assert!(said.contains("-accel tcg -cpu qemu64,+svm"), "{said}");
        assert!(said.contains("-smp 1") && !said.contains("-icount"), "{said}");
        let counting = Machine::new(Emulator::Qemu, image.clone()).counting_instructions();
        let said = arguments(&counting, Accelerator::Tcg, Path::new("/tmp/log")).join(" ");
        assert!(said.contains("-icount shift=0"), "{said}");
        let bare = Boot::Bare {
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
        };
        let said = words(bare, Accelerator::Tcg);
        assert!(!said.contains("0xf4"), "{said}");
        let said = words(image, Accelerator::Kvm);
        assert!(said.contains("-accel kvm -cpu host"), "{said}");
    }
}
