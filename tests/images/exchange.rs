//! Two guests that may share memory and events, whatever they are: what a test puts into the modules `one` and `two`.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::with_policy(XenDefault::default());
    system.guest(
        Guest::pvh("one", boot.module("one")?)
            .memory(16 * MIB)
            .cmdline("peer=2 role=first"),
    );
    system.guest(
        Guest::pvh("two", boot.module("two")?)
            .memory(16 * MIB)
            .cmdline("peer=1"),
    );
    Ok(system)
}

xenvisor::image!(describe);
