//! A domain's ports: one table, one lock, one of two ways to tell the guest.
//!
//! Lock: [`Rank::Ports`](crate::lock::Rank::Ports), one per domain, held for every change of a binding and for every
//! delivery. So a delivery sees the binding it acts on, and closing waits for deliveries. Two domains' locks are taken
//! by [`lock_pair`](crate::lock::lock_pair) alone, to bind and to close; a send takes one at a time.
//!
//! Words shared with the guest are written under the lock. They are in frames that are held, so that nothing else has
//! to be locked for it; and they are only written: what a guest puts there decides nothing but what *it* is told.
//!
//! It must never allocate with the lock held, and never believe a word of the guest.

use alloc::vec::Vec;

use crate::lock::{Rank, Ranked};
use crate::machine::Width;
use crate::memory::room::{self, OutOfMemory};
use crate::number::{DomainId, Port, VcpuId};
use crate::service::ServiceId;

use super::channel::{Binding, Channel};
use super::fifo::Fifo;
use super::pirq::Pirqs;
use super::poll::Poll;
use super::table::{Bucket, Table};
use super::two_level;
use super::upcall::{Endpoint, Upcalls};
use super::virq::Virq;

/// Ports that Xen's toolstack allows a guest unless told otherwise, port 0 included.
pub const DEFAULT_LIMIT: u32 = 1024;

/// How a domain's guest is told of events.
pub(super) enum Layout {
    /// Bitmaps in the shared info page.
    TwoLevel,
    /// Event words in queues.
    Fifo(Fifo),
}

/// What ports know about each vcpu.
pub(super) struct VcpuPorts {
    /// The port of each virtual interrupt it has bound. Global ones are with vcpu 0.
    pub(super) virqs: [Option<Port>; Virq::COUNT],
    /// Whether it sleeps until a port becomes pending.
    pub(super) poll: Poll,
}

/// The ports of one domain.
pub struct Ports {
    pub(super) table: Table,
    pub(super) vcpus: Vec<VcpuPorts>,
    /// The ports of physical interrupts.
    pub(super) pirqs: Pirqs,
    pub(super) layout: Layout,
    /// How many vcpus poll now.
    pub(super) polling: u32,
    /// How far a reset has come; the port it goes on with. 0 when there is none.
    pub(super) resetting: u32,
    limit: u32,
    /// Every port below is open (or port 0): where to look for one that is free.
    look_from: u32,
    open: u32,
    dying: bool,
}

/// Why there is no port to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoPort {
    /// All the domain may have are in use, or as many as its way of delivery can name.
    OutOfPorts,
    /// The hypervisor's heap has no room.
    OutOfMemory,
    /// The domain is being destroyed.
    Dying,
}

impl From<OutOfMemory> for NoPort {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// Why one attempt at an operation that needs a port ended.
pub(super) enum Attempt<X> {
    /// The table has to grow first.
    NeedsRoom,
    /// The operation is refused.
    Refused(X),
}

impl<X> From<X> for Attempt<X> {
    fn from(refused: X) -> Self {
        Self::Refused(refused)
    }
}

impl Ports {
    /// The ports of a new domain: none yet, told of in the 2-level way.
    ///
    /// `limit` is how many it may have, port 0 included; `vcpus` how many vcpus it can ever have.
    ///
    /// # Errors
    /// When the heap has no room.
    pub fn new(limit: u32, vcpus: u32) -> Result<Ranked<Self>, OutOfMemory> {
        let limit = limit.min(Fifo::PORTS);
        let count = usize::try_from(vcpus).map_err(|_| OutOfMemory)?;
        Ok(Ranked::new(
            Rank::Ports,
            Self {
                table: Table::new(limit)?,
                vcpus: room::filled(count, || VcpuPorts {
                    virqs: [None; Virq::COUNT],
                    poll: Poll::No,
                })?,
                pirqs: Pirqs::default(),
                layout: Layout::TwoLevel,
                polling: 0,
                resetting: 0,
                limit,
                look_from: 1,
                open: 0,
                dying: false,
            },
        ))
    }

    /// How many ports are open.
    #[must_use]
    pub const fn open(&self) -> u32 {
        self.open
    }

    /// Bytes of the heap they take.
    #[must_use]
    pub(crate) fn heap_bytes(&self) -> usize {
        let vcpus = self.vcpus.capacity().saturating_mul(size_of::<VcpuPorts>());
        let layout = match &self.layout {
            Layout::TwoLevel => 0,
            Layout::Fifo(fifo) => fifo.heap_bytes(),
        };
        self.table
            .heap_bytes()
            .saturating_add(vcpus)
            .saturating_add(layout)
    }

    /// Whether the guest is told in the FIFO way.
    #[must_use]
    pub const fn is_fifo(&self) -> bool {
        matches!(self.layout, Layout::Fifo(_))
    }

    /// Whether there has ever been such a port: open, or closed.
    #[must_use]
    pub fn is_valid(&self, port: Port) -> bool {
        port.raw() < self.table.valid()
    }

    /// No port is opened from now on: the domain is being destroyed.
    pub const fn retire(&mut self) {
        self.dying = true;
    }

    pub(super) fn vcpu(&self, vcpu: VcpuId) -> Option<&VcpuPorts> {
        self.vcpus.get(usize::try_from(vcpu.raw()).ok()?)
    }

