//! A domain: a guest as the hypervisor knows it.
//!
//! States ([`life::Life`]): built, running, shut down, dying, gone. Its objects have locks of their own (see
//! [`crate::lock::Rank`]); what is only set while it is built is plain. Everything a domain owns ends with it.

pub mod create;
pub mod destroy;
pub mod footprint;
pub mod life;
pub mod params;
mod pause;
pub mod settings;
pub mod translations;
mod upcalls;
pub mod watchdog;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use crate::clock::Instant;
use crate::event::Ports;
use crate::grant::handles::Handles;
use crate::grant::map::Party;
use crate::grant::table::GrantTable;
use crate::lock::{Rank, Ranked};
use crate::machine::{Machine, Width};
use crate::memory::domain_memory::DomainMemory;
use crate::memory::guest::GuestMemory;
use crate::memory::leaving::Leaving;
use crate::number::{DomainId, VcpuId, Vector};
use crate::p2m::Flush;
use crate::policy::Denials;
use crate::sched::RunQueues;
use crate::vcpu::mail::News;
use crate::vcpu::runstate::State;
use crate::vcpu::{Activity, Vcpu, time};
use create::SharedInfo;
use life::{Life, Reason, SuspendResult};
use settings::Settings;
use translations::Translations;
use watchdog::{WatchdogError, Watchdogs};

/// How many `vcpu_info` the shared info page has room for (`XEN_LEGACY_MAX_VCPUS`).
pub const SHARED_INFO_VCPUS: u32 = 32;

/// A guest as the hypervisor knows it.
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// Its name, for people.
    pub name: String,
    /// Its name, for machines (`XENVER_guest_handle`).
    pub uuid: [u8; 16],
    /// The machine it lives on.
    pub machine: Arc<dyn Machine>,
    /// Where its vcpus queue.
    pub queues: Arc<RunQueues>,
    /// The frame of its shared info page.
    pub shared_info: SharedInfo,
    /// Its event channel ports.
    pub ports: Ranked<Ports>,
    /// What it offers to others.
    pub grants: Ranked<GrantTable>,
    /// Its receipts for what others offered.
    pub handles: Ranked<Handles>,
    /// Parameters, memory map, and so on.
    pub settings: Ranked<Settings>,
    /// Where it is in its life.
    pub life: Ranked<Life>,
    /// What ends it when it is not fed.
    pub watchdogs: Ranked<Watchdogs>,
    /// Its vcpus, by number.
    pub vcpus: Vec<Vcpu>,
    /// What the policy denied it, and how often.
    pub denials: Denials,
    /// Which generation of its second stage is the present one.
    pub translations: Translations,
    /// How often it was paused and not unpaused.
    pauses: AtomicU32,
    /// Whether shared pages have the 64-bit layout.
    wide: AtomicBool,
    /// What memory it has, and where. The last field: what holds frames of the domain goes first.
    pub memory: DomainMemory,
    /// The vector that all vcpus without one of their own are upcalled by; 0 for none.
    upcall_vector: AtomicU8,
}

/// What a domain is made of.
pub struct Parts {
    /// Its number.
    pub id: DomainId,
    /// Its name.
    pub name: String,
    /// Its handle.
    pub uuid: [u8; 16],
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// The queues.
    pub queues: Arc<RunQueues>,
    /// Its memory.
    pub memory: DomainMemory,
    /// The frame of its shared info page.
    pub shared_info: SharedInfo,
    /// Its ports.
    pub ports: Ranked<Ports>,
    /// Its grant table.
    pub grants: GrantTable,
    /// Its receipts.
    pub handles: Handles,
    /// Its settings.
    pub settings: Settings,
    /// Its vcpus, by number.
    pub vcpus: Vec<Vcpu>,
}

