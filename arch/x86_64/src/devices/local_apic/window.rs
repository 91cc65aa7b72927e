//! The local APIC's page on a guest's bus, for the instruction that touches it.

use super::{Effect, LocalApic};
use crate::emulate::bus::Device;
use xenvisor_core::clock::Instant;
use xenvisor_core::number::GuestAddr;

/// An APIC that answers in its page; elsewhere there is nothing.
///
/// Use: emulate the instruction with this as its bus's device, then do what [`Window::effect`] says.
#[derive(Debug)]
pub struct Window<'a> {
    apic: &'a mut LocalApic,
    now: Instant,
    effect: Effect,
}

impl<'a> Window<'a> {
    /// The window at one moment.
    pub const fn new(apic: &'a mut LocalApic, now: Instant) -> Self {
        Self {
            apic,
            now,
            effect: Effect::Nothing,
        }
    }

    /// What the instruction wants done outside the APIC.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }
}

impl Device for Window<'_> {
    fn covers(&self, at: GuestAddr) -> bool {
        self.apic
            .mmio_page()
            .is_some_and(|page| page.frame() == at.frame())
    }

    fn read(&mut self, at: GuestAddr, bytes: u8) -> u64 {
        if self.covers(at) {
            self.apic.read_mmio(at.offset(), bytes, self.now)
        } else {
            u64::MAX
        }
    }

    fn write(&mut self, at: GuestAddr, bytes: u8, value: u64) {
        if self.covers(at) {
            self.effect = self.apic.write_mmio(at.offset(), bytes, value, self.now);
        }
    }

    /// There is room for one effect: a string of writes pauses after each that has one.
    fn must_stop(&self) -> bool {
        self.effect != Effect::Nothing
    }
}
