//! Virtual processors of a domain.
//!
//! A [`Vcpu`] has two sides. What *others* do to it goes through atomics and small locks: its [`activity`], its
//! [`mail`], its deadlines. What runs it, the virtual processor itself, is behind [`Vcpu::cpu`], taken only by the loop
//! that runs it, for as long as it runs.

pub mod activity;
pub mod area;
pub mod mail;
pub mod runstate;
pub mod start;
pub mod timers;

pub use activity::{Activity, ActivityCell};

use alloc::boxed::Box;
use core::sync::atomic::AtomicU8;

use crate::lock::{Rank, Ranked};
use crate::machine::VirtCpu;
use crate::sched::VcpuKey;
use area::InfoPlace;
use mail::Mail;
use runstate::Runstate;
use timers::Timers;

/// One virtual processor.
pub struct Vcpu {
    /// Its name among all.
    pub key: VcpuKey,
    /// Whether it runs, can run, waits, or is off.
    pub activity: ActivityCell,
    /// What others left for it to look at before it runs on.
    pub mail: Mail,
    /// The processor and what belongs to running it.
    pub cpu: Ranked<Processor>,
    /// Its deadlines.
    pub timers: Ranked<Timers>,
    /// The vector of its own for upcalls, through its local APIC; 0 for none.
    pub upcall_vector: AtomicU8,
    /// Where its `vcpu_info` is.
    pub info: InfoPlace,
    /// How long it has been in which state.
    pub runstate: Ranked<Runstate>,
}

/// The virtual processor with what only the loop that runs it needs.
pub struct Processor {
    /// The hardware's (or the simulator's) side.
    pub cpu: Box<dyn VirtCpu>,
    /// The guest waits for an interrupt: it runs on only when there is one.
    pub halted: bool,
    /// Where the guest wants its run states written, by linear address.
    pub runstate_area: Option<crate::number::LinearAddr>,
    /// Where the guest wants its time written too, by linear address.
    pub time_area: Option<crate::number::LinearAddr>,
}

impl Vcpu {
    /// A vcpu that is off.
    #[must_use]
    pub fn new(key: VcpuKey, cpu: Box<dyn VirtCpu>, now: crate::clock::Instant) -> Self {
        let processor = Processor {
            cpu,
            halted: false,
            runstate_area: None,
            time_area: None,
        };
        Self {
            key,
            activity: ActivityCell::default(),
            mail: Mail::default(),
            cpu: Ranked::new(Rank::Vcpu, processor),
            timers: Ranked::new(Rank::VcpuState, Timers::default()),
            upcall_vector: AtomicU8::new(0),
            info: InfoPlace::default(),
            runstate: Ranked::new(Rank::VcpuState, Runstate::new(now)),
        }
    }
}
