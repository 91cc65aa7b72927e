//! Two guests of the same weight, of which one makes trouble.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::default();
    system.schedule(Weighted::new());
    for name in ["victim", "hostile"] {
        system.guest(Guest::pvh(name, boot.module(name)?).memory(16 * MIB));
    }
    Ok(system)
}

xenvisor::image!(describe);
