//! What a write to the interrupt command register asks for. SDM vol. 3 §10.6, §10.12.10.
//!
//! The APIC only decodes; routing is the business of whoever knows the other processors.

use xenvisor_core::machine::{IpiKind, IpiTarget};
use xenvisor_core::number::Vector;

/// What a command register asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Send this.
    Send(IpiTarget, IpiKind),
    /// A vector to the sender itself.
    Own(Vector),
    /// A non-maskable interrupt to the sender itself. The manual leaves it undefined; under Xen it arrives.
    OwnNmi,
    /// A fixed vector below 16: an error of the sender, nothing is sent.
    IllegalVector,
    /// A request without effect: an INIT de-assert, an SMI, a reserved delivery mode, and what the manual
    /// does not let a processor send to itself.
    Nothing,
}

const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL_TRIGGERED: u32 = 1 << 15;

/// Decodes a command. `to` is the destination field as it stands in its mode: 8 bits in xAPIC, 32 in x2APIC.
#[must_use]
pub fn decode(low: u32, to: u32, x2apic: bool) -> Command {
    let [number, ..] = low.to_le_bytes();
    let kind = match (low >> 8) & 7 {
        0 | 1 if number < 16 => return Command::IllegalVector,
        0 => IpiKind::Fixed(Vector::new(number)),
        1 => IpiKind::LowestPriority(Vector::new(number)),
        4 => IpiKind::Nmi,
        // A level-triggered de-assert only resets arbitration ids, which nobody has had since the P6.
        5 if low & LEVEL_TRIGGERED != 0 && low & ASSERT == 0 => return Command::Nothing,
        5 => IpiKind::Init,
        6 => IpiKind::Startup { page: number },
        _ => return Command::Nothing,
    };
    let broadcast = if x2apic { u32::MAX } else { 0xff };
    let target = match ((low >> 18) & 3, kind) {
        (1, IpiKind::Fixed(vector)) => return Command::Own(vector),
        (1, IpiKind::Nmi) => return Command::OwnNmi,
        (1, _) => return Command::Nothing,
        (2, _) => IpiTarget::All,
        (3, _) => IpiTarget::Others,
        _ if low & LOGICAL != 0 => IpiTarget::Logical(to),
        _ if to == broadcast => IpiTarget::All,
        _ => IpiTarget::Physical(to),
    };
    Command::Send(target, kind)
}
