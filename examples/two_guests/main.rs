//! Two guests with one event channel between them, and nothing else: neither may map what the other grants.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

/// Whatever else is allowed: nobody maps anybody's memory.
struct NoGrants;

impl Policy for NoGrants {
    fn grant_map(&self, _: &GrantMap) -> Verdict {
        Verdict::Deny("these guests share no memory")
    }

    fn grant_copy(&self, _: &GrantCopy) -> Verdict {
        Verdict::Deny("these guests share no memory")
    }
}

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::with_policy((XenDefault::default(), NoGrants));
    // Domain 1 offers a port and tries to have a grant mapped; domain 2 binds to the port and answers.
    system.guest(
        Guest::pvh("ping", boot.module("ping")?)
            .memory(16 * MIB)
            .cmdline("peer=2"),
    );
    system.guest(
        Guest::pvh("pong", boot.module("pong")?)
            .memory(16 * MIB)
            .cmdline("peer=1"),
    );
    Ok(system)
}

xenvisor::image!(describe);
