//! The guest sets up the FIFO way: control blocks, event words, priorities.
//!
//! The first control block turns the domain to the FIFO way. Events that are pending then are carried over: they show
//! as soon as there is an event word for their port.

use crate::memory::guest_page::GuestPage;
use crate::memory::room::OutOfMemory;
use crate::number::{FRAME_SIZE, Port, VcpuId};

use super::channel::Priority;
use super::deliver::NoSuchPort;
use super::fifo::{CONTROL_BYTES, Fifo, LINK_BITS};
use super::ports::{Layout, Ports};
use super::two_level;
use super::upcall::{Endpoint, Upcalls};

/// Why a vcpu did not get its control block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitControlError<X> {
    /// The domain has no such vcpu.
    NoSuchVcpu(VcpuId),
    /// The block would not be aligned to 8 bytes, or not lie in one page.
    BadOffset(u32),
    /// The vcpu has one.
    AlreadyHasOne(VcpuId),
    /// The page could not be held.
    BadPage(X),
    /// The hypervisor's heap has no room.
    OutOfMemory,
}

impl<X> From<OutOfMemory> for InitControlError<X> {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// Gives a vcpu its control block, `offset` bytes into the page that `hold` holds. The answer is how many bits of an
/// event word name the next port.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn init_control<E: Endpoint, X>(
    end: &E,
    vcpu: VcpuId,
    offset: u32,
    hold: impl FnOnce() -> Result<GuestPage, X>,
) -> Result<u8, InitControlError<X>> {
    let vcpus = {
        let ports = end.ports().lock();
        if ports.vcpu(vcpu).is_none() {
            return Err(InitControlError::NoSuchVcpu(vcpu));
        }
        ports.vcpus.len()
    };
    if !offset.is_multiple_of(8) || u64::from(offset) + u64::from(CONTROL_BYTES) > FRAME_SIZE {
        return Err(InitControlError::BadOffset(offset));
    }
    // Everything that can fail or allocate comes before the lock, even if it turns out not to be needed.
    let mut fresh = Fifo::new(vcpus)?;
    let page = hold().map_err(InitControlError::BadPage)?;

    let mut ports = end.ports().lock();
    let (refused, unused) = match &mut ports.layout {
        Layout::Fifo(fifo) => (fifo.set_control(vcpu, page, offset).err(), Some(fresh)),
        Layout::TwoLevel => {
            let refused = fresh.set_control(vcpu, page, offset).err();
            ports.carry_over(end);
            ports.layout = Layout::Fifo(fresh);
            (refused, None)
        }
    };
    drop(ports);
    drop(unused);
    match refused {
        Some(_page) => Err(InitControlError::AlreadyHasOne(vcpu)),
        None => Ok(LINK_BITS),
    }
}

/// Why there is no further page of event words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpandArrayError<X> {
    /// The domain is told in the 2-level way.
    NotFifo,
    /// There is a word for every port there can be.
    Full,
    /// The page could not be held.
    BadPage(X),
}

/// Adds the page that `hold` holds to the event words: 1024 more. Ports among them that are pending show at once.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn expand_array<E: Endpoint, X>(
    end: &E,
    hold: impl FnOnce() -> Result<GuestPage, X>,
) -> Result<(), ExpandArrayError<X>> {
    match &end.ports().lock().layout {
        Layout::TwoLevel => return Err(ExpandArrayError::NotFifo),
        Layout::Fifo(fifo) if fifo.is_full() => return Err(ExpandArrayError::Full),
        Layout::Fifo(_) => {}
    }
    let page = hold().map_err(ExpandArrayError::BadPage)?;
    // What was found above may have changed: only what is found now counts.
    let mut ports = end.ports().lock();
    let Layout::Fifo(fifo) = &mut ports.layout else {
        return Err(ExpandArrayError::NotFifo);
    };
    let first = fifo.covered();
    if fifo.add_page(page).is_err() {
        return Err(ExpandArrayError::Full);
    }
    let until = fifo.covered();
    ports.show(end, first, until);
    Ok(())
}

/// Why a port keeps its priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetPriorityError {
    /// There never was such a port.
    NoSuchPort(Port),
    /// The domain is told in the 2-level way, which has no priorities.
    NotFifo,
    /// The port is not open.
    NotOpen(Port),
    /// There is no such priority.
    BadPriority(u32),
}

impl From<NoSuchPort> for SetPriorityError {
    fn from(NoSuchPort(port): NoSuchPort) -> Self {
        Self::NoSuchPort(port)
    }
}

/// Chooses the priority of a port, from its next event on.
///
/// # Errors
/// As listed; then nothing has changed.
pub fn set_priority<E: Endpoint>(end: &E, port: Port, priority: u32) -> Result<(), SetPriorityError> {
    let mut ports = end.ports().lock();
    if !ports.is_valid(port) {
        return Err(SetPriorityError::NoSuchPort(port));
    }
    if !ports.is_fifo() {
        return Err(SetPriorityError::NotFifo);
    }
    let channel = ports.open_mut(port).ok_or(SetPriorityError::NotOpen(port))?;
    channel.queue.priority = Priority::new(priority).ok_or(SetPriorityError::BadPriority(priority))?;
    Ok(())
}

impl Ports {
    /// Remembers which ports are pending in the 2-level way, before it is left.
    fn carry_over(&mut self, upcalls: &dyn Upcalls) {
        for raw in 1..self.table.valid() {
            let port = Port::new(raw);
            if let Some(channel) = self.open_mut(port) {
                channel.unseen = two_level::clear_pending(upcalls, port);
            }
        }
    }

    /// Event words have been added for these ports: those that became pending before are told of now.
    fn show(&mut self, upcalls: &dyn Upcalls, first: u32, until: u32) {
        for raw in first..until.min(self.table.valid()) {
            let port = Port::new(raw);
            if self.open_mut(port).is_some_and(|channel| channel.unseen) {
                self.set_pending(upcalls, port);
            }
        }
    }
}
