//! A virtual local APIC: xAPIC and x2APIC, as Xen's guests see it (version 0x50014, six LVT entries).
//!
//! Pure state: a backend owns one per vcpu and drives it.
//! * A second-stage fault in [`LocalApic::mmio_page`] goes to `read_mmio`/`write_mmio`; an access to
//!   MSR 0x1b to `base_msr`/`set_base_msr`, to 0x800..=0x8ff to `read_msr`/`write_msr`, to 0x6e0 to
//!   `tsc_deadline`/`set_tsc_deadline`; CR8 to `cr8`/`set_cr8`.
//! * What a write wants done elsewhere comes back as an [`Effect`]; the backend does it. An IPI reaches those
//!   vcpus whose APIC [`LocalApic::is_addressed`] by it, the sender too if it is: they `accept` a fixed vector,
//!   do [`LocalApic::init`] for an INIT, start for a start-up, and so on.
//! * Before it enters the guest: [`LocalApic::tick`] with the time; [`LocalApic::highest_pending`] says which
//!   vector to inject; once the processor has taken it, [`LocalApic::acknowledge`]. A vector that cannot be
//!   injected yet (interrupts off) waits: the backend opens an interrupt window and asks again.
//! * [`LocalApic::next_deadline`] is when to come back at the latest.
//!
//! Invariant: a vector is handed out only if its class is above the processor priority; while the APIC is
//! disabled nothing is accepted or handed out. It never calls out, never blocks, never fails for the host.
//! SDM vol. 3 §10.

mod base;
mod ipi;
mod register;
#[cfg(test)]
mod tests;
mod timer;
mod vector_set;
mod window;

pub use timer::BUS_CYCLE_NS;
pub use window::Window;

use crate::guest::exception::Exception;
use base::Base;
use ipi::Command;
use register::Lvt;
use timer::{Mode, Timer};
use vector_set::VectorSet;
use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::machine::{Ipi, IpiKind, IpiTarget};
use xenvisor_core::number::{GuestAddr, VcpuId, Vector};

/// The version register: version 0x14 (integrated APIC), last LVT entry 5, no EOI-broadcast suppression.
pub const VERSION: u32 = 0x0005_0014;

/// How an interrupt is signalled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// Once, when it happens.
    Edge,
    /// As long as its source asks; its end is reported ([`Effect::LevelEnded`]).
    Level,
}

/// What a write wants done outside the APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Route this interrupt.
    Send(Ipi),
    /// The guest has finished a level-triggered interrupt: its source may ask again.
    LevelEnded(Vector),
}

/// One vcpu's local APIC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalApic {
    vcpu: VcpuId,
    base: Base,
    task_priority: u8,
    /// LDR, of which the xAPIC uses bits 31:24; the x2APIC computes its own from the id.
    logical: u32,
    /// DFR: flat (all ones) or cluster (top nibble 0).
    format: u32,
    /// Spurious-interrupt vector register.
    spurious: u32,
    command: u64,
    lvt: [u32; 6],
    /// Errors seen since the guest last wrote the error status register, and what that write made visible.
    errors: u32,
    error_status: u32,
    requested: VectorSet,
    in_service: VectorSet,
    level: VectorSet,
    timer: Timer,
    /// An upcall that came while the APIC was disabled.
    upcall: Option<Vector>,
}

const SOFTWARE_ENABLE: u32 = 1 << 8;
const FOCUS_DISABLED: u32 = 1 << 9;
const MASKED: u32 = 1 << 16;
/// Error bits: a vector below 16 was to be sent, was received; a register that does not exist was touched.
const SEND_ILLEGAL: u32 = 1 << 5;
const RECEIVE_ILLEGAL: u32 = 1 << 6;
const ILLEGAL_REGISTER: u32 = 1 << 7;

impl LocalApic {
    /// The APIC of a vcpu after power-on: enabled as xAPIC at 0xfee00000, software-disabled, all masked.
    /// `address_bits` is the width of the guest's physical addresses, which bounds where it can be moved.
    #[must_use]
    pub fn new(vcpu: VcpuId, address_bits: u8) -> Self {
        Self::with_base(vcpu, Base::new(vcpu.raw() == 0, address_bits))
    }

    fn with_base(vcpu: VcpuId, base: Base) -> Self {
        Self {
            vcpu,
            base,
            task_priority: 0,
            logical: 0,
            format: u32::MAX,
            spurious: 0xff,
            command: 0,
            lvt: [MASKED; 6],
            errors: 0,
            error_status: 0,
            requested: VectorSet::default(),
            in_service: VectorSet::default(),
            level: VectorSet::default(),
            timer: Timer::new(),
            upcall: None,
        }
    }

