//! Guests' consoles: the ring of each guest on one side, the console of the machine on the other.
//!
//! With one guest, bytes pass as they are, both ways. With several, each line of output begins with its guest's name,
//! and input goes to one guest, the first, until Ctrl-A is typed three times: then to the next.
//!
//! Lock: [`Rank::Output`], for the list of guests and the input that waits; never held while a guest's memory is
//! touched.

mod ring;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use xenvisor_core::domain::Domain;
use xenvisor_core::domain::params::Index;
use xenvisor_core::event;
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::lock::{Rank, Ranked};
use xenvisor_core::number::{DomainId, Port};
use xenvisor_core::sched::OutOfMemory;
use xenvisor_core::service::{Service, ServiceId};

use ring::Ring;

/// Ctrl-A: three in a row move the input to the next guest.
const SWITCH: u8 = 1;
const SWITCH_COUNT: u8 = 3;
/// Input that waits for a guest which does not read.
const WAITING: usize = 256;
/// Who the guest is told is at the other end: the control domain, as under real Xen.
const OTHER_END: DomainId = DomainId::new(0);

/// The service.
pub struct Consoles {
    inner: Ranked<Inner>,
}

struct Inner {
    guests: Vec<Attached>,
    /// There have been several guests at once: from then on, output says whose it is.
    several: bool,
    /// Whose input it is, as a place in the list.
    focus: usize,
    switches: u8,
    waiting: heapless::Deque<u8, WAITING>,
}

struct Attached {
    domain: Arc<Domain>,
    name: String,
    port: Port,
    me: ServiceId,
    /// The guest is in the middle of a line.
    in_line: bool,
}

impl Default for Consoles {
    fn default() -> Self {
        Self::new()
    }
}

impl Consoles {
    /// No guests yet.
    #[must_use]
    pub const fn new() -> Self {
        let inner = Inner {
            guests: Vec::new(),
            several: false,
            focus: 0,
            switches: 0,
            waiting: heapless::Deque::new(),
        };
        Self {
            inner: Ranked::new(Rank::Output, inner),
        }
    }

    /// Takes what the guest has written and shows it.
    fn drain(&self, hypervisor: &Hypervisor, domain: &Arc<Domain>) -> bool {
        let ring = Ring::new(domain);
        let mut piece = [0; ring::PIECE];
        let mut any = false;
        // A guest that writes while it is read is read again at its next event; here one ring full is enough.
        for _ in 0..ring::OUTPUT_BYTES / ring::PIECE {
            let bytes = ring.take_output(&mut piece);
            if bytes.is_empty() {
                break;
            }
            any = true;
            self.inner.lock().show(hypervisor, domain.id, bytes);
        }
        any
    }
}

impl Inner {
    /// Shows a guest's bytes; among several guests, with its name before each line.
    fn show(&mut self, hypervisor: &Hypervisor, id: DomainId, bytes: &[u8]) {
        self.several |= self.guests.len() > 1;
        let Some(guest) = self.guests.iter_mut().find(|guest| guest.domain.id == id) else {
            return;
        };
        if !self.several {
            return hypervisor.machine.console_write(bytes);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !guest.in_line {
                hypervisor.machine.console_write(b"[");
                hypervisor.machine.console_write(guest.name.as_bytes());
                hypervisor.machine.console_write(b"] ");
            }
            hypervisor.machine.console_write(line);
            guest.in_line = !line.ends_with(b"\n");
        }
    }

    /// A byte was typed: it waits for the guest that has the input, or is one of three that move the input on.
    fn typed(&mut self, byte: u8) {
        if byte == SWITCH && self.guests.len() > 1 {
            self.switches = self.switches.saturating_add(1);
            if self.switches == SWITCH_COUNT {
                self.switches = 0;
                self.focus = self
                    .focus
                    .saturating_add(1)
                    .checked_rem(self.guests.len())
                    .unwrap_or(0);
            }
            return;
        }
        // Fewer than three were meant for the guest.
        for _ in 0..core::mem::take(&mut self.switches) {
            let _full = self.waiting.push_back(SWITCH);
        }
        let _full = self.waiting.push_back(byte);
    }
}

impl Service for Consoles {
    fn name(&self) -> &'static str {
        "console"
    }

    fn attach(
        &self,
        _hypervisor: &Hypervisor,
        domain: &Arc<Domain>,
        me: ServiceId,
    ) -> Result<(), OutOfMemory> {
        let port = event::allocate_service(domain.as_ref(), me, OTHER_END).map_err(|_| OutOfMemory)?;
        domain
            .settings
            .lock()
            .params
            .set(Index::CONSOLE_EVTCHN, u64::from(port.raw()));
        let mut inner = self.inner.lock();
        inner.guests.try_reserve(1).map_err(|_| OutOfMemory)?;
        let name = domain.name.clone();
        inner.guests.push(Attached {
            domain: domain.clone(),
            name,
            port,
            me,
            in_line: false,
        });
        Ok(())
    }

    fn notified(&self, hypervisor: &Hypervisor, domain: &Arc<Domain>, _port: Port) {
        if self.drain(hypervisor, domain) {
            let attached = self.inner.lock().of(domain.id);
            if let Some((port, me)) = attached {
                // There is room again, and perhaps the guest waits for it.
                event::raise(domain.as_ref(), port, me);
            }
        }
    }

    fn poll(&self, hypervisor: &Hypervisor) {
        let mut inner = self.inner.lock();
        while !inner.waiting.is_full()
            && let Some(byte) = hypervisor.machine.console_read()
        {
            inner.typed(byte);
        }
        if inner.waiting.is_empty() {
            return;
        }
        let Some(guest) = inner.guests.get(inner.focus) else {
            return;
        };
        let (domain, port, me) = (guest.domain.clone(), guest.port, guest.me);
        // The bytes leave the queue only when the guest has them; no lock is held while its memory is written.
        let mut piece = heapless::Vec::<u8, WAITING>::new();
        piece.extend(inner.waiting.iter().copied());
        drop(inner);
        let taken = Ring::new(&domain).give_input(&piece);
        let mut inner = self.inner.lock();
        for _ in 0..taken {
            inner.waiting.pop_front();
        }
        drop(inner);
        if taken > 0 {
            event::raise(domain.as_ref(), port, me);
        }
    }

    fn detach(&self, hypervisor: &Hypervisor, domain: &Arc<Domain>) {
        // Its last words.
        self.drain(hypervisor, domain);
        let mut inner = self.inner.lock();
        let Some(at) = inner.guests.iter().position(|guest| guest.domain.id == domain.id) else {
            return;
        };
        let guest = inner.guests.remove(at);
        if guest.in_line && !inner.guests.is_empty() {
            hypervisor.machine.console_write(b"\r\n");
        }
        if inner.focus > at || inner.focus >= inner.guests.len() {
            inner.focus = inner.focus.saturating_sub(1);
        }
        // The last hold on a domain takes it apart, which takes locks of lower ranks.
        drop(inner);
        drop(guest);
    }
}

impl Inner {
    fn of(&self, id: DomainId) -> Option<(Port, ServiceId)> {
        self.guests
            .iter()
            .find(|guest| guest.domain.id == id)
            .map(|guest| (guest.port, guest.me))
    }
}
