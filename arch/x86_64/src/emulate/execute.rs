//! One instruction, done in software: what a guest does to memory that is not there or is a device.
//!
//! Integer instructions with a memory operand, and string instructions ([`super::string`]). What works on
//! floating-point or vector registers is not here: hardware holds those, and devices are not touched so.
//! Nothing of the guest changes before all its accesses have succeeded, so a fault finds the state as it was.

use super::alu::{Binary, Computed, binary, condition, shift, sign_extend, step};
use super::bus::Bus;
use super::processor::{Place, Processor, Step, Stop, address_size, segment};
use super::register::{General, mask};
use super::verb::{BitChange, Verb};
use super::{decode, string};
use iced_x86::{Instruction, MemorySize, OpKind, Register};

/// Runs the instruction that `bytes` begin with. `slice` bounds the rounds of a repeated one.
///
/// # Errors
/// See [`Stop`]; the guest's registers are as they were, or, in a repeated instruction, as they are between
/// two rounds.
pub fn run(bytes: &[u8], processor: &mut Processor<'_>, bus: &mut dyn Bus, slice: u32) -> Result<Step, Stop> {
    let instruction = decode(bytes, processor.code, processor.registers.rip)
        .map_err(|error| Stop::undecodable(error, bytes))?;
    let whole = bytes.get(..instruction.len()).unwrap_or(bytes);
    if let Some(verb) = string::Verb::of(&instruction) {
        return string::run(verb, &instruction, processor, bus, slice);
    }
    let verb = Verb::of(instruction.mnemonic()).ok_or_else(|| Stop::unemulated(whole))?;
    let mut run = Run {
        instruction: &instruction,
        bytes: whole,
        processor,
        bus,
    };
    run.verb(verb)?;
    Ok(processor.finish(instruction.len()))
}

const ACCUMULATOR: u8 = 0;

struct Run<'a, 'p> {
    instruction: &'a Instruction,
    bytes: &'a [u8],
    processor: &'a mut Processor<'p>,
    bus: &'a mut dyn Bus,
}

impl Run<'_, '_> {
    fn verb(&mut self, verb: Verb) -> Result<(), Stop> {
        if verb == Verb::Nothing {
            return Ok(());
        }
        let to = self.place(0, verb.writes())?;
        let size = self.size(to);
        let rflags = self.processor.registers.rflags;
        match verb {
            Verb::Nothing => {}
            Verb::Move | Verb::MoveSigned | Verb::MoveSwapped => {
                let from = self.place(1, false)?;
                let value = self.load(from, false)?;
                let value = match verb {
                    Verb::MoveSigned => sign_extend(value, self.size(from)),
                    Verb::MoveSwapped => value.swap_bytes() >> 64_u32.saturating_sub(u32::from(size) << 3),
                    _ => value,
                };
                self.store(to, value)?;
            }
            Verb::Compute(operation) => {
                let b = self.source()?;
                let computed = binary(operation, self.load(to, true)?, b, size, rflags);
                self.commit(to, computed)?;
            }
            Verb::Compare(operation) => {
                let b = self.source()?;
                let computed = binary(operation, self.load(to, false)?, b, size, rflags);
                self.processor.registers.rflags = computed.apply(rflags);
            }
            Verb::Increment | Verb::Decrement => {
                let computed = step(self.load(to, true)?, verb == Verb::Increment, size);
                self.commit(to, computed)?;
            }
            Verb::Negate => {
                let computed = binary(Binary::Sub, 0, self.load(to, true)?, size, rflags);
                self.commit(to, computed)?;
            }
            Verb::Not => {
                let value = !self.load(to, true)?;
                self.store(to, value)?;
            }
            Verb::Shift(operation) => {
                let count = self.source()?;
                let computed = shift(operation, self.load(to, true)?, count, size);
                self.commit(to, computed)?;
            }
            Verb::Exchange | Verb::ExchangeAdd => self.exchange(to, size, verb == Verb::ExchangeAdd)?,
            Verb::CompareExchange => self.compare_exchange(to, size)?,
            Verb::CompareExchange8 => self.compare_exchange_8(to)?,
            Verb::Bit(change) => self.bit(to, size, change)?,
            Verb::SetIf(code) => self.store(to, u64::from(condition(code, rflags)))?,
            Verb::MoveIf(code) => {
                // Memory is read whatever the condition, and a 32-bit destination loses its upper half.
                let value = self.source()?;
                let value = if condition(code, rflags) {
                    value
                } else {
                    self.load(to, false)?
                };
                self.store(to, value)?;
            }
            Verb::Multiply => self.multiply(to, size)?,
        }
        Ok(())
    }

