//! Events on their way into a guest: what is injected, what waits, and when to ask again.
//!
//! Pure decisions over plain values. The order is the hardware's: an exception that the guest has earned, an event
//! whose delivery an exit cut short, a non-maskable interrupt, the upcall line, the local APIC.
//! Invariant: an interrupt is handed to the guest only when the guest can take it, and whatever stays behind leaves a
//! window open, so that it is looked at as soon as it can be taken. APM vol. 2 §15.20, §15.21; SDM vol. 3 §27.6.

use xenvisor_core::number::Vector;

use crate::guest::exception::Exception;

/// An event that a processor delivers through the guest's interrupt table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An interrupt from outside.
    Interrupt(Vector),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception.
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code, if it pushes one.
        code: Option<u32>,
    },
    /// INT n: the guest's own instruction.
    Software(Vector),
}

impl Event {
    /// What remains to be delivered of an event that an exit interrupted. INT n, INT3 and INTO come again by
    /// themselves: the guest still stands before the instruction.
    #[must_use]
    pub const fn to_deliver_again(self) -> Option<Self> {
        match self {
            Self::Software(_) | Self::Exception { vector: 3 | 4, .. } => None,
            _ => Some(self),
        }
    }
}

impl From<Exception> for Event {
    fn from(exception: Exception) -> Self {
        Self::Exception {
            vector: exception.vector().raw(),
            code: exception.error_code(),
        }
    }
}

/// What waits for the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waiting {
    /// An exception it has earned: delivered at once.
    pub exception: Option<Event>,
    /// An interrupt whose delivery was cut short: the APIC has handed it over already.
    pub interrupted: Option<Event>,
    /// A non-maskable interrupt.
    pub nmi: bool,
    /// The upcall line is set: this vector, whatever the APIC's priorities.
    pub upcall: Option<Vector>,
    /// The APIC's next vector by its own priorities.
    pub apic: Option<Vector>,
    /// The APIC's highest vector, whatever the priorities.
    pub apic_requested: Option<Vector>,
}

/// What the guest can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Openness {
    /// RFLAGS.IF.
    pub interrupts_enabled: bool,
    /// The instruction behind STI, MOV SS or POP SS.
    pub in_shadow: bool,
    /// A non-maskable interrupt is being handled.
    pub nmi_blocked: bool,
}

/// Where the event to inject comes from: its source has to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The exception slot.
    Exception,
    /// The interrupted slot.
    Interrupted,
    /// The non-maskable interrupt.
    Nmi,
    /// The upcall line, which is thereby used up.
    Upcall,
    /// The local APIC, which has to acknowledge this vector.
    Apic(Vector),
}

/// A request to be told when the guest can take an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Once interrupts are enabled.
    Open,
    /// Once interrupts are enabled and the task priority has fallen below this class.
    AbovePriority(u8),
}

/// What to do at this entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// What to inject, and from where.
    pub inject: Option<(Event, Source)>,
    /// What to be told of.
    pub window: Option<Window>,
    /// A non-maskable interrupt stays behind: to be told when the guest can take one.
    pub nmi_window: bool,
}

impl Plan {
    /// The plan for what waits and what the guest can take.
    #[must_use]
    pub fn make(waiting: &Waiting, open: Openness) -> Self {
        let open_to_interrupts = open.interrupts_enabled && !open.in_shadow;
        let mut plan = Self::default();
        let mut interrupts = waiting.interrupts();
        if let Some(event) = waiting.exception {
            plan.inject = Some((event, Source::Exception));
        } else if let Some(event) = waiting.interrupted.filter(|event| can_take(*event, open)) {
            plan.inject = Some((event, Source::Interrupted));
            interrupts.skip_interrupted();
        } else if waiting.nmi && !open.nmi_blocked && !open.in_shadow {
            plan.inject = Some((Event::Nmi, Source::Nmi));
        } else if open_to_interrupts && let Some((vector, source)) = interrupts.next() {
            plan.inject = Some((Event::Interrupt(vector), source));
        }
        plan.window = interrupts.window();
        plan.nmi_window = waiting.nmi && !matches!(plan.inject, Some((_, Source::Nmi)));
        plan
    }
}

/// Whether an event whose delivery was cut short can be delivered now. It could when it began, but an exception may
/// have come in between.
const fn can_take(event: Event, open: Openness) -> bool {
    match event {
        Event::Interrupt(_) => open.interrupts_enabled && !open.in_shadow,
        Event::Nmi => !open.in_shadow,
        Event::Exception { .. } | Event::Software(_) => true,
    }
}

impl Waiting {
    /// Whether anything waits that would wake the vcpu from a halt, given what it can take.
    #[must_use]
    pub fn would_wake(&self, open: Openness) -> bool {
        self.exception.is_some()
            || self.interrupted.is_some()
            || (self.nmi && !open.nmi_blocked)
            || (open.interrupts_enabled && (self.upcall.is_some() || self.apic.is_some()))
    }

    const fn interrupts(&self) -> Interrupts {
        Interrupts {
            interrupted: matches!(self.interrupted, Some(Event::Interrupt(_))),
            upcall: self.upcall,
            apic: self.apic,
            apic_requested: self.apic_requested,
        }
    }
}

/// The maskable ones, as they are used up.
struct Interrupts {
    interrupted: bool,
    upcall: Option<Vector>,
    apic: Option<Vector>,
    apic_requested: Option<Vector>,
}

impl Interrupts {
    const fn skip_interrupted(&mut self) {
        self.interrupted = false;
    }

    /// Takes the next one to inject. The upcall line counts once: whoever set it looks again before the next run.
    fn next(&mut self) -> Option<(Vector, Source)> {
        if let Some(vector) = self.upcall.take() {
            return Some((vector, Source::Upcall));
        }
        let vector = self.apic.take()?;
        if self.apic_requested == Some(vector) {
            self.apic_requested = None;
        }
        Some((vector, Source::Apic(vector)))
    }

    /// The window that what is left over needs.
    fn window(&self) -> Option<Window> {
        if self.interrupted || self.upcall.is_some() || self.apic.is_some() {
            return Some(Window::Open);
        }
        // Blocked by the task priority alone, perhaps: the guest lowers that without telling anybody.
        self.apic_requested
            .map(|vector| Window::AbovePriority(vector.raw() >> 4))
    }
}

#[cfg(test)]
mod tests;
