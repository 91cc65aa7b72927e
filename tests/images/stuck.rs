//! A host that gets stuck when its guest opens a port for domain 77: for the test that this is noticed.
#![cfg_attr(target_os = "none", no_std, no_main)]

use xenvisor::prelude::*;

struct StandsStill;

impl Policy for StandsStill {
    fn event_alloc(&self, request: &EventAlloc) -> Verdict {
        if request.remote.raw() == 77 {
            stand_still();
        }
        Verdict::Allow
    }
}

#[inline(never)]
fn stand_still() {
    loop {
        core::hint::spin_loop();
    }
}

fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::with_policy(StandsStill);
    // The other pcpu has nothing to do but to look after this one.
    system.guest(
        Guest::pvh("guest", boot.module("guest")?)
            .memory(16 * MIB)
            .cmdline("peer=77")
            .pcpus(PcpuSet::of([1])),
    );
    Ok(system)
}

xenvisor::image!(describe);
