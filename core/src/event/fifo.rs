//! The FIFO way: an event word per port, and per vcpu one queue of them for each priority (public header
//! `event_channel.h`).
//!
//! A queue is a list through the LINK fields of event words. Its head is in the vcpu's *control block*, from where the
//! guest takes ports; its tail is known here alone. A port is put on a queue when it is pending, unmasked and not
//! LINKED: behind the tail if the tail still is LINKED, else as the new head, because then the guest has emptied the
//! queue. A port leaves its queue only by the guest's hand, so one that is given another vcpu or priority meanwhile
//! goes to its new queue with its next event.
//!
//! Every word is the guest's to overwrite. So: LINK fields and heads are written and never read; which port is the
//! tail, and which queue a port was on last, is remembered in private; the one operation that must see a word unchanged
//! (linking behind a tail) tries a fixed number of times. A guest that scribbles loses its own events and nothing else.

use alloc::vec::Vec;

use crate::memory::guest_page::GuestPage;
use crate::memory::room::{self, OutOfMemory};
use crate::number::{MachineAddr, Port, VcpuId};

use super::channel::{Channel, Priority, QueueName};
use super::upcall::{self, Upcalls};
use super::words::{self, Bits};

/// Event word: an event is pending.
const PENDING: u32 = 1 << 31;
/// Event word: the port is masked.
const MASKED: u32 = 1 << 30;
/// Event word: the port is on a queue.
const LINKED: u32 = 1 << 29;
/// Event word: the guest must leave it alone for a moment.
const BUSY: u32 = 1 << 28;
/// How many low bits of an event word name the next port of the queue.
pub(super) const LINK_BITS: u8 = 17;
const LINK: u32 = (1 << LINK_BITS) - 1;

/// Event words in a page.
pub(super) const WORDS: u32 = 1024;
/// Pages of event words there can be.
pub(super) const PAGES: usize = 128;
/// Bytes of a control block: the ready bits, a reserved word, 16 heads.
pub(super) const CONTROL_BYTES: u32 = 72;
const HEADS: u64 = 8;

/// How often linking behind a tail is tried while the guest changes the tail's word.
const ATTEMPTS: u32 = 5;

/// A vcpu's queues.
#[derive(Default)]
struct Queues {
    /// The page and the address of the control block, once the guest has given it.
    control: Option<(GuestPage, MachineAddr)>,
    /// The last port of each queue; 0 when nothing is known to be on it.
    tails: [u32; Priority::COUNT],
}

impl Queues {
    fn tail(&mut self, priority: Priority) -> Option<&mut u32> {
        self.tails.get_mut(usize::from(priority.raw()))
    }
}

/// Event words and queues of one domain.
pub(super) struct Fifo {
    pages: Vec<GuestPage>,
    queues: Vec<Queues>,
}

impl Fifo {
    /// How many ports there can be: as many as a LINK field can name.
    pub(super) const PORTS: u32 = LINK + 1;

