//! The 2-level way: a pending bit and a mask bit per port in the shared info page, and in `vcpu_info` a selector bit
//! for each word of pending bits (public header `xen.h`).
//!
//! Order: pending, then (unless masked) selector, then upcall; the guest goes through them the other way round. Each
//! step goes on only if it changed its bit, so an event on a port that is already pending costs one atomic operation,
//! and one that arrives masked waits until it is unmasked.
//!
//! Invariant: nothing is read back but single bits, to decide what this guest is told.

use crate::machine::Width;
use crate::number::{MachineAddr, Port};

use super::channel::Channel;
use super::upcall::{self, Upcalls};
use super::words::Bits;

/// Where the pending bits are in the shared info page.
const PENDING: u64 = 2048;

/// Bits in a word: `xen_ulong_t` of the guest.
const fn word_bits(width: Width) -> u32 {
    upcall::selector(width).1
}

/// How many ports there are: as many words of bits as a word has bits.
pub(super) const fn ports(width: Width) -> u32 {
    word_bits(width) * word_bits(width)
}

/// Where the mask bits are: right behind the pending bits.
const fn mask_at(width: Width) -> u64 {
    PENDING + (ports(width) / 8) as u64
}

/// The bits of a domain whose layout has this port; `None` for a port beyond it.
struct Shared<'a> {
    upcalls: &'a dyn Upcalls,
    width: Width,
    port: u32,
}

impl<'a> Shared<'a> {
    fn of(upcalls: &'a dyn Upcalls, port: Port) -> Option<Self> {
        let width = upcalls.width();
        (port.raw() < ports(width)).then_some(Self {
            upcalls,
            width,
            port: port.raw(),
        })
    }

    fn bits(&self, offset: u64) -> Bits<'a> {
        let at = MachineAddr::new(self.upcalls.shared_info().raw() + offset);
        Bits::new(self.upcalls.memory(), at)
    }

    fn pending(&self) -> Bits<'a> {
        self.bits(PENDING)
    }

    fn mask(&self) -> Bits<'a> {
        self.bits(mask_at(self.width))
    }

    /// Selects the port's word for its vcpu, and tells the vcpu if that is news.
    fn select(&self, channel: &Channel) {
        let vcpu = channel.queue.vcpu;
        // A vcpu without a vcpu_info: when it gets one, every word is selected.
        let Some(info) = self.upcalls.vcpu_info(vcpu) else {
            return;
        };
        let (offset, bits) = upcall::selector(self.width);
        let selector = Bits::new(self.upcalls.memory(), MachineAddr::new(info.raw() + offset));
        if !selector.set(self.port / bits) {
            upcall::mark(self.upcalls, vcpu);
        }
    }
}

/// Makes a port pending; `true` if it was not.
pub(super) fn set_pending(upcalls: &dyn Upcalls, port: Port, channel: &Channel) -> bool {
    let Some(shared) = Shared::of(upcalls, port) else {
        return false;
    };
    if shared.pending().set(port.raw()) {
        return false;
    }
    if !shared.mask().test(port.raw()) {
        shared.select(channel);
    }
    true
}

/// Clears the mask of a port; if it is pending, the guest is told now.
pub(super) fn unmask(upcalls: &dyn Upcalls, port: Port, channel: &Channel) {
    if let Some(shared) = Shared::of(upcalls, port)
        && shared.mask().clear(port.raw())
        && shared.pending().test(port.raw())
    {
        shared.select(channel);
    }
}

/// Whether the port is pending, masked or not.
pub(super) fn is_pending(upcalls: &dyn Upcalls, port: Port) -> bool {
    Shared::of(upcalls, port).is_some_and(|shared| shared.pending().test(port.raw()))
}

/// Forgets an event; whether there was one.
pub(super) fn clear_pending(upcalls: &dyn Upcalls, port: Port) -> bool {
    Shared::of(upcalls, port).is_some_and(|shared| shared.pending().clear(port.raw()))
}

/// Forgets all events, whoever has put them there.
pub(super) fn clear_all(upcalls: &dyn Upcalls) {
    let bytes = u64::from(ports(upcalls.width()) / 8);
    let at = MachineAddr::new(upcalls.shared_info().raw() + PENDING);
    upcalls.memory().zero(at, bytes);
}
