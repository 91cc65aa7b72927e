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
pub mod time;
pub mod timers;

pub use activity::{Activity, ActivityCell};

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::clock::Instant;
use crate::domain::footprint::Cost;
use crate::domain::translations::Inside;
use crate::lock::{Rank, Ranked};
use crate::machine::{Ipi, VirtCpu};
use crate::memory::guest_page::GuestPage;
use crate::number::LinearAddr;
use crate::sched::{Seat, VcpuKey};
use area::InfoPlace;
use mail::Mail;
use runstate::{Runstate, State};
use start::StartState;
use timers::Timers;

/// One virtual processor.
pub struct Vcpu {
    /// Its name among all.
    pub key: VcpuKey,
    /// Whether it runs, can run, waits, or is off.
    pub activity: ActivityCell,
    /// What others left for it to look at before it runs on.
    pub mail: Mail,
    /// Its place among queues.
    pub seat: Seat,
    /// Whether it is in the guest, and by which translations.
    pub inside: Inside,
    /// What the processor took of the machine when it was made.
    pub processor_cost: Cost,
    /// The processor and what belongs to running it.
    pub cpu: Ranked<Processor>,
    /// Its deadlines.
    pub timers: Ranked<Timers>,
    /// The vector of its own for upcalls, through its local APIC; 0 for none.
    pub upcall_vector: AtomicU8,
    /// Where its `vcpu_info` is.
    pub info: InfoPlace,
    /// The page of it, once the guest has chosen one: held for as long as the vcpu is there.
    pub info_page: Ranked<Option<GuestPage>>,
    /// How long it has been in which state.
    pub runstate: Ranked<Runstate>,
    /// Where the guest wants to be kept informed.
    pub areas: Ranked<Areas>,
    /// The state to begin in when it runs next: from the domain's builder, `VCPUOP_initialise`, or a start-up
    /// interrupt.
    pub begin: Ranked<Option<StartState>>,
    /// It has been given a state to begin in at least once.
    begun: AtomicBool,
    /// It was up when its domain shut down.
    paused: AtomicBool,
    /// It is the one that asked for its domain to be suspended.
    asks_to_suspend: AtomicBool,
}

/// The virtual processor with what only the loop that runs it needs.
pub struct Processor {
    /// The hardware's (or the simulator's) side.
    pub cpu: Box<dyn VirtCpu>,
    /// What it waits for before it runs on.
    pub wait: Wait,
    /// An inter-processor interrupt that found a letter box full: it is sent again.
    pub unsent: Option<Ipi>,
    /// The generation of translations that the hardware knows of.
    pub generation: u64,
}

/// What a vcpu waits for before guest code runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Nothing.
    No,
    /// An interrupt that it would take (HLT).
    Interrupt,
    /// An event (`SCHEDOP_block`): an upcall, or an interrupt.
    Event,
    /// One of the ports it polls, or its deadline (`SCHEDOP_poll`).
    Poll,
}

/// Where a guest wants to be kept informed, by linear address in its kernel's page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Areas {
    /// Run states (`VCPUOP_register_runstate_memory_area`).
    pub runstate: Option<LinearAddr>,
    /// The time, once more (`VCPUOP_register_vcpu_time_memory_area`).
    pub time: Option<LinearAddr>,
}

impl Vcpu {
    /// A vcpu that is off.
    #[must_use]
    pub fn new(key: VcpuKey, cpu: Box<dyn VirtCpu>, now: Instant) -> Self {
        let processor_cost = Cost::heap(size_of_val(&*cpu)) + cpu.cost();
        let processor = Processor {
            cpu,
            wait: Wait::No,
            unsent: None,
            generation: 0,
        };
        Self {
            key,
            activity: ActivityCell::default(),
            mail: Mail::default(),
            seat: Seat::default(),
            inside: Inside::default(),
            processor_cost,
            cpu: Ranked::new(Rank::Vcpu, processor),
            timers: Ranked::new(Rank::VcpuState, Timers::default()),
            upcall_vector: AtomicU8::new(0),
            info: InfoPlace::default(),
            info_page: Ranked::new(Rank::VcpuState, None),
            runstate: Ranked::new(Rank::Books, Runstate::new(now)),
            areas: Ranked::new(Rank::VcpuState, Areas::default()),
            begin: Ranked::new(Rank::VcpuState, None),
            begun: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            asks_to_suspend: AtomicBool::new(false),
        }
    }

    /// Changes what it does, by `change`, and its account with that; whether `change` did anything.
    ///
    /// With the account locked: whoever changes it next comes after this in both.
    pub fn enter(&self, state: State, now: Instant, change: impl FnOnce(&ActivityCell) -> bool) -> bool {
        let mut account = self.runstate.lock();
        let changed = change(&self.activity);
        if changed {
            account.enter(state, now);
        }
        changed
    }

    /// Takes the state to begin in, if there is a new one.
    pub fn take_begin(&self) -> Option<StartState> {
        let state = self.begin.lock().take();
        if state.is_some() {
            self.begun.store(true, Ordering::Release);
        }
        state
    }

    /// Whether it has ever begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Notes whether it was up when its domain shut down; what was noted before.
    pub fn set_paused(&self, paused: bool) -> bool {
        self.paused.swap(paused, Ordering::AcqRel)
    }

    /// Notes that it asks for its domain to be suspended.
    pub fn set_asks_to_suspend(&self, asks: bool) {
        self.asks_to_suspend.store(asks, Ordering::Release);
    }

    /// Whether it is the one that asked.
    #[must_use]
    pub fn has_asked_to_suspend(&self) -> bool {
        self.asks_to_suspend.load(Ordering::Acquire)
    }

    /// It has begun by other means: a start-up interrupt.
    pub fn note_begun(&self) {
        self.begun.store(true, Ordering::Release);
    }
}