    /// What an INIT does: everything but the id and the base MSR starts afresh.
    pub fn init(&mut self) {
        *self = Self {
            upcall: self.upcall,
            ..Self::with_base(self.vcpu, self.base)
        };
    }

    /// The APIC id: twice the vcpu's number.
    #[must_use]
    pub const fn id(&self) -> u32 {
        apic_id(self.vcpu)
    }

    /// The page that the xAPIC registers occupy; `None` when the APIC is disabled or an x2APIC.
    #[must_use]
    pub fn mmio_page(&self) -> Option<GuestAddr> {
        self.base.is_xapic().then(|| self.base.address())
    }

    /// MSR 0x1b.
    #[must_use]
    pub const fn base_msr(&self) -> u64 {
        self.base.raw()
    }

    /// Writes MSR 0x1b: moves, enables, disables, or turns the APIC into an x2APIC.
    ///
    /// # Errors
    /// #GP for reserved bits and for the transitions the manual forbids (SDM vol. 3 §10.12.5).
    pub fn set_base_msr(&mut self, value: u64) -> Result<(), Exception> {
        let new = self.base.changed_to(value)?;
        if new.is_enabled() != self.base.is_enabled() {
            // Off and on again is a reset; while off, nothing of the old state may show.
            *self = Self {
                upcall: self.upcall,
                ..Self::with_base(self.vcpu, new)
            };
        }
        self.base = new;
        Ok(())
    }