    fn exchange(&mut self, to: Place, size: u8, adds: bool) -> Result<(), Stop> {
        // XCHG and XADD come with the register on either side in the decoder's eyes; memory goes first.
        let other = self.place(1, true)?;
        let (memory, register) = if matches!(other, Place::Memory { .. }) {
            (other, to)
        } else {
            (to, other)
        };
        let old = self.load(memory, true)?;
        let with = self.load(register, false)?;
        let rflags = self.processor.registers.rflags;
        let computed = binary(Binary::Add, old, with, size, rflags);
        self.store(memory, if adds { computed.value } else { with })?;
        self.store(register, old)?;
        if adds {
            // With one register on both sides the sum is what stays.
            if memory == register {
                self.store(memory, computed.value)?;
            }
            self.processor.registers.rflags = computed.apply(rflags);
        }
        Ok(())
    }

    fn compare_exchange(&mut self, to: Place, size: u8) -> Result<(), Stop> {
        let accumulator = General {
            number: ACCUMULATOR,
            size,
            high: false,
        };
        let new = self.source()?;
        let old = self.load(to, true)?;
        let expected = accumulator.read(self.processor.registers);
        let rflags = self.processor.registers.rflags;
        // Memory is written either way, as hardware does.
        self.store(to, if old == expected { new } else { old })?;
        if old != expected {
            accumulator.write(self.processor.registers, old);
        }
        self.processor.registers.rflags = binary(Binary::Sub, expected, old, size, rflags).apply(rflags);
        Ok(())
    }

    fn compare_exchange_8(&mut self, to: Place) -> Result<(), Stop> {
        const ZERO: u64 = 1 << 6;
        let [a, c, d, b] = [0, 1, 2, 3].map(|number| General {
            number,
            size: 4,
            high: false,
        });
        let old = self.load(to, true)?;
        let pair =
            |high: General, low: General, registers: &_| high.read(registers) << 32 | low.read(registers);
        let expected = pair(d, a, self.processor.registers);
        let new = pair(c, b, self.processor.registers);
        self.store(to, if old == expected { new } else { old })?;
        let registers = &mut *self.processor.registers;
        if old == expected {
            registers.rflags |= ZERO;
        } else {
            a.write(registers, old);
            d.write(registers, old >> 32);
            registers.rflags &= !ZERO;
        }
        Ok(())
    }

    fn bit(&mut self, to: Place, size: u8, change: BitChange) -> Result<(), Stop> {
        let bits = u64::from(size) << 3;
        let from = self.place(1, false)?;
        let number = self.load(from, false)?;
        let to = match (to, from) {
            // A register names a bit of a string of bits that stretches both ways from the operand.
            (Place::Memory { bytes, .. }, Place::Register(_)) => {
                let number = sign_extend(number, size).cast_signed();
                let words = number.checked_div(i64::try_from(bits).unwrap_or(64)).unwrap_or(0);
                let words = if number < 0 && number & i64::try_from(bits).unwrap_or(64).wrapping_sub(1) != 0 {
                    words.wrapping_sub(1)
                } else {
                    words
                };
                let by = words.wrapping_mul(i64::from(bytes)).cast_unsigned();
                self.memory(0, bytes, change != BitChange::Keep, by)?
            }
            _ => to,
        };
        let bit = 1_u64
            .checked_shl(u32::try_from(number & bits.wrapping_sub(1)).unwrap_or(0))
            .unwrap_or(0);
        let old = self.load(to, change != BitChange::Keep)?;
        match change {
            BitChange::Keep => {}
            BitChange::Set => self.store(to, old | bit)?,
            BitChange::Clear => self.store(to, old & !bit)?,
            BitChange::Flip => self.store(to, old ^ bit)?,
        }
        let rflags = &mut self.processor.registers.rflags;
        *rflags = (*rflags & !1) | u64::from(old & bit != 0);
        Ok(())
    }

