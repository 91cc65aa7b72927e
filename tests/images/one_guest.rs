//! One guest that is entered by the PVH protocol, from the module `guest`: what a suite of test guests runs in.
//!
//! A guest that asks for a reboot is at its end, too: a test that starts again for ever tells nothing.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::default();
    system.guest(
        Guest::pvh("guest", boot.module("guest")?)
            .memory(128 * MIB)
            .on_reboot(AfterEnd::Destroy),
    );
    Ok(system)
}

xenvisor::image!(describe);
