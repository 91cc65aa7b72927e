//! Guest instructions read by the hypervisor: how long they are, and what they do when hardware cannot do it.
//!
//! * [`length`]: on processors that do not say where the next instruction begins, an exit is told apart and
//!   stepped over by decoding.
//! * [`execute`]: after a second-stage fault on a device or on nothing, the instruction is done in software:
//!   [`bus::fetch`] its bytes, make a [`bus::GuestBus`] with the device that answers (the APIC's
//!   [`Window`](crate::devices::local_apic::Window), or [`bus::Nothing`]) and a [`Processor`], then
//!   [`execute::run`]. Write the registers back whether it succeeds or not.
//! * [`port_string`]: INS and OUTS, in two halves around the port access.
//!
//! Decoding is done by `iced-x86`, which builds its tables on first use, on the heap: call [`prepare`] once
//! while the machine starts, so that no guest's exit ever allocates. Never format its enums with `{:?}`:
//! that would pull a hundred kilobytes of names into the image.
#![forbid(unsafe_code)]

pub mod alu;
pub mod bus;
pub mod execute;
pub mod length;
pub mod port_string;
mod processor;
pub mod register;
mod string;
#[cfg(test)]
mod tests;
mod verb;

pub use processor::{Processor, Step, Stop};

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};
use xenvisor_core::vcpu::start::Segment;

/// The longest an instruction can be (SDM vol. 2 §2.3.11).
pub const LONGEST: usize = 15;

/// How instruction bytes are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodeSize {
    /// 16-bit: real mode, virtual-8086 mode, 16-bit segments.
    Bits16,
    /// 32-bit segments.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

impl CodeSize {
    /// The size of code that runs in this code segment. `long_mode` is EFER.LMA.
    #[must_use]
    pub const fn of(code: &Segment, long_mode: bool) -> Self {
        const LONG: u32 = 1 << 13;
        const BIG: u32 = 1 << 14;
        if long_mode && code.attributes & LONG != 0 {
            Self::Bits64
        } else if code.attributes & BIG != 0 {
            Self::Bits32
        } else {
            Self::Bits16
        }
    }

    const fn bits(self) -> u32 {
        match self {
            Self::Bits16 => 16,
            Self::Bits32 => 32,
            Self::Bits64 => 64,
        }
    }
}

/// Why bytes are no instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The bytes end before the instruction does.
    Truncated,
    /// No instruction that the decoder knows, or one of more than fifteen bytes.
    Invalid,
}

/// Builds the decoder's tables: call once before the first guest runs.
pub fn prepare() {
    // What comes out does not matter; that the tables are there does.
    let _ = decode(&[0x90], CodeSize::Bits64, 0);
}

/// Reads one instruction at `address` (the value of the instruction pointer).
fn decode(bytes: &[u8], code: CodeSize, address: u64) -> Result<Instruction, DecodeError> {
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    let mut decoder = Decoder::try_with_ip(code.bits(), bytes, address, DecoderOptions::NONE)
        .map_err(|_| DecodeError::Invalid)?;
    let instruction = decoder.decode();
    match decoder.last_error() {
        DecoderError::None => Ok(instruction),
        DecoderError::NoMoreBytes => Err(DecodeError::Truncated),
        _ => Err(DecodeError::Invalid),
    }
}
