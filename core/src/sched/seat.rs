//! What queues know of a vcpu: its share, where it may run, where it last ran, and a score of its scheduler's.
//!
//! It stays with the vcpu, in words that any pcpu may read, so that a vcpu which does not run costs no queue anything,
//! and one that moves to another pcpu takes its account along. Invariant: a vcpu is on at most one queue, once.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::{Claim, PcpuSet, VcpuKey};
use crate::clock::Instant;
use crate::number::PcpuId;

/// How much of the pcpus a vcpu gets when others want them too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Twice the weight of another is twice the time. Never 0.
    pub weight: u32,
    /// At most so many hundredths of one pcpu, even if nobody else wants it; 0: no limit.
    pub cap: u32,
}

impl Share {
    /// The weight of those for whom nobody says otherwise, as under Xen.
    pub const DEFAULT_WEIGHT: u32 = 256;
    /// The largest weight there is.
    pub const MAX_WEIGHT: u32 = 65_535;
}

impl Default for Share {
    fn default() -> Self {
        Self {
            weight: Self::DEFAULT_WEIGHT,
            cap: 0,
        }
    }
}

/// The place of one vcpu among queues.
#[derive(Debug)]
pub struct Seat {
    weight: AtomicU32,
    cap: AtomicU32,
    allowed: AtomicU64,
    preferred: AtomicU64,
    score: AtomicU64,
    ripe: AtomicU64,
    ticket: AtomicU64,
    /// Where it last ran, or is to run.
    pcpu: AtomicU32,
    /// Whose heap its alarms are on, from when it is added on.
    home: AtomicU32,
    queued: AtomicBool,
}

impl Default for Seat {
    fn default() -> Self {
        Self {
            weight: AtomicU32::new(Share::DEFAULT_WEIGHT),
            cap: AtomicU32::new(0),
            allowed: AtomicU64::new(PcpuSet::ALL.bits()),
            preferred: AtomicU64::new(PcpuSet::ALL.bits()),
            score: AtomicU64::new(0),
            ripe: AtomicU64::new(0),
            ticket: AtomicU64::new(0),
            pcpu: AtomicU32::new(0),
            home: AtomicU32::new(0),
            queued: AtomicBool::new(false),
        }
    }
}

impl Seat {
    /// Gives it another share, from its next turn on.
    pub fn set_share(&self, share: Share) {
        let weight = share.weight.clamp(1, Share::MAX_WEIGHT);
        self.weight.store(weight, Ordering::Relaxed);
        self.cap.store(share.cap, Ordering::Relaxed);
    }

    /// Says where it may run, and where among those it would rather. Before it is added to queues.
    pub fn set_affinity(&self, allowed: PcpuSet, preferred: PcpuSet) {
        self.allowed.store(allowed.bits(), Ordering::Relaxed);
        self.preferred.store(preferred.bits(), Ordering::Relaxed);
    }

    /// Where it may run.
    #[must_use]
    pub fn allowed(&self) -> PcpuSet {
        PcpuSet::from_bits(self.allowed.load(Ordering::Relaxed))
    }

    /// Where it would rather run than elsewhere; all it may if that says nothing.
    #[must_use]
    pub fn preferred(&self) -> PcpuSet {
        let both = self
            .allowed()
            .and(PcpuSet::from_bits(self.preferred.load(Ordering::Relaxed)));
        if both.is_empty() { self.allowed() } else { both }
    }

    /// Where it last ran, or is to run.
    #[must_use]
    pub fn pcpu(&self) -> PcpuId {
        PcpuId::new(self.pcpu.load(Ordering::Relaxed))
    }

    /// It runs, or is to run, there.
    pub(super) fn set_pcpu(&self, pcpu: PcpuId) {
        self.pcpu.store(pcpu.raw(), Ordering::Relaxed);
    }

    /// The pcpu that its alarms are on.
    #[must_use]
    pub fn home(&self) -> PcpuId {
        PcpuId::new(self.home.load(Ordering::Relaxed))
    }

    pub(super) fn set_home(&self, pcpu: PcpuId) {
        self.home.store(pcpu.raw(), Ordering::Relaxed);
        self.set_pcpu(pcpu);
    }

    /// It is added to queues, under this number.
    pub(super) fn set_ticket(&self, ticket: u64) {
        self.ticket.store(ticket, Ordering::SeqCst);
    }

    /// Whether it is this vcpu that waited, and not one of the same name in an earlier life of its domain, whose claim
    /// was on its way between two queues when it ended.
    #[must_use]
    pub fn has_made(&self, claim: &Claim) -> bool {
        self.ticket.load(Ordering::SeqCst) == claim.ticket
    }

    /// Takes the one place on a queue that it has. `false` if it is on one already.
    pub(super) fn queue(&self) -> bool {
        !self.queued.swap(true, Ordering::SeqCst)
    }

    /// It is off its queue. To be said before anybody looks at what the vcpu does: whoever makes it runnable after that
    /// finds the place free, and whoever did before is answered by this turn.
    pub fn unqueue(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }

    pub(super) fn claim(&self, key: VcpuKey) -> Claim {
        Claim {
            key,
            share: Share {
                weight: self.weight.load(Ordering::Relaxed),
                cap: self.cap.load(Ordering::Relaxed),
            },
            allowed: self.allowed(),
            score: self.score.load(Ordering::Relaxed),
            ripe: Instant::from_ns(self.ripe.load(Ordering::Relaxed)),
            ticket: self.ticket.load(Ordering::SeqCst),
        }
    }

    pub(super) fn keep(&self, claim: &Claim) {
        self.score.store(claim.score, Ordering::Relaxed);
        self.ripe.store(claim.ripe.as_ns(), Ordering::Relaxed);
    }
}
