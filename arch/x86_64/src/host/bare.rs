//! The [`Host`]: a booted machine, ready for a hypervisor.

use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::AtomicUsize;

use heapless::{String, Vec};
use spin::{Mutex, Once};
use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::machine::MachineMemory;
use xenvisor_core::number::{Mfn, PcpuId};

use super::acpi::Platform;
use super::features::Features;
use super::interrupts::without_interrupts;
use super::pcpu::{self, current};
use super::processors::Others;
use crate::apic::local::LocalApic;
use crate::boot::BootInfo;
use crate::boot::info::MAX_NAME;
use crate::boot::memory_map::Ranges;
use crate::boot::start::CONSOLE;
use crate::time::clock;

/// Most modules, after bundles have been unpacked.
pub(crate) const MAX_MODULES: usize = 64;

/// A file that was loaded along with the image.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name: what the image's description asks for.
    pub name: String<MAX_NAME>,
    /// Its contents, which never change.
    pub bytes: &'static [u8],
}

/// What a processor can be given to do.
pub(crate) type Work = &'static (dyn Fn(PcpuId) + Sync);

/// See the file's header.
pub struct Host {
    pub(crate) boot: BootInfo,
    pub(crate) modules: Vec<Module, MAX_MODULES>,
    pub(crate) features: Features,
    pub(crate) platform: Platform,
    pub(crate) memory: Arc<dyn MachineMemory>,
    pub(crate) free: Ranges,
    /// Those other than the one that booted, once they run.
    pub(crate) others: Once<Others>,
    pub(crate) boot_apic_id: u32,
    /// What all processors do.
    pub(crate) work: Mutex<Option<Work>>,
    /// How many of the others are done with it.
    pub(crate) done: AtomicUsize,
    pub(crate) scale: TimeScale,
    pub(crate) wall_clock_at_zero_ns: u64,
}

impl Host {
    /// What the loader told.
    #[must_use]
    pub fn boot(&self) -> &BootInfo {
        &self.boot
    }

    /// The modules, bundles unpacked, in order.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// What the processor can do.
    #[must_use]
    pub fn features(&self) -> Features {
        self.features
    }

    /// What ACPI says.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The memory that nobody used when the host began: whole frames, lowest first. It is the caller's to
    /// give out; ask once.
    pub fn free_memory(&self) -> impl Iterator<Item = Range<Mfn>> {
        const PAGE: u64 = 4096;
        self.free
            .iter()
            .map(|range| Mfn::new(range.start / PAGE)..Mfn::new(range.end / PAGE))
    }

    /// That memory, for reading and writing.
    #[must_use]
    pub fn memory(&self) -> &Arc<dyn MachineMemory> {
        &self.memory
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        clock::now()
    }

    /// How the TSC turns into time.
    #[must_use]
    pub fn time_scale(&self) -> TimeScale {
        self.scale
    }

    /// Wall-clock time at [`Instant::ZERO`], in nanoseconds since 1970.
    #[must_use]
    pub fn wall_clock_at_zero_ns(&self) -> u64 {
        self.wall_clock_at_zero_ns
    }

    /// Has this processor interrupted at `deadline` (or earlier), whatever it is doing then.
    pub fn arm(&self, deadline: Instant) {
        if let Some(apic) = current().apic() {
            apic.arm(deadline);
        }
    }

    /// The local APIC of the processor that booted: for what all have alike.
    pub(crate) fn boot_apic(&self) -> Option<&'static LocalApic> {
        pcpu::BOOT.apic()
    }

    /// Takes the deadline back.
    pub fn disarm(&self) {
        if let Some(apic) = current().apic() {
            apic.disarm();
        }
    }

    /// Serves the interrupts that are pending now. For the moment after a guest ran: an interrupt that made
    /// it stop is still pending then.
    pub fn take_interrupts(&self) {
        // SAFETY: the host's gates serve every vector. STI takes effect one instruction late, hence NOP.
        unsafe { core::arch::asm!("sti", "nop", "cli", options(nostack)) };
    }

    /// Sleeps until a kick, input, or `until`; perhaps not that long.
    pub fn sleep(&self, until: Instant) {
        without_interrupts(|| {
            let events = current().events();
            if events.take() || self.now() >= until {
                return;
            }
            self.arm(until);
            // SAFETY: the host's gates serve every vector. An interrupt that becomes pending before HLT is
            // taken after it, since STI takes effect one instruction late: none is slept through.
            unsafe { core::arch::asm!("sti", "hlt", "cli", options(nostack)) };
            events.take();
        });
    }

    /// Makes this processor's next [`Host::sleep`] return at once.
    pub fn wake(&self) {
        current().events().set();
    }

    /// The next byte that was typed.
    #[must_use]
    pub fn console_read(&self) -> Option<u8> {
        CONSOLE.read()
    }

    /// Shows bytes to the person in front of the machine.
    pub fn console_write(&self, bytes: &[u8]) {
        CONSOLE.write(bytes);
    }
}
