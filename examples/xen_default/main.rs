//! Two guests under Xen's own policy: they may talk and share where each names the other, and neither rules.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

fn describe(boot: &Boot) -> Result<System, BootError> {
    // Nobody is privileged; `XenDefault::with_privileged(domain)` would make one domain a control domain.
    let mut system = System::with_policy(XenDefault::default());
    system.guest(
        Guest::pvh("intruder", boot.module("intruder")?)
            .memory(16 * MIB)
            .cmdline("target=2"),
    );
    // Offers the intruder a port and a page. The intruder gets both, but can neither look at it nor end it.
    system.guest(
        Guest::pvh("neighbour", boot.module("neighbour")?)
            .memory(16 * MIB)
            .cmdline("visitor=1"),
    );
    Ok(system)
}

xenvisor::image!(describe);
