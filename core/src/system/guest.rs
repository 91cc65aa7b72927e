//! A guest as an image describes it.

use alloc::string::{String, ToString};

use super::Module;
use crate::domain::life::Reason;
use crate::event::DEFAULT_LIMIT;
use crate::number::{DomainId, MIB};
use crate::sched::{PcpuSet, Share};

/// A guest of a description, and the domain it becomes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GuestId(DomainId);

impl GuestId {
    /// The guest at this place, counted from 1. More than 32,751 guests have no numbers: the last ones share one, and
    /// are refused when they are built.
    pub(super) fn new(place: usize) -> Self {
        Self(DomainId::new(
            u16::try_from(place).unwrap_or(u16::MAX).min(0x7fef),
        ))
    }

    /// The domain it becomes.
    #[must_use]
    pub const fn domain(self) -> DomainId {
        self.0
    }
}

/// What becomes of a guest when it has shut down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterEnd {
    /// It is built again from its modules.
    Restart,
    /// It is gone.
    Destroy,
    /// It is not run any more, but all of it stays as it is, to be looked at, until the last of the others has ended.
    Preserve,
}

/// A guest as an image describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its kernel.
    pub kernel: Module,
    /// Its initrd, if it has one.
    pub initrd: Option<Module>,
    /// Its command line.
    pub cmdline: String,
    /// Bytes of memory.
    pub memory: u64,
    /// How many vcpus.
    pub vcpus: u32,
    /// How many event channels it may have; port 0, which is none, not counted.
    pub event_channels: u32,
    /// How much time its vcpus get, compared with others.
    pub weight: u32,
    /// At most so many hundredths of one pcpu for each of its vcpus; 0: no limit.
    pub cap: u32,
    /// Where its vcpus may run.
    pub pcpus: PcpuSet,
    /// Where they would rather run, if there is room.
    pub prefers: PcpuSet,
    /// What becomes of it when it asks for a reboot.
    pub on_reboot: AfterEnd,
    /// What becomes of it when it has crashed, or its watchdog has ended it. One that is built again is built again
    /// whenever it crashes, however soon.
    pub on_crash: AfterEnd,
    /// What a triple fault counts as. Xen's default is a reboot; here it is a crash, so that a guest that cannot boot
    /// says so instead of trying for ever.
    pub triple_fault: Reason,
}

impl Guest {
    /// A guest that is entered by the PVH protocol: a Linux kernel, or anything else with a PVH entry note.
    #[must_use]
    pub fn pvh(name: &str, kernel: Module) -> Self {
        Self {
            name: name.to_string(),
            kernel,
            initrd: None,
            cmdline: String::new(),
            memory: 256 * MIB,
            vcpus: 1,
            event_channels: DEFAULT_LIMIT - 1,
            weight: Share::DEFAULT_WEIGHT,
            cap: 0,
            pcpus: PcpuSet::ALL,
            prefers: PcpuSet::ALL,
            on_reboot: AfterEnd::Restart,
            on_crash: AfterEnd::Destroy,
            triple_fault: Reason::Crash,
        }
    }

    /// A Linux guest: as [`Guest::pvh`], with its console where a Xen guest has it.
    #[must_use]
    pub fn linux_pvh(name: &str, kernel: Module) -> Self {
        Self::pvh(name, kernel).cmdline("console=hvc0")
    }

    /// With this initrd.
    #[must_use]
    pub const fn initrd(mut self, initrd: Module) -> Self {
        self.initrd = Some(initrd);
        self
    }

    /// With this command line.
    #[must_use]
    pub fn cmdline(mut self, cmdline: &str) -> Self {
        self.cmdline = cmdline.to_string();
        self
    }

    /// With so many bytes of memory.
    #[must_use]
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// With so many vcpus.
    #[must_use]
    pub const fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// With so many event channels: 1,023 unless said otherwise, as from Xen's tools, and never more than the 131,071 that
    /// the FIFO way can name. One that has more than 4,095 (in 32-bit code 1,023) reaches the rest only in that way.
    #[must_use]
    pub const fn event_channels(mut self, event_channels: u32) -> Self {
        self.event_channels = event_channels;
        self
    }

    /// With so much weight, 256 unless said otherwise: twice as much is twice the time, where guests compete and the
    /// scheduler goes by weight ([`Weighted`](crate::sched::Weighted)).
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// With at most so many hundredths of a pcpu for each of its vcpus, under a scheduler that goes by weight.
    #[must_use]
    pub const fn cap(mut self, hundredths: u32) -> Self {
        self.cap = hundredths;
        self
    }

    /// On these pcpus alone: of one pool, where there are several.
    #[must_use]
    pub const fn pcpus(mut self, pcpus: PcpuSet) -> Self {
        self.pcpus = pcpus;
        self
    }

    /// Rather on these pcpus than on others it may run on.
    #[must_use]
    pub const fn prefers(mut self, pcpus: PcpuSet) -> Self {
        self.prefers = pcpus;
        self
    }

    /// With another fate after a reboot.
    #[must_use]
    pub const fn on_reboot(mut self, fate: AfterEnd) -> Self {
        self.on_reboot = fate;
        self
    }

    /// With another fate after a crash.
    #[must_use]
    pub const fn on_crash(mut self, fate: AfterEnd) -> Self {
        self.on_crash = fate;
        self
    }

    /// With another meaning of a triple fault.
    #[must_use]
    pub const fn triple_fault(mut self, reason: Reason) -> Self {
        self.triple_fault = reason;
        self
    }
}