impl Domain {
    /// Puts the parts together. No vcpu runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let domain = Self {
            id: parts.id,
            name: parts.name,
            uuid: parts.uuid,
            machine: parts.machine,
            queues: parts.queues,
            memory: parts.memory,
            shared_info: parts.shared_info,
            ports: parts.ports,
            grants: Ranked::new(Rank::Grants, parts.grants),
            handles: Ranked::new(Rank::Handles, parts.handles),
            settings: Ranked::new(Rank::Settings, parts.settings),
            life: Ranked::new(Rank::LifeCycle, Life::Built),
            watchdogs: Ranked::new(Rank::Settings, Watchdogs::default()),
            vcpus: parts.vcpus,
            denials: Denials::default(),
            translations: Translations::default(),
            pauses: AtomicU32::new(0),
            wide: AtomicBool::new(true),
            upcall_vector: AtomicU8::new(0),
        };
        domain.place_vcpu_info();
        domain
    }

    /// Gives the first vcpus their slots in the shared info page.
    fn place_vcpu_info(&self) {
        let Some(page) = self.shared_info.mfn().address() else {
            return;
        };
        for (vcpu, slot) in self.vcpus.iter().zip(0..u64::from(SHARED_INFO_VCPUS)) {
            // 64 bytes each, from the start of the page (public header xen.h, struct shared_info).
            if let Some(at) = page.checked_add(slot.saturating_mul(64)) {
                vcpu.info.set_default(at);
            }
        }
    }

    /// A vcpu, if the domain has one of this number.
    #[must_use]
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        self.vcpus.get(usize::try_from(id.raw()).ok()?)
    }

    /// The door to its memory.
    #[must_use]
    pub fn guest_memory(&self) -> GuestMemory<'_> {
        self.memory.guest()
    }

    /// The domain as one side of a grant.
    #[must_use]
    pub const fn party(&self) -> Party<'_> {
        Party {
            memory: &self.memory,
            table: &self.grants,
            handles: &self.handles,
        }
    }

    /// Changes the domain's second stage: what leaves it goes back when `change` is done, after a flush. To be called
    /// with no lock held.
    pub fn change<R>(&self, change: impl FnOnce(&mut Leaving<'_>) -> R) -> R {
        let flush = |owed| self.flush(owed);
        let mut leaving = Leaving::new(self.memory.frames(), &flush);
        change(&mut leaving)
    }

    /// Whether shared pages have the 64-bit layout.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.wide.load(Ordering::Relaxed)
    }

    /// Latches the layout of shared pages, as Xen does when a guest asks for its hypercall page or sets its callback:
    /// from then on it is that of the code that did so.
    ///
    /// The wall clock is written where that layout has it. All else stays as it is: an event that is pending in the
    /// other layout is lost, as under Xen, so guests do this before anything else.
    pub fn latch_width(&self, width: Width) {
        let wide = width == Width::Bits64;
        {
            // No event is delivered half in one layout and half in the other.
            let _ports = self.ports.lock();
            self.wide.store(wide, Ordering::Relaxed);
        }
        if let Some(page) = self.shared_info.mfn().address() {
            let memory = self.machine.memory().as_ref();
            time::write_wall_clock(memory, page, wide, self.machine.wall_clock_at_zero_ns());
        }
    }

    /// The vector for upcalls on vcpus that have none of their own; it bypasses the local APIC.
    #[must_use]
    pub fn upcall_vector(&self) -> Option<Vector> {
        let raw = self.upcall_vector.load(Ordering::Relaxed);
        (raw != 0).then(|| Vector::new(raw))
    }

    /// Sets or clears that vector.
    pub fn set_upcall_vector(&self, vector: Option<Vector>) {
        self.upcall_vector
            .store(vector.map_or(0, Vector::raw), Ordering::Relaxed);
    }

    /// Leaves news for a vcpu and wakes it.
    pub fn tell(&self, vcpu: &Vcpu, news: News) {
        vcpu.mail.post(news);
        self.queues.wake(vcpu);
    }

    /// Lets the first vcpu run. `false` if the domain is past that.
    pub fn begin(&self) -> bool {
        let mut life = self.life.lock();
        if *life != Life::Built {
            return false;
        }
        *life = Life::Running;
        drop(life);
        if let Some(vcpu) = self.vcpus.first()
            && vcpu.activity.start()
        {
            self.queues.enqueue(vcpu);
        }
        true
    }

    /// Lets a vcpu run that is off, unless the domain has ended. Whether it did.
    pub fn start_vcpu(&self, vcpu: &Vcpu) -> bool {
        // With the lock held: a domain that ends afterwards stops this vcpu as well.
        let life = self.life.lock();
        let starts = matches!(*life, Life::Built | Life::Running) && vcpu.activity.start();
        if starts {
            self.queues.enqueue(vcpu);
        }
        starts
    }

    /// Ends the domain's run: no vcpu enters the guest again, unless [`Domain::resume`] lets it. The first reason
    /// stands, and one that the guest has noted before stands above all; `false` if the domain had ended already.
    pub fn shut_down(&self, reason: Reason) -> bool {
        let mut life = self.life.lock();
        if !matches!(*life, Life::Built | Life::Running) {
            return false;
        }
        let noted = self.settings.lock().shutdown_code;
        *life = Life::ShutDown(noted.unwrap_or(reason));
        drop(life);
        for vcpu in &self.vcpus {
            let was = vcpu.activity.stop();
            vcpu.set_paused(was != Activity::Offline);
            if let Activity::Running(pcpu) = was {
                self.machine.kick(pcpu);
            }
            self.queues.set_alarm(vcpu, None);
        }
        self.queues.call_for_attention(self.id);
        true
    }

    /// Lets a domain that has shut down go on where it was: what becomes of one that was saved, or whose suspension was
    /// called off. Its kernel finds out which by the result of the call that it had made: 0 as that call left it, or
    /// `result` on the vcpu that made it. `false` if the domain has not shut down.
    pub fn resume(&self, result: SuspendResult) -> bool {
        let mut life = self.life.lock();
        if !matches!(*life, Life::ShutDown(_)) {
            return false;
        }
        *life = Life::Running;
        drop(life);
        self.settings.lock().shutdown_code = None;
        for vcpu in &self.vcpus {
            if result == SuspendResult::Cancelled && vcpu.has_asked_to_suspend() {
                // Public header sched.h, SHUTDOWN_suspend: 1 for a suspension that was called off.
                let mut processor = vcpu.cpu.lock_patiently(|| self.machine.relax());
                processor.cpu.registers().rax = 1;
            }
            vcpu.set_asks_to_suspend(false);
            if vcpu.set_paused(false) && vcpu.activity.start() {
                self.queues.enqueue(vcpu);
            }
        }
        true
    }

    /// Takes a watchdog into use, winds it up, or stops it; `None` for a new one, whose number comes back.
    ///
    /// # Errors
    /// As the watchdogs say; then nothing has changed.
    pub fn watch(&self, number: Option<u32>, deadline: Option<Instant>) -> Result<u32, WatchdogError> {
        let mut watchdogs = self.watchdogs.lock();
        let answer = match (number, deadline) {
            (None, deadline) => watchdogs.start(deadline.unwrap_or(Instant::ZERO))?,
            (Some(number), deadline) => watchdogs.set(number, deadline).map(|()| 0)?,
        };
        let next = watchdogs.next();
        // With the lock held, so that the alarm is that of the last one who set it.
        self.queues.set_watchdog_alarm(self.id, next);
        Ok(answer)
    }

    /// Lets watchdogs go off that are due: the domain shuts down, unless it has already.
    pub fn look_at_watchdogs(&self, now: Instant) {
        let fired = {
            let mut watchdogs = self.watchdogs.lock();
            let fired = watchdogs.fire(now);
            self.queues.set_watchdog_alarm(self.id, watchdogs.next());
            fired
        };
        if fired {
            self.shut_down(Reason::Watchdog);
        }
    }

    /// Stops one vcpu. When it was the last one that ran, the domain has powered itself off.
    pub fn stop_vcpu(&self, vcpu: &Vcpu, now: Instant) {
        let mut was = Activity::Offline;
        vcpu.enter(State::Offline, now, |activity| {
            was = activity.stop();
            true
        });
        if let Activity::Running(pcpu) = was {
            self.machine.kick(pcpu);
        }
        self.queues.set_alarm(vcpu, None);
        if self
            .vcpus
            .iter()
            .all(|vcpu| vcpu.activity.get() == Activity::Offline)
        {
            self.shut_down(Reason::PowerOff);
        }
    }

    /// Discharges a flush: when this returns, no vcpu of the domain uses what was mapped before, on any pcpu.
    ///
    /// A vcpu that is not in the guest flushes before it enters; one that is in the guest is kicked out, and waited for:
    /// see [`translations`]. To be called with no lock held but that of the processor which the caller runs on.
    pub fn flush(&self, owed: Flush) {
        if owed == Flush::None {
            return;
        }
        let generation = self.translations.outdate();
        for vcpu in &self.vcpus {
            // All are kicked before any is waited for.
            if vcpu.inside.is_behind(generation)
                && let Activity::Running(pcpu) = vcpu.activity.get()
            {
                self.machine.kick(pcpu);
            }
        }
        for vcpu in &self.vcpus {
            while vcpu.inside.is_behind(generation) {
                self.machine.relax();
            }
        }
    }
}
