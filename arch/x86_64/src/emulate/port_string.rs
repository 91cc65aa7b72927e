//! INS and OUTS: strings from and to a port, one element at a time.
//!
//! The port is the hypervisor's affair and comes between two halves: [`begin`] finds the element's place and,
//! for OUTS, its value; the backend lets the port be served; [`PortElement::end`] stores what was read and moves
//! the registers on. A repeated instruction comes back for each element, so it can be interrupted between any
//! two. For INS the destination is checked before the port is read: a byte taken from a device is never lost.
//! SDM vol. 2 "INS", "OUTS".

use super::bus::Bus;
use super::decode;
use super::processor::{Processor, Step, Stop, segment, string_address_size};
use super::register::General;
use crate::guest::segments::Name;
use iced_x86::Mnemonic;
use xenvisor_core::number::LinearAddr;

/// Which way an element goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the port to memory.
    In,
    /// From memory to the port: this value.
    Out(u32),
}

/// One element on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortElement {
    /// The port.
    pub port: u16,
    /// 1, 2 or 4.
    pub bytes: u8,
    /// Which way it goes.
    pub direction: Direction,
    at: LinearAddr,
    index: General,
    counter: Option<General>,
    length: u8,
}

/// What an instruction begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begun {
    /// An element.
    Element(PortElement),
    /// Nothing: the count of a repeated instruction is zero, and it is over.
    Finished(Step),
}

const COUNT: u8 = 1;
const PORT: u8 = 2;
const SOURCE: u8 = 6;
const DESTINATION: u8 = 7;

/// Finds the next element of the INS or OUTS that `bytes` begin with.
///
/// # Errors
/// [`Stop::Again`] if the bytes are another instruction by now; else as for [`super::execute::run`].
pub fn begin(bytes: &[u8], processor: &mut Processor<'_>, bus: &mut dyn Bus) -> Result<Begun, Stop> {
    use Mnemonic as M;
    let instruction = decode(bytes, processor.code, processor.registers.rip)
        .map_err(|error| Stop::undecodable(error, bytes))?;
    let (is_in, bytes) = match instruction.mnemonic() {
        M::Insb => (true, 1),
        M::Insw => (true, 2),
        M::Insd => (true, 4),
        M::Outsb => (false, 1),
        M::Outsw => (false, 2),
        M::Outsd => (false, 4),
        _ => return Err(Stop::Again),
    };
    let kind = if is_in {
        instruction.op0_kind()
    } else {
        instruction.op1_kind()
    };
    let size = string_address_size(kind).ok_or(Stop::Again)?;
    let general = |number| General {
        number,
        size,
        high: false,
    };
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let counter = repeats.then(|| general(COUNT));
    if counter.is_some_and(|counter| counter.read(processor.registers) == 0) {
        return Ok(Begun::Finished(processor.finish(instruction.len())));
    }
    let index = general(if is_in { DESTINATION } else { SOURCE });
    let name = if is_in {
        Name::Es
    } else {
        segment(instruction.memory_segment()).ok_or(Stop::Again)?
    };
    let at = processor.linear(name, index.read(processor.registers), bytes, is_in)?;
    let direction = if is_in {
        bus.check_write(at, bytes)?;
        Direction::In
    } else {
        Direction::Out(u32::try_from(bus.read(at, bytes, false)? & 0xffff_ffff).unwrap_or(0))
    };
    let port = General {
        number: PORT,
        size: 2,
        high: false,
    }
    .read(processor.registers);
    Ok(Begun::Element(PortElement {
        port: u16::try_from(port).unwrap_or(0),
        bytes,
        direction,
        at,
        index,
        counter,
        length: u8::try_from(instruction.len()).unwrap_or(0),
    }))
}

impl PortElement {
    /// Ends the element. `value` is what the port gave; it counts for [`Direction::In`] only.
    ///
    /// # Errors
    /// As for [`super::execute::run`]: the guest's tables may have changed since the beginning.
    pub fn end(self, value: u32, processor: &mut Processor<'_>, bus: &mut dyn Bus) -> Result<Step, Stop> {
        if self.direction == Direction::In {
            bus.write(self.at, self.bytes, u64::from(value))?;
        }
        processor.advance(self.index, self.bytes);
        if let Some(counter) = self.counter {
            let left = counter.read(processor.registers).wrapping_sub(1);
            counter.write(processor.registers, left);
            if counter.read(processor.registers) != 0 {
                return Ok(processor.stay());
            }
        }
        Ok(processor.finish(usize::from(self.length)))
    }
}