    /// No event words and no control blocks yet. Made without any lock held.
    pub(super) fn new(vcpus: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            pages: room::vec(PAGES)?,
            queues: room::filled(vcpus, Queues::default)?,
        })
    }

    /// Bytes of the heap it takes. Pages are the guest's own.
    pub(super) fn heap_bytes(&self) -> usize {
        let pages = self.pages.capacity().saturating_mul(size_of::<GuestPage>());
        let queues = self.queues.capacity().saturating_mul(size_of::<Queues>());
        pages.saturating_add(queues)
    }

    fn queues(&mut self, vcpu: VcpuId) -> Option<&mut Queues> {
        self.queues.get_mut(usize::try_from(vcpu.raw()).ok()?)
    }

    /// How many ports have event words.
    pub(super) fn covered(&self) -> u32 {
        u32::try_from(self.pages.len()).map_or(0, |pages| pages.saturating_mul(WORDS))
    }

    /// Whether there can be no more pages.
    pub(super) fn is_full(&self) -> bool {
        self.pages.len() >= PAGES
    }

    /// Adds a page of event words; gives it back if there can be no more.
    pub(super) fn add_page(&mut self, page: GuestPage) -> Result<(), GuestPage> {
        if self.is_full() {
            return Err(page);
        }
        // Within the capacity asked for at the beginning: nothing is allocated here.
        self.pages.push(page);
        Ok(())
    }

    /// Gives a vcpu its control block, `offset` bytes into the page: a multiple of 8 that leaves room for it.
    /// Once only; afterwards, the page comes back.
    pub(super) fn set_control(
        &mut self,
        vcpu: VcpuId,
        page: GuestPage,
        offset: u32,
    ) -> Result<(), GuestPage> {
        match self.queues(vcpu) {
            Some(queues) if queues.control.is_none() => {
                let at = page.address(u64::from(offset));
                queues.control = Some((page, at));
                Ok(())
            }
            _ => Err(page),
        }
    }

    fn word(&self, port: Port) -> Option<MachineAddr> {
        let page = self.pages.get((port.raw() / WORDS) as usize)?;
        Some(page.address(u64::from(port.raw() % WORDS) * 4))
    }

    /// Whether the guest has yet to take the port off a queue.
    pub(super) fn is_busy(&self, upcalls: &dyn Upcalls, port: Port) -> bool {
        self.word(port)
            .is_some_and(|word| words::read(upcalls.memory(), word) & LINKED != 0)
    }

    /// Whether the port is pending, masked or not. One without an event word is not: nothing could clear it.
    pub(super) fn is_pending(&self, upcalls: &dyn Upcalls, port: Port) -> bool {
        self.word(port)
            .is_some_and(|word| words::read(upcalls.memory(), word) & PENDING != 0)
    }

    /// Forgets an event. The port stays on its queue: only the guest takes it off.
    pub(super) fn clear_pending(&self, upcalls: &dyn Upcalls, port: Port, channel: &mut Channel) {
        channel.unseen = false;
        if let Some(word) = self.word(port) {
            words::clear_bits(upcalls.memory(), word, PENDING);
        }
    }

    /// Makes a port pending; `true` if it was not. Without an event word it is remembered until there is one.
    pub(super) fn set_pending(&mut self, upcalls: &dyn Upcalls, port: Port, channel: &mut Channel) -> bool {
        let Some(word) = self.word(port) else {
            channel.unseen = true;
            return false;
        };
        channel.unseen = false;
        let was = words::set_bits(upcalls.memory(), word, PENDING);
        self.enqueue(upcalls, port, word, channel);
        was & PENDING == 0
    }

    /// Clears the mask of a port; if it is pending, the guest is told now.
    pub(super) fn unmask(&mut self, upcalls: &dyn Upcalls, port: Port, channel: &mut Channel) {
        if let Some(word) = self.word(port)
            && words::clear_bits(upcalls.memory(), word, MASKED) & PENDING != 0
        {
            self.enqueue(upcalls, port, word, channel);
        }
    }

    /// Puts a pending port on its queue, unless it is masked or on a queue already.
    fn enqueue(&mut self, upcalls: &dyn Upcalls, port: Port, word: MachineAddr, channel: &mut Channel) {
        let memory = upcalls.memory();
        let QueueName { vcpu, priority } = channel.queue;
        // A guest must not unmask what goes to a vcpu without a control block; the port stays pending, off any queue.
        let Some(control) = self
            .queues(vcpu)
            .and_then(|queues| queues.control.as_ref())
            .map(|&(_, at)| at)
        else {
            return;
        };
        if words::read(memory, word) & MASKED != 0 || words::set_bits(memory, word, LINKED) & LINKED != 0 {
            return;
        }
        // The guest had taken the port off its last queue. Was it the tail there, then that queue is empty; and its
        // word, LINKED again from here on, must not be taken for a tail.
        let last = channel.last;
        if let Some(tail) = self
            .queues(last.vcpu)
            .and_then(|queues| queues.tail(last.priority))
            && *tail == port.raw()
        {
            *tail = 0;
        }
        channel.last = channel.queue;
        let Some(tail) = self.queues(vcpu).and_then(|queues| queues.tail(priority)) else {
            return;
        };
        let before = Port::new(*tail);
        *tail = port.raw();
        let linked = match self.word(before) {
            Some(tail) if before != Port::new(0) => link(upcalls, tail, port),
            _ => Linked::TailIsOff,
        };
        match linked {
            Linked::Behind => {}
            Linked::TailIsOff => {
                let head = MachineAddr::new(control.raw() + HEADS + u64::from(priority.raw()) * 4);
                memory.write(head, &port.raw().to_le_bytes());
                if !Bits::new(memory, control).set(u32::from(priority.raw())) {
                    upcall::mark(upcalls, vcpu);
                }
            }
            Linked::GaveUp => {
                words::clear_bits(memory, word, LINKED);
                if let Some(tail) = self.queues(vcpu).and_then(|queues| queues.tail(priority)) {
                    *tail = before.raw();
                }
            }
        }
    }
}

/// What became of linking a port behind a tail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linked {
    /// It is the new tail.
    Behind,
    /// The guest has taken the tail off: the queue is empty.
    TailIsOff,
    /// The guest did not leave the tail alone.
    GaveUp,
}

/// Links a port behind a tail.
///
/// A guest that takes the tail off its queue, or masks it, changes the word once; after BUSY has been set it waits.
/// One that goes on changing it breaks the protocol: then the port stays pending, off any queue, until its next event.
fn link(upcalls: &dyn Upcalls, tail: MachineAddr, next: Port) -> Linked {
    let memory = upcalls.memory();
    let mut word = words::read(memory, tail);
    for attempt in 0..ATTEMPTS {
        if word & LINKED == 0 {
            if attempt > 0 {
                words::clear_bits(memory, tail, BUSY);
            }
            return Linked::TailIsOff;
        }
        let linked = word & !(BUSY | LINK) | next.raw() & LINK;
        match memory.compare_exchange_32(tail, word, linked) {
            Ok(_) => return Linked::Behind,
            Err(_) => word = words::set_bits(memory, tail, BUSY) | BUSY,
        }
    }
    words::clear_bits(memory, tail, BUSY);
    Linked::GaveUp
}
