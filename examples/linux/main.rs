//! One Linux guest, on its own: a kernel and an initrd become a machine.
//!
//! On the command line, `guest.linux.memory=1G`, `guest.linux.on_crash=restart` and the like change what is described
//! here.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::default();
    system.guest(
        Guest::linux_pvh("linux", boot.module("vmlinuz")?)
            .initrd(boot.module("initrd")?)
            .cmdline("console=hvc0")
            .memory(512 * MIB),
    );
    Ok(system)
}

xenvisor::image!(describe);
