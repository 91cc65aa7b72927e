//! String instructions on memory: MOVS, STOS, LODS, CMPS, SCAS, with their repeat prefixes.
//!
//! Each round stands alone: its accesses succeed and then the registers move on, so that a fault, an interrupt
//! or the end of a slice between rounds leaves the guest where hardware would. SDM vol. 1 §7.3.9.

use super::alu::{Binary, binary};
use super::bus::Bus;
use super::processor::{Processor, Step, Stop, segment, string_address_size};
use super::register::General;
use crate::guest::segments::Name;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// What a round does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Move,
    Store,
    Load,
    Compare,
    Scan,
}

/// A string instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verb {
    action: Action,
    /// Bytes of an element.
    bytes: u8,
    /// Bytes of an address.
    address_size: u8,
    /// Where the source's segment is.
    from: Option<Name>,
}

const ACCUMULATOR: u8 = 0;
const COUNT: u8 = 1;
const SOURCE: u8 = 6;
const DESTINATION: u8 = 7;
const ZERO: u64 = 1 << 6;

impl Verb {
    /// The string instruction that this is, if it is one.
    #[rustfmt::skip]
    pub(super) fn of(instruction: &Instruction) -> Option<Self> {
        use Mnemonic as M;
        let (action, bytes) = match instruction.mnemonic() {
            M::Movsb => (Action::Move, 1),    M::Stosb => (Action::Store, 1),   M::Lodsb => (Action::Load, 1),
            M::Movsw => (Action::Move, 2),    M::Stosw => (Action::Store, 2),   M::Lodsw => (Action::Load, 2),
            M::Movsd => (Action::Move, 4),    M::Stosd => (Action::Store, 4),   M::Lodsd => (Action::Load, 4),
            M::Movsq => (Action::Move, 8),    M::Stosq => (Action::Store, 8),   M::Lodsq => (Action::Load, 8),
            M::Cmpsb => (Action::Compare, 1), M::Scasb => (Action::Scan, 1),
            M::Cmpsw => (Action::Compare, 2), M::Scasw => (Action::Scan, 2),
            M::Cmpsd => (Action::Compare, 4), M::Scasd => (Action::Scan, 4),
            M::Cmpsq => (Action::Compare, 8), M::Scasq => (Action::Scan, 8),
            _ => return None,
        };
        // MOVSD and CMPSD are also vector instructions, whose operands are no strings.
        let kinds = [instruction.op0_kind(), instruction.op1_kind()];
        let address_size = kinds.into_iter().find_map(string_address_size)?;
        let reads = kinds.iter().any(|kind| is_source(*kind));
        let from = if reads { Some(segment(instruction.memory_segment())?) } else { None };
        Some(Self { action, bytes, address_size, from })
    }

    const fn index(self, number: u8) -> General {
        General {
            number,
            size: self.address_size,
            high: false,
        }
    }
}

const fn is_source(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::MemorySegSI | OpKind::MemorySegESI | OpKind::MemorySegRSI
    )
}

/// Runs up to `slice` rounds.
pub(super) fn run(
    verb: Verb,
    instruction: &Instruction,
    processor: &mut Processor<'_>,
    bus: &mut dyn Bus,
    slice: u32,
) -> Result<Step, Stop> {
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let counter = verb.index(COUNT);
    if !repeats {
        round(verb, processor, bus)?;
        return Ok(processor.finish(instruction.len()));
    }
    // At least one round, or a slice of zero would never end.
    for _ in 0..slice.max(1) {
        let left = counter.read(processor.registers);
        if left == 0 {
            return Ok(processor.finish(instruction.len()));
        }
        round(verb, processor, bus)?;
        counter.write(processor.registers, left.wrapping_sub(1));
        let equal = processor.registers.rflags & ZERO != 0;
        let compares = matches!(verb.action, Action::Compare | Action::Scan);
        if compares && equal == instruction.has_repne_prefix() {
            return Ok(processor.finish(instruction.len()));
        }
        if bus.must_stop() || processor.steps() {
            break;
        }
    }
    if counter.read(processor.registers) == 0 {
        Ok(processor.finish(instruction.len()))
    } else {
        Ok(processor.stay())
    }
}

/// One element.
fn round(verb: Verb, processor: &mut Processor<'_>, bus: &mut dyn Bus) -> Result<(), Stop> {
    let Verb { action, bytes, .. } = verb;
    let [source, destination] = [verb.index(SOURCE), verb.index(DESTINATION)];
    let accumulator = General {
        number: ACCUMULATOR,
        size: bytes,
        high: false,
    };
    let at = |processor: &Processor<'_>, name, index: General, is_write| {
        processor.linear(name, index.read(processor.registers), bytes, is_write)
    };
    let from = verb.from.unwrap_or(Name::Ds);
    match action {
        Action::Move => {
            let to = at(processor, Name::Es, destination, true)?;
            let from = at(processor, from, source, false)?;
            // A device is not read for a write that then faults.
            bus.check_write(to, bytes)?;
            let value = bus.read(from, bytes, false)?;
            bus.write(to, bytes, value)?;
        }
        Action::Store => {
            let to = at(processor, Name::Es, destination, true)?;
            bus.write(to, bytes, accumulator.read(processor.registers))?;
        }
        Action::Load => {
            let value = bus.read(at(processor, from, source, false)?, bytes, false)?;
            accumulator.write(processor.registers, value);
        }
        Action::Compare => {
            let first = bus.read(at(processor, from, source, false)?, bytes, false)?;
            let second = bus.read(at(processor, Name::Es, destination, false)?, bytes, false)?;
            compare(processor, first, second, bytes);
        }
        Action::Scan => {
            let second = bus.read(at(processor, Name::Es, destination, false)?, bytes, false)?;
            compare(processor, accumulator.read(processor.registers), second, bytes);
        }
    }
    if matches!(action, Action::Move | Action::Load | Action::Compare) {
        processor.advance(source, bytes);
    }
    if action != Action::Load {
        processor.advance(destination, bytes);
    }
    Ok(())
}

fn compare(processor: &mut Processor<'_>, first: u64, second: u64, bytes: u8) {
    let rflags = processor.registers.rflags;
    processor.registers.rflags = binary(Binary::Sub, first, second, bytes, rflags).apply(rflags);
}
