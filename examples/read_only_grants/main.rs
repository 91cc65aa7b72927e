//! A rule of one's own beside Xen's: what guests grant each other can be read, and never written.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

struct ReadOnlyGrants;

impl Policy for ReadOnlyGrants {
    fn grant_map(&self, request: &GrantMap) -> Verdict {
        match request.access {
            Access::Read => Verdict::Allow,
            Access::ReadWrite => Verdict::Deny("this image maps grants read-only"),
        }
    }

    fn grant_copy(&self, request: &GrantCopy) -> Verdict {
        Verdict::allow_if(
            request.destination == request.caller,
            "this image writes to no grant",
        )
    }
}

fn describe(boot: &Boot) -> Result<System, BootError> {
    // Both are asked; what one of them denies is denied.
    let mut system = System::with_policy((XenDefault::default(), ReadOnlyGrants));
    system.guest(
        Guest::pvh("intruder", boot.module("intruder")?)
            .memory(16 * MIB)
            .cmdline("target=2"),
    );
    system.guest(
        Guest::pvh("neighbour", boot.module("neighbour")?)
            .memory(16 * MIB)
            .cmdline("visitor=1"),
    );
    Ok(system)
}

xenvisor::image!(describe);
