//! The memory and the processor that the tests of the emulator share.

mod bus;
mod instructions;
mod strings;

use super::bus::{Bus, BusFault};
use super::*;
use crate::guest::exception::Exception;
use crate::guest::page_walk::{PageFault, PageFaultCode};
use crate::guest::segments::{Mode, Segments};
use std::collections::BTreeMap;
use xenvisor_core::machine::Registers;
use xenvisor_core::number::LinearAddr;

/// Bytes at linear addresses; what is not there faults. Remembers what was done.
#[derive(Default)]
struct Memory {
    bytes: BTreeMap<u64, u8>,
    done: Vec<(char, u64, u8)>,
    /// Stop after each write to this address.
    stops: Option<u64>,
}

impl Memory {
    fn with(at: u64, bytes: &[u8]) -> Self {
        Self {
            bytes: (at..).zip(bytes.iter().copied()).collect(),
            ..Self::default()
        }
    }
    fn word(&self, at: u64, bytes: u8) -> u64 {
        (0..u64::from(bytes))
            .rev()
            .fold(0, |word, index| word << 8 | u64::from(self.bytes[&(at + index)]))
    }
    fn fault(at: u64, is_write: bool) -> BusFault {
        let code = if is_write {
            PageFaultCode::WRITE
        } else {
            PageFaultCode::empty()
        };
        BusFault::Exception(Exception::Page(PageFault {
            address: LinearAddr::new(at),
            code,
        }))
    }
}

impl Bus for Memory {
    fn read(&mut self, at: LinearAddr, bytes: u8, then_writes: bool) -> Result<u64, BusFault> {
        if (0..u64::from(bytes)).any(|index| !self.bytes.contains_key(&(at.raw() + index))) {
            return Err(Self::fault(at.raw(), then_writes));
        }
        self.done.push(('r', at.raw(), bytes));
        Ok(self.word(at.raw(), bytes))
    }
    fn write(&mut self, at: LinearAddr, bytes: u8, value: u64) -> Result<(), BusFault> {
        self.check_write(at, bytes)?;
        self.done.push(('w', at.raw(), bytes));
        for (index, byte) in (0..u64::from(bytes)).zip(value.to_le_bytes()) {
            self.bytes.insert(at.raw() + index, byte);
        }
        Ok(())
    }
    fn check_write(&mut self, at: LinearAddr, bytes: u8) -> Result<(), BusFault> {
        match (0..u64::from(bytes)).all(|index| self.bytes.contains_key(&(at.raw() + index))) {
            true => Ok(()),
            false => Err(Self::fault(at.raw(), true)),
        }
    }
    fn must_stop(&self) -> bool {
        self.stops
            .is_some_and(|at| self.done.last().is_some_and(|(_, last, _)| *last == at))
    }
}

fn flat_segments() -> Segments {
    let data = Segment {
        selector: 0x10,
        attributes: 0xc093,
        limit: u32::MAX,
        base: 0,
    };
    let code = Segment {
        attributes: 0xa09b,
        ..data
    };
    Segments {
        es: data,
        cs: code,
        ss: data,
        ds: data,
        fs: Segment {
            base: 0x1_0000,
            ..data
        },
        gs: data,
    }
}

/// Runs one instruction of 64-bit code.
fn run64(code: &[u8], registers: &mut Registers, memory: &mut Memory) -> Result<Step, Stop> {
    let segments = flat_segments();
    let mut processor = Processor {
        registers,
        segments: &segments,
        code: CodeSize::Bits64,
        mode: Mode::Flat,
    };
    execute::run(code, &mut processor, memory, 100)
}

const DONE: Result<Step, Stop> = Ok(Step::Finished { single_step: false });
const AT: u64 = 0x5000;

/// Registers as most tests want them: RBX points at memory, RIP at code.
fn registers() -> Registers {
    Registers {
        rbx: AT,
        rip: 0x40_0000,
        rflags: 0x202,
        ..Registers::default()
    }
}
