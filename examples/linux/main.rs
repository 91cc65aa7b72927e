//! One Linux guest, on its own: a kernel and an initrd become a machine.
//!
//! On the command line, `guest.linux.memory=1G` and the like change what is described here.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::default();
    let mut guest = Guest::linux_pvh("linux", boot.module("vmlinuz")?).memory(512 * MIB);
    if let Some(initrd) = boot.optional_module("initrd") {
        guest = guest.initrd(initrd);
    }
    system.guest(guest);
    Ok(system)
}

xenvisor::image!(describe);
