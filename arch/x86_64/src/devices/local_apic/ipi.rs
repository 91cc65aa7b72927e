//! Interrupts between processors: what a write to the interrupt command register asks for, and whom it means.
//!
//! The APIC only decodes; the backend routes. For each vcpu of the domain it asks that vcpu's APIC
//! [`LocalApic::is_addressed`](super::LocalApic::is_addressed) and then delivers the [`Message`].
//! SDM vol. 3 §10.6, §10.12.10.

use xenvisor_core::number::Vector;

/// An interrupt on its way to other processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipi {
    /// Who sends it: the sender's APIC id.
    pub sender: u32,
    /// Whom it means.
    pub destination: Destination,
    /// What it says.
    pub message: Message,
}

/// Whom an interrupt means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// The sender.
    Own,
    /// Everyone, the sender too.
    All,
    /// Everyone else.
    Others,
    /// The processor with this APIC id.
    Physical(u32),
    /// The processors whose logical id matches.
    Logical(u32),
}

/// What an interrupt says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// Accept this vector ([`LocalApic::accept`](super::LocalApic::accept)).
    Fixed(Vector),
    /// One of those addressed, the one of lowest priority, accepts this vector.
    LowestPriority(Vector),
    /// A non-maskable interrupt.
    Nmi,
    /// Reset, and wait for [`Message::Startup`] ([`LocalApic::init`](super::LocalApic::init)).
    Init,
    /// Start in real mode at this page number: CS:IP = page << 8 : 0. Only a processor that waits obeys.
    Startup(u8),
}

/// What a command register asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Send this.
    Send(Destination, Message),
    /// A fixed vector below 16: an error of the sender, nothing is sent.
    IllegalVector,
    /// A request without effect: an INIT de-assert, an SMI, a reserved delivery mode.
    Nothing,
}

/// Decodes a command. `to` is the destination field as it stands in its mode: 8 bits in xAPIC, 32 in x2APIC.
#[must_use]
pub fn decode(low: u32, to: u32, x2apic: bool) -> Command {
    let [number, ..] = low.to_le_bytes();
    let message = match (low >> 8) & 7 {
        0 | 1 if number < 16 => return Command::IllegalVector,
        0 => Message::Fixed(Vector::new(number)),
        1 => Message::LowestPriority(Vector::new(number)),
        4 => Message::Nmi,
        // A level-triggered de-assert only resets arbitration ids, which nobody has had since the P6.
        5 if low & LEVEL_TRIGGERED != 0 && low & ASSERT == 0 => return Command::Nothing,
        5 => Message::Init,
        6 => Message::Startup(number),
        _ => return Command::Nothing,
    };
    let broadcast = if x2apic { u32::MAX } else { 0xff };
    let destination = match (low >> 18) & 3 {
        1 => Destination::Own,
        2 => Destination::All,
        3 => Destination::Others,
        _ if low & LOGICAL != 0 => Destination::Logical(to),
        _ if to == broadcast => Destination::All,
        _ => Destination::Physical(to),
    };
    Command::Send(destination, message)
}

const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const LEVEL_TRIGGERED: u32 = 1 << 15;