    /// The two- and three-operand forms; the one-operand form has no register to go to and is not emulated.
    fn multiply(&mut self, to: Place, size: u8) -> Result<(), Stop> {
        const CARRY_AND_OVERFLOW: u64 = 1 | 1 << 11;
        let [a, b] = match self.instruction.op_count() {
            2 => [to, self.place(1, false)?],
            3 => [self.place(1, false)?, self.place(2, false)?],
            _ => return Err(Stop::unemulated(self.bytes)),
        };
        let factor = |value| i128::from(sign_extend(value, size).cast_signed());
        let product = factor(self.load(a, false)?).wrapping_mul(factor(self.load(b, false)?));
        let low = product & i128::from(mask(size));
        let value = u64::try_from(low).unwrap_or(0);
        self.store(to, value)?;
        let rflags = &mut self.processor.registers.rflags;
        let fits = factor(value) == product;
        *rflags = if fits {
            *rflags & !CARRY_AND_OVERFLOW
        } else {
            *rflags | CARRY_AND_OVERFLOW
        };
        Ok(())
    }

    /// The second operand's value.
    fn source(&mut self) -> Result<u64, Stop> {
        let from = self.place(1, false)?;
        self.load(from, false)
    }

    fn load(&mut self, place: Place, then_writes: bool) -> Result<u64, Stop> {
        self.processor.load(self.bus, place, then_writes)
    }

    fn store(&mut self, place: Place, value: u64) -> Result<(), Stop> {
        self.processor.store(self.bus, place, value)
    }

    /// Writes a result, and once that has succeeded the flags.
    fn commit(&mut self, place: Place, computed: Computed) -> Result<(), Stop> {
        self.store(place, computed.value)?;
        let rflags = &mut self.processor.registers.rflags;
        *rflags = computed.apply(*rflags);
        Ok(())
    }

    fn size(&self, place: Place) -> u8 {
        match place {
            Place::Register(general) => general.size,
            Place::Memory { bytes, .. } => bytes,
            Place::Immediate(_) => 8,
        }
    }

    /// Where an operand is.
    fn place(&self, operand: u32, is_written: bool) -> Result<Place, Stop> {
        match self.instruction.op_kind(operand) {
            OpKind::Register => General::of(register(self.instruction, operand))
                .map(Place::Register)
                .ok_or(Stop::unemulated(self.bytes)),
            OpKind::Memory => {
                let bytes =
                    memory_bytes(self.instruction.memory_size()).ok_or(Stop::unemulated(self.bytes))?;
                self.memory(operand, bytes, is_written, 0)
            }
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Ok(Place::Immediate(self.instruction.immediate(operand))),
            _ => Err(Stop::unemulated(self.bytes)),
        }
    }

    /// A memory operand, `further` bytes on.
    fn memory(&self, operand: u32, bytes: u8, is_written: bool, further: u64) -> Result<Place, Stop> {
        let name = segment(self.instruction.memory_segment()).ok_or(Stop::unemulated(self.bytes))?;
        let offset = self
            .processor
            .offset(self.instruction, operand)
            .ok_or(Stop::unemulated(self.bytes))?;
        let offset = offset.wrapping_add(further) & mask(address_size(self.instruction));
        Ok(Place::Memory {
            at: self.processor.linear(name, offset, bytes, is_written)?,
            bytes,
        })
    }
}

fn register(instruction: &Instruction, operand: u32) -> Register {
    match operand {
        0 => instruction.op0_register(),
        1 => instruction.op1_register(),
        _ => instruction.op2_register(),
    }
}

/// Bytes of an integer in memory; `None` for what is no integer of up to eight bytes.
const fn memory_bytes(size: MemorySize) -> Option<u8> {
    Some(match size {
        MemorySize::UInt8 | MemorySize::Int8 => 1,
        MemorySize::UInt16 | MemorySize::Int16 => 2,
        MemorySize::UInt32 | MemorySize::Int32 => 4,
        MemorySize::UInt64 | MemorySize::Int64 => 8,
        _ => return None,
    })
}
