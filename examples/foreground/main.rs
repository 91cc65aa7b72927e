//! Two guests, and a scheduler of this image's own: the first guest runs whenever it wants to, the other in what is left.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;

use xenvisor::prelude::*;

/// The first guest of the description.
const FIRST: DomainId = DomainId::new(1);

/// Those that wait for one pcpu, in the order in which they came.
#[derive(Default)]
pub struct Foreground {
    waiting: Vec<Claim>,
    vcpus: usize,
}

impl Scheduler for Foreground {
    fn for_pcpu(&self, _: PcpuId) -> Box<dyn Scheduler> {
        Box::new(Self::default())
    }

    fn add(&mut self, _: VcpuKey) -> Result<(), OutOfMemory> {
        let missing = (self.vcpus + 1).saturating_sub(self.waiting.len());
        self.waiting.try_reserve(missing).map_err(|_| OutOfMemory)?;
        self.vcpus += 1;
        Ok(())
    }

    fn remove(&mut self, key: VcpuKey) {
        self.waiting.retain(|claim| claim.key != key);
        self.vcpus = self.vcpus.saturating_sub(1);
    }

    fn put(&mut self, claim: Claim, _: Arrival, _: Instant) {
        self.waiting.push(claim);
    }

    fn next(&mut self, _: Instant) -> Option<(Claim, Slice)> {
        if self.waiting.is_empty() {
            return None;
        }
        let foreground = self.waiting.iter().position(|claim| claim.key.domain == FIRST);
        let at = foreground.unwrap_or(0);
        Some((self.waiting.remove(at), Slice { ns: 5_000_000 }))
    }

    fn first(&self) -> Option<u64> {
        let background = |claim: &Claim| u64::from(claim.key.domain != FIRST) << 32;
        self.waiting.iter().map(background).min()
    }

    fn preempts(&self, woken: &Claim, running: &Claim, _: u64) -> Option<Slice> {
        let foreground = woken.key.domain == FIRST && running.key.domain != FIRST;
        foreground.then_some(Slice { ns: 0 })
    }
}

/// What the image describes.
pub fn describe(boot: &Boot) -> Result<System, BootError> {
    let mut system = System::default();
    system.schedule(Foreground::default());
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