    /// Whether the APIC takes part at all: enabled in MSR 0x1b and by the spurious-vector register.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.base.is_enabled() && self.spurious & SOFTWARE_ENABLE != 0
    }

    /// Whether CPUID leaf 1 shows an APIC, and whether as x2APIC: hardware enable of MSR 0x1b.
    #[must_use]
    pub fn is_hardware_enabled(&self) -> bool {
        self.base.is_enabled()
    }

    /// Requests a vector; says whether the guest has something new to take. A disabled APIC accepts nothing.
    pub fn accept(&mut self, vector: Vector, trigger: Trigger) -> bool {
        if !self.is_enabled() {
            return false;
        }
        if vector.raw() < 16 {
            self.error(RECEIVE_ILLEGAL);
            return false;
        }
        match trigger {
            Trigger::Edge => self.level.remove(vector),
            Trigger::Level => self.level.insert(vector),
        };
        self.requested.insert(vector)
    }

    /// Requests the vector by which the guest is told of events. Other interrupts are lost on a disabled APIC; this
    /// one, as under Xen, comes when the guest enables it: the guest is told once, and would wait for ever.
    pub fn tell(&mut self, vector: Vector) {
        if self.is_enabled() {
            self.accept(vector, Trigger::Edge);
        } else {
            self.upcall = Some(vector);
        }
    }

    /// The vector to inject next: the highest requested one, if the processor priority lets it through.
    #[must_use]
    pub fn highest_pending(&self) -> Option<Vector> {
        let vector = self.highest_requested()?;
        (vector.raw() >> 4 > self.processor_priority() >> 4).then_some(vector)
    }

    /// The highest requested vector, whatever the priority: what a TPR threshold is computed from.
    #[must_use]
    pub fn highest_requested(&self) -> Option<Vector> {
        if self.is_enabled() {
            self.requested.highest()
        } else {
            None
        }
    }

    /// The processor has taken the vector: it moves from requested to in service.
    /// Says whether it had been requested; if not, nothing changes.
    pub fn acknowledge(&mut self, vector: Vector) -> bool {
        self.requested.remove(vector) && {
            self.in_service.insert(vector);
            true
        }
    }

    /// The processor priority register (SDM vol. 3 §10.8.3.1).
    #[must_use]
    pub fn processor_priority(&self) -> u8 {
        let served = self.in_service.highest().map_or(0, |vector| vector.raw() & 0xf0);
        if self.task_priority & 0xf0 >= served {
            self.task_priority
        } else {
            served
        }
    }

    /// CR8: the class of the task priority.
    #[must_use]
    pub const fn cr8(&self) -> u64 {
        (self.task_priority >> 4) as u64
    }

    /// Writes CR8.
    ///
    /// # Errors
    /// #GP above 15.
    pub fn set_cr8(&mut self, value: u64) -> Result<(), Exception> {
        match u8::try_from(value) {
            Ok(class) if class < 16 => {
                self.task_priority = class << 4;
                Ok(())
            }
            _ => Err(Exception::GP),
        }
    }

    /// MSR 0x6e0.
    #[must_use]
    pub fn tsc_deadline(&self, now: Instant) -> u64 {
        self.timer.tsc_deadline(self.timer_mode(), now)
    }

    /// Writes MSR 0x6e0. `scale` is that of the guest's TSC; ignored unless the timer is in that mode.
    pub fn set_tsc_deadline(&mut self, ticks: u64, scale: &TimeScale) {
        self.timer.set_tsc_deadline(self.timer_mode(), ticks, scale);
    }

    /// Moves the timer to `now`; says whether that requested a new vector.
    pub fn tick(&mut self, now: Instant) -> bool {
        if !self.base.is_enabled() || !self.timer.expire(self.timer_mode(), now) {
            return false;
        }
        let lvt = self.lvt(Lvt::Timer);
        lvt & MASKED == 0 && self.accept(vector_of(lvt), Trigger::Edge)
    }

    /// When [`LocalApic::tick`] is due; `None` while the timer has nothing to interrupt for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.is_enabled() || self.lvt(Lvt::Timer) & MASKED != 0 {
            return None;
        }
        self.timer.next_deadline(self.timer_mode())
    }

    /// Whether an interrupt between processors means this one too.
    #[must_use]
    pub fn is_addressed(&self, ipi: &Ipi) -> bool {
        if !self.base.is_enabled() {
            return false;
        }
        match ipi.to {
            IpiTarget::All => true,
            IpiTarget::Others => ipi.from != self.vcpu,
            IpiTarget::Physical(id) => id == self.id(),
            IpiTarget::Logical(to) if self.base.is_x2apic() => {
                let own = x2apic_logical(self.id());
                to == u32::MAX || (to >> 16 == own >> 16 && to & own & 0xffff != 0)
            }
            IpiTarget::Logical(to) => {
                let own = self.logical >> 24;
                match self.format >> 28 {
                    // Flat: one bit a processor. Cluster: a cluster number above, four bits below.
                    0xf => to & own & 0xff != 0,
                    0 => (to >> 4 == own >> 4 || to >> 4 == 0xf) && to & own & 0xf != 0,
                    _ => false,
                }
            }
        }
    }

    fn timer_mode(&self) -> Mode {
        Mode::of(self.lvt(Lvt::Timer))
    }

    /// Notes an error, and interrupts for it if the guest wants that.
    fn error(&mut self, bits: u32) {
        let new = bits & !self.errors;
        self.errors |= bits;
        let lvt = self.lvt(Lvt::Error);
        // An error vector that is itself illegal is noted, not delivered: it would call itself for ever.
        if new != 0 && lvt & MASKED == 0 && self.is_enabled() {
            if vector_of(lvt).raw() < 16 {
                self.errors |= RECEIVE_ILLEGAL;
            } else {
                self.accept(vector_of(lvt), Trigger::Edge);
            }
        }
    }

    /// End of interrupt: the highest vector in service is finished.
    fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service.highest() else {
            return Effect::Nothing;
        };
        self.in_service.remove(vector);
        if self.level.remove(vector) {
            Effect::LevelEnded(vector)
        } else {
            Effect::Nothing
        }
    }

    /// Does what the command register says; what concerns the sender alone is done at once.
    fn send(&mut self, low: u32, to: u32) -> Effect {
        match ipi::decode(low, to, self.base.is_x2apic()) {
            Command::Send(to, kind) => Effect::Send(Ipi {
                from: self.vcpu,
                to,
                kind,
            }),
            Command::Own(vector) => {
                self.accept(vector, Trigger::Edge);
                Effect::Nothing
            }
            Command::OwnNmi => Effect::Send(Ipi {
                from: self.vcpu,
                to: IpiTarget::Physical(self.id()),
                kind: IpiKind::Nmi,
            }),
            Command::IllegalVector => {
                self.error(SEND_ILLEGAL);
                Effect::Nothing
            }
            Command::Nothing => Effect::Nothing,
        }
    }
}

/// The APIC id of a vcpu: even numbers only, as Xen gives them, so that no guest sees sibling threads.
#[must_use]
pub const fn apic_id(vcpu: VcpuId) -> u32 {
    vcpu.raw().wrapping_mul(2)
}

/// The logical id of an x2APIC: its cluster of sixteen above, one bit within it below.
const fn x2apic_logical(id: u32) -> u32 {
    ((id >> 4) << 16) | (1 << (id & 0xf))
}

fn vector_of(register: u32) -> Vector {
    let [vector, ..] = register.to_le_bytes();
    Vector::new(vector)
}