    pub(super) fn vcpu_mut(&mut self, vcpu: VcpuId) -> Option<&mut VcpuPorts> {
        self.vcpus.get_mut(usize::try_from(vcpu.raw()).ok()?)
    }

    /// What a port is bound to; `Free` where there is none.
    pub(super) fn binding(&self, port: Port) -> Binding {
        self.table
            .get(port)
            .map_or(Binding::Free, |channel| channel.binding)
    }

    /// The channel of an open port.
    pub(super) fn open_mut(&mut self, port: Port) -> Option<&mut Channel> {
        self.table
            .get_mut(port)
            .filter(|channel| channel.binding.is_open())
    }

    /// How many ports the guest can be told of.
    pub(super) const fn most(&self, width: Width) -> u32 {
        let nameable = match self.layout {
            Layout::TwoLevel => two_level::ports(width),
            Layout::Fifo(_) => Fifo::PORTS,
        };
        if nameable < self.limit {
            nameable
        } else {
            self.limit
        }
    }

    /// The lowest free port. One that the guest has yet to take off a FIFO queue is not free: a new event on it could
    /// not be told from an old one.
    pub(super) fn lowest_free<X: From<NoPort>>(&mut self, upcalls: &dyn Upcalls) -> Result<Port, Attempt<X>> {
        if self.dying {
            return Err(X::from(NoPort::Dying).into());
        }
        let most = self.most(upcalls.width());
        let mut all_open_so_far = true;
        for raw in self.look_from..most.min(self.table.valid()) {
            let port = Port::new(raw);
            let busy = match &self.layout {
                Layout::TwoLevel => false,
                Layout::Fifo(fifo) => fifo.is_busy(upcalls, port),
            };
            let free = self.binding(port) == Binding::Free;
            if free && !busy {
                return Ok(port);
            }
            if free {
                all_open_so_far = false;
            } else if all_open_so_far {
                self.look_from = raw + 1;
            }
        }
        if self.table.valid() < most {
            Err(Attempt::NeedsRoom)
        } else {
            Err(X::from(NoPort::OutOfPorts).into())
        }
    }

    /// Opens a free port.
    pub(super) fn occupy(&mut self, port: Port, binding: Binding, vcpu: VcpuId) {
        let Some(channel) = self.table.get_mut(port) else {
            return;
        };
        channel.open(binding, vcpu);
        self.open += 1;
        if self.look_from == port.raw() {
            self.look_from += 1;
        }
    }

    /// Opens the lowest free port.
    pub(super) fn take<X: From<NoPort>>(
        &mut self,
        upcalls: &dyn Upcalls,
        binding: Binding,
        vcpu: VcpuId,
    ) -> Result<Port, Attempt<X>> {
        let port = self.lowest_free(upcalls)?;
        self.occupy(port, binding, vcpu);
        Ok(port)
    }

    /// Closes an open port. Its events are forgotten, the binding of its interrupt too.
    pub(super) fn give_back(&mut self, upcalls: &dyn Upcalls, port: Port) {
        self.clear_pending(upcalls, port);
        let Some(channel) = self.open_mut(port) else {
            return;
        };
        let (was, vcpu) = (channel.binding, channel.queue.vcpu);
        channel.open(Binding::Free, VcpuId::new(0));
        self.open = self.open.saturating_sub(1);
        self.look_from = self.look_from.min(port.raw());
        match was {
            Binding::Virq(virq) => self.set_virq_port(virq, vcpu, None),
            Binding::Pirq(pirq) => self.pirqs.set(pirq, None),
            _ => {}
        }
    }
}

/// Makes attempts at an operation that needs a port, growing the table in between without the lock.
///
/// It ends: an attempt that needs room again has lost it to another that got a port, and ports are limited.
pub(super) fn with_room<E: Endpoint, R, X: From<NoPort>>(
    end: &E,
    mut attempt: impl FnMut() -> Result<R, Attempt<X>>,
) -> Result<R, X> {
    loop {
        match attempt() {
            Ok(result) => return Ok(result),
            Err(Attempt::Refused(why)) => return Err(why),
            Err(Attempt::NeedsRoom) => {
                let bucket = Bucket::new().map_err(|full| X::from(NoPort::from(full)))?;
                let mut ports = end.ports().lock();
                let unused = ports.table.grow(bucket);
                // The heap is not touched with the lock held, not even to free.
                drop(ports);
                drop(unused);
            }
        }
    }
}

/// Opens a port with this binding on vcpu 0.
pub(super) fn allocate<E: Endpoint>(end: &E, binding: Binding) -> Result<Port, NoPort> {
    with_room(end, || end.ports().lock().take(end, binding, VcpuId::new(0)))
}

/// Opens a port on which `remote` may bind.
///
/// # Errors
/// When there is no port.
pub fn allocate_unbound<E: Endpoint>(end: &E, remote: DomainId) -> Result<Port, NoPort> {
    allocate(end, Binding::Unbound { remote })
}

/// Opens a port whose other end is a service inside the hypervisor; the guest is told that it is `domain`.
///
/// # Errors
/// When there is no port.
pub fn allocate_service<E: Endpoint>(end: &E, service: ServiceId, domain: DomainId) -> Result<Port, NoPort> {
    allocate(end, Binding::Service { service, domain })
}
