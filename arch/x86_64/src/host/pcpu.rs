//! A processor of the machine as the host keeps it: its segments, stacks, local APIC, and the note that something has
//! happened.
//!
//! Each processor finds its own through the base of GS, which no guest's value ever replaces while host code runs.
//! Invariant: from its first Rust code on, a processor's GS leads to its own [`Pcpu`], which lives for ever.

use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use spin::Once;
use x86::msr::{IA32_GS_BASE, wrmsr};
use xenvisor_core::number::PcpuId;

use super::interrupts::Events;
use super::segments::Segments;
use super::stacks::Stacks;
use crate::apic::local::LocalApic;

/// See the file's header.
#[repr(C)]
pub(crate) struct Pcpu {
    /// Its own address: what GS:0 reads.
    this: AtomicPtr<Self>,
    id: PcpuId,
    segments: Segments,
    stacks: Stacks,
    events: Events,
    /// The machine address of the control structure that is current on it (VMX); no structure is at 0.
    structure: AtomicU64,
    /// It has kicked itself.
    kicked: Events,
    apic: Once<LocalApic>,
    runs: AtomicBool,
}

/// The processor that boots.
pub(crate) static BOOT: Pcpu = Pcpu::new(PcpuId::new(0), Stacks::OF_BOOT_PROCESSOR);

impl Pcpu {
    /// A processor that runs nothing yet.
    pub(crate) const fn new(id: PcpuId, stacks: Stacks) -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            id,
            segments: Segments::new(),
            stacks,
            events: Events::new(),
            structure: AtomicU64::new(0),
            kicked: Events::new(),
            apic: Once::new(),
            runs: AtomicBool::new(false),
        }
    }

    /// Makes this the running processor's. Once, by that processor, with interrupts off, as its first Rust code.
    pub(crate) fn take_over(&'static self) {
        self.segments.load(&self.stacks);
        let own = core::ptr::from_ref(self).cast_mut();
        self.this.store(own, Ordering::Relaxed);
        // SAFETY: host code uses GS for this alone, and the object lives for ever. Loading segments comes before, since
        // it may clear the base.
        unsafe { wrmsr(IA32_GS_BASE, own.expose_provenance() as u64) };
    }

    /// Its number.
    pub(crate) const fn id(&self) -> PcpuId {
        self.id
    }

    /// Its stacks.
    pub(crate) const fn stacks(&self) -> &Stacks {
        &self.stacks
    }

    /// Whether something has happened that somebody should look at.
    pub(crate) const fn events(&self) -> &Events {
        &self.events
    }

    /// The machine address of the control structure that is current on it.
    pub(crate) const fn structure(&self) -> &AtomicU64 {
        &self.structure
    }

    /// Whether it has asked itself to look around instead of running a guest.
    pub(crate) const fn kicked(&self) -> &Events {
        &self.kicked
    }

    /// Its local APIC, once it is on.
    pub(crate) fn apic(&self) -> Option<&LocalApic> {
        self.apic.get()
    }

    /// Its local APIC is on.
    pub(crate) fn set_apic(&self, apic: LocalApic) -> &LocalApic {
        self.apic.call_once(|| apic)
    }

    /// It runs host code of its own from now on.
    pub(crate) fn set_running(&self) {
        self.runs.store(true, Ordering::Release);
    }

    /// Whether it does.
    pub(crate) fn is_running(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }
}

/// The running processor's.
pub(crate) fn current() -> &'static Pcpu {
    let own: *const Pcpu;
    // SAFETY: GS leads to an object that lives for ever, whose first word is its own address (`take_over` is each
    // processor's first Rust code). The address never changes.
    unsafe {
        core::arch::asm!(
            "mov {}, gs:[{}]",
            out(reg) own,
            const offset_of!(Pcpu, this),
            options(pure, readonly, nostack, preserves_flags)
        );
        &*own
    }
}
