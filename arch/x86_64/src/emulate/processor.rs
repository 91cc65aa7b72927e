//! The processor that an emulated instruction runs on: the guest's registers and segments, borrowed.

use super::CodeSize;
use super::bus::{Bus, BusFault};
use super::register::{General, mask};
use super::{DecodeError, LONGEST};
use crate::guest::exception::Exception;
use crate::guest::segments::{Mode, Name, Segments};
use iced_x86::{Instruction, OpKind, Register};
use xenvisor_core::machine::Registers;
use xenvisor_core::number::{GuestAddr, LinearAddr};

/// The state an instruction works on.
#[derive(Debug)]
pub struct Processor<'a> {
    /// The general registers, instruction pointer and flags.
    pub registers: &'a mut Registers,
    /// The segment registers.
    pub segments: &'a Segments,
    /// How instruction bytes are read.
    pub code: CodeSize,
    /// What segments are.
    pub mode: Mode,
}

/// How far an instruction got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// All the way: the instruction pointer is behind it. The backend ends an interrupt shadow.
    Finished {
        /// RFLAGS.TF was set: the guest now gets #DB for a single step (DR6.BS).
        single_step: bool,
    },
    /// A repeated instruction has more to do; the registers say how much. The guest may be interrupted here,
    /// and comes back to the instruction.
    More {
        /// As for a whole instruction: each round of it is a step.
        single_step: bool,
    },
}

/// Why an instruction did not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The guest gets this.
    Exception(Exception),
    /// Let the guest run it again: its bytes or its tables have changed.
    Again,
    /// The guest's tables lie where it has no memory.
    TableOutsideMemory(GuestAddr),
    /// An instruction that the emulator does not know. For the log.
    Unemulated {
        /// Its bytes.
        bytes: [u8; LONGEST],
        /// How many of them there are.
        length: u8,
    },
}

impl From<BusFault> for Stop {
    fn from(fault: BusFault) -> Self {
        match fault {
            BusFault::Exception(exception) => Self::Exception(exception),
            BusFault::Again => Self::Again,
            BusFault::TableOutsideMemory(at) => Self::TableOutsideMemory(at),
        }
    }
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}

impl Stop {
    /// The bytes of an instruction that is not emulated.
    pub(super) fn unemulated(bytes: &[u8]) -> Self {
        let mut kept = [0; LONGEST];
        for (to, from) in kept.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self::Unemulated {
            bytes: kept,
            length: u8::try_from(bytes.len().min(LONGEST)).unwrap_or(0),
        }
    }

    /// What undecodable bytes come to.
    pub(super) fn undecodable(error: DecodeError, bytes: &[u8]) -> Self {
        match error {
            // The rest of the instruction could not be fetched: the guest will meet the fault itself.
            DecodeError::Truncated => Self::Again,
            // Not only nonsense: encodings that the decoder is built without count as invalid too.
            DecodeError::Invalid => Self::unemulated(bytes),
        }
    }
}

/// Where an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a general register.
    Register(General),
    /// In memory.
    Memory {
        /// Where.
        at: LinearAddr,
        /// 1, 2, 4 or 8 bytes.
        bytes: u8,
    },
    /// In the instruction.
    Immediate(u64),
}

const DIRECTION: u64 = 1 << 10;
const SINGLE_STEP: u64 = 1 << 8;
const RESUME: u64 = 1 << 16;

impl Processor<'_> {
    /// Reads a place; `then_writes` as for [`Bus::read`].
    pub(super) fn load(&self, bus: &mut dyn Bus, place: Place, then_writes: bool) -> Result<u64, Stop> {
        Ok(match place {
            Place::Register(general) => general.read(self.registers),
            Place::Memory { at, bytes } => bus.read(at, bytes, then_writes)?,
            Place::Immediate(value) => value,
        })
    }

    /// Writes a place. An immediate is no place to write to, and no encoding asks for it.
    pub(super) fn store(&mut self, bus: &mut dyn Bus, place: Place, value: u64) -> Result<(), Stop> {
        match place {
            Place::Register(general) => general.write(self.registers, value),
            Place::Memory { at, bytes } => bus.write(at, bytes, value)?,
            Place::Immediate(_) => {}
        }
        Ok(())
    }

    /// The offset of a memory operand in its segment.
    pub(super) fn offset(&self, instruction: &Instruction, operand: u32) -> Option<u64> {
        let registers: &Registers = self.registers;
        // Segment registers are not general ones: their bases count as zero here and come in later.
        instruction.virtual_address(operand, 0, |register, _, _| {
            Some(General::of(register).map_or(0, |general| general.read(registers)))
        })
    }

    /// The linear address of `bytes` bytes of a segment.
    pub(super) fn linear(
        &self,
        name: Name,
        offset: u64,
        bytes: u8,
        is_write: bool,
    ) -> Result<LinearAddr, Stop> {
        Ok(self
            .segments
            .linear(self.mode, name, offset, u64::from(bytes), is_write)?)
    }

    /// Ends an instruction of this length.
    pub(super) fn finish(&mut self, length: usize) -> Step {
        let next = self
            .registers
            .rip
            .wrapping_add(u64::try_from(length).unwrap_or(0));
        self.registers.rip = next
            & match self.code {
                CodeSize::Bits64 => u64::MAX,
                CodeSize::Bits32 => mask(4),
                CodeSize::Bits16 => mask(2),
            };
        let single_step = self.steps();
        self.registers.rflags &= !RESUME;
        Step::Finished { single_step }
    }

    /// Stays on a repeated instruction, some of whose rounds are done.
    pub(super) fn stay(&self) -> Step {
        let single_step = self.steps();
        Step::More { single_step }
    }

    /// Whether the guest gets #DB behind each instruction, and each round of a repeated one.
    pub(super) fn steps(&self) -> bool {
        self.registers.rflags & SINGLE_STEP != 0
    }

    /// Moves an index register past an element, in the direction that RFLAGS says.
    pub(super) fn advance(&mut self, index: General, bytes: u8) {
        let by = u64::from(bytes);
        let old = index.read(self.registers);
        let new = if self.registers.rflags & DIRECTION != 0 {
            old.wrapping_sub(by)
        } else {
            old.wrapping_add(by)
        };
        index.write(self.registers, new);
    }
}

/// The segment of this name, if it is one.
pub(super) const fn segment(register: Register) -> Option<Name> {
    Some(match register {
        Register::ES => Name::Es,
        Register::CS => Name::Cs,
        Register::SS => Name::Ss,
        Register::DS => Name::Ds,
        Register::FS => Name::Fs,
        Register::GS => Name::Gs,
        _ => return None,
    })
}

/// The address size in bytes of a string operand.
pub(super) const fn string_address_size(kind: OpKind) -> Option<u8> {
    Some(match kind {
        OpKind::MemorySegSI | OpKind::MemoryESDI => 2,
        OpKind::MemorySegESI | OpKind::MemoryESEDI => 4,
        OpKind::MemorySegRSI | OpKind::MemoryESRDI => 8,
        _ => return None,
    })
}

/// The address size in bytes of an ordinary memory operand.
pub(super) fn address_size(instruction: &Instruction) -> u8 {
    let of = |register| match register {
        Register::RIP => Some(8),
        Register::EIP => Some(4),
        _ => General::of(register).map(|general| general.size),
    };
    of(instruction.memory_base())
        .or_else(|| of(instruction.memory_index()))
        .or_else(|| u8::try_from(instruction.memory_displ_size()).ok())
        .unwrap_or(8)
}
