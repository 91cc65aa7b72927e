//! The length of an instruction that hardware has intercepted, for processors that do not report it.
//!
//! The exit says what kind of instruction it was; the bytes are fetched afterwards, and another processor of
//! the guest may have changed them meanwhile. So the bytes are checked to be what the exit claims, and a
//! backend that gets [`Mismatch::Other`] just runs the guest again: it will meet the new instruction by itself.
//!
//! Use: fetch up to fifteen bytes at CS:RIP (an `Execute` access of the walk), as many as are there, and call
//! [`length`] or, for moves to and from control and debug registers, [`control_access`], which also says which
//! registers are meant: not every processor does (APM vol. 2 §15.8.1 is optional).

use super::register::{General, index};
use super::{CodeSize, DecodeError, decode};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// What an exit claims the instruction to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intercepted {
    /// CPUID.
    Cpuid,
    /// VMCALL or VMMCALL.
    Hypercall,
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
    /// RDTSC.
    ReadTsc,
    /// RDTSCP.
    ReadTscAndCpu,
    /// RDPMC.
    ReadCounter,
    /// XSETBV.
    SetExtendedControl,
    /// HLT.
    Halt,
    /// INVD.
    Invalidate,
    /// WBINVD or WBNOINVD.
    WriteBack,
    /// INVLPG.
    InvalidatePage,
    /// PAUSE.
    Pause,
    /// MONITOR or MONITORX.
    Monitor,
    /// MWAIT or MWAITX.
    Wait,
    /// IN, OUT, INS or OUTS.
    Port,
    /// INT n, INT3, INTO or ICEBP: an event to inject again needs the address behind it.
    SoftwareInterrupt,
}

/// Why there is no length to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// The bytes are another instruction, or none: the guest has changed it. Run the guest again.
    Other,
    /// The bytes end before the instruction does: fetch more, or let the guest fault on the next page.
    Truncated,
}

impl From<DecodeError> for Mismatch {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Truncated => Self::Truncated,
            DecodeError::Invalid => Self::Other,
        }
    }
}

/// The length in bytes (1..=15) of the instruction that begins `bytes`, if it is of the expected kind.
///
/// # Errors
/// [`Mismatch`].
pub fn length(bytes: &[u8], code: CodeSize, expected: Intercepted) -> Result<u8, Mismatch> {
    let instruction = decode(bytes, code, 0)?;
    if !is(&instruction, expected) {
        return Err(Mismatch::Other);
    }
    u8::try_from(instruction.len()).map_err(|_| Mismatch::Other)
}

#[rustfmt::skip]
fn is(instruction: &Instruction, expected: Intercepted) -> bool {
    use Mnemonic as M;
    let mnemonic = instruction.mnemonic();
    match expected {
        Intercepted::Cpuid              => mnemonic == M::Cpuid,
        Intercepted::Hypercall          => matches!(mnemonic, M::Vmcall | M::Vmmcall),
        Intercepted::ReadMsr            => mnemonic == M::Rdmsr,
        Intercepted::WriteMsr           => mnemonic == M::Wrmsr,
        Intercepted::ReadTsc            => mnemonic == M::Rdtsc,
        Intercepted::ReadTscAndCpu      => mnemonic == M::Rdtscp,
        Intercepted::ReadCounter        => mnemonic == M::Rdpmc,
        Intercepted::SetExtendedControl => mnemonic == M::Xsetbv,
        Intercepted::Halt               => mnemonic == M::Hlt,
        Intercepted::Invalidate         => mnemonic == M::Invd,
        Intercepted::WriteBack          => matches!(mnemonic, M::Wbinvd | M::Wbnoinvd),
        Intercepted::InvalidatePage     => mnemonic == M::Invlpg,
        Intercepted::Pause              => mnemonic == M::Pause,
        Intercepted::Monitor            => matches!(mnemonic, M::Monitor | M::Monitorx),
        Intercepted::Wait               => matches!(mnemonic, M::Mwait | M::Mwaitx),
        Intercepted::Port               => matches!(mnemonic, M::In | M::Out | M::Insb | M::Insw | M::Insd
                                                            | M::Outsb | M::Outsw | M::Outsd),
        Intercepted::SoftwareInterrupt  => matches!(mnemonic, M::Int | M::Int1 | M::Int3 | M::Into),
    }
}

/// An access to a control or debug register, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlAccess {
    /// The length of the instruction in bytes.
    pub length: u8,
    /// What it does.
    pub operation: ControlOperation,
}

/// What an instruction does with a control or debug register. General registers are numbered as in encodings:
/// 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP, 5 RBP, 6 RSI, 7 RDI, then R8 to R15.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlOperation {
    /// MOV from a control register.
    ReadControl {
        /// The control register.
        control: u8,
        /// The general register that receives it.
        general: u8,
    },
    /// MOV to a control register.
    WriteControl {
        /// The control register.
        control: u8,
        /// The general register that is written to it.
        general: u8,
    },
    /// MOV from a debug register.
    ReadDebug {
        /// The debug register.
        debug: u8,
        /// The general register that receives it.
        general: u8,
    },
    /// MOV to a debug register.
    WriteDebug {
        /// The debug register.
        debug: u8,
        /// The general register that is written to it.
        general: u8,
    },
    /// CLTS: clears CR0.TS.
    ClearTaskSwitched,
    /// LMSW from a general register (its low 16 bits).
    LoadStatus {
        /// The general register.
        general: u8,
    },
    /// LMSW from memory, or SMSW: emulate it.
    Status,
}

/// Decodes an access to a control or debug register.
///
/// # Errors
/// [`Mismatch`], where the bytes are another instruction.
pub fn control_access(bytes: &[u8], code: CodeSize) -> Result<ControlAccess, Mismatch> {
    let instruction = decode(bytes, code, 0)?;
    let operation = match instruction.mnemonic() {
        Mnemonic::Clts => ControlOperation::ClearTaskSwitched,
        Mnemonic::Smsw => ControlOperation::Status,
        Mnemonic::Lmsw if instruction.op0_kind() == OpKind::Register => ControlOperation::LoadStatus {
            general: number(instruction.op0_register())?,
        },
        Mnemonic::Lmsw => ControlOperation::Status,
        Mnemonic::Mov => move_of(instruction.op0_register(), instruction.op1_register())?,
        _ => return Err(Mismatch::Other),
    };
    let length = u8::try_from(instruction.len()).map_err(|_| Mismatch::Other)?;
    Ok(ControlAccess { length, operation })
}

fn move_of(to: Register, from: Register) -> Result<ControlOperation, Mismatch> {
    let control = |register| index(register, Register::CR0, 16);
    let debug = |register| index(register, Register::DR0, 16);
    if let Some(control) = control(from) {
        Ok(ControlOperation::ReadControl {
            control,
            general: number(to)?,
        })
    } else if let Some(control) = control(to) {
        Ok(ControlOperation::WriteControl {
            control,
            general: number(from)?,
        })
    } else if let Some(debug) = debug(from) {
        Ok(ControlOperation::ReadDebug {
            debug,
            general: number(to)?,
        })
    } else if let Some(debug) = debug(to) {
        Ok(ControlOperation::WriteDebug {
            debug,
            general: number(from)?,
        })
    } else {
        Err(Mismatch::Other)
    }
}

/// A general register's number.
fn number(register: Register) -> Result<u8, Mismatch> {
    General::of(register)
        .map(|general| general.number)
        .ok_or(Mismatch::Other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CodeSize::{Bits16, Bits32, Bits64};
    use xenvisor_core::vcpu::start::Segment;

    #[test]
    #[rustfmt::skip]
    fn lengths_are_those_of_the_encodings() {
        use Intercepted as I;
        let table: &[(&[u8], CodeSize, I, u8)] = &[
            (&[0x0f, 0xa2],                         Bits64, I::Cpuid, 2),
            (&[0x0f, 0xa2],                         Bits16, I::Cpuid, 2),
            (&[0x66, 0x2e, 0x0f, 0xa2],             Bits32, I::Cpuid, 4),
            (&[0x48, 0x0f, 0xa2, 0xcc],             Bits64, I::Cpuid, 3),
            (&[0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x0f, 0xa2], Bits64, I::Cpuid, 15),
            (&[0x0f, 0x01, 0xd9],                   Bits64, I::Hypercall, 3),
            (&[0x0f, 0x01, 0xc1],                   Bits32, I::Hypercall, 3),
            (&[0x0f, 0x32],                         Bits64, I::ReadMsr, 2),
            (&[0x0f, 0x30],                         Bits64, I::WriteMsr, 2),
            (&[0x0f, 0x31],                         Bits64, I::ReadTsc, 2),
            (&[0x0f, 0x01, 0xf9],                   Bits64, I::ReadTscAndCpu, 3),
            (&[0x0f, 0x33],                         Bits64, I::ReadCounter, 2),
            (&[0x0f, 0x01, 0xd1],                   Bits64, I::SetExtendedControl, 3),
            (&[0xf4],                               Bits64, I::Halt, 1),
            (&[0x0f, 0x08],                         Bits64, I::Invalidate, 2),
            (&[0x0f, 0x09],                         Bits64, I::WriteBack, 2),
            (&[0xf3, 0x0f, 0x09],                   Bits64, I::WriteBack, 3),
            (&[0x41, 0x0f, 0x01, 0x7c, 0x24, 0x08], Bits64, I::InvalidatePage, 6),
            (&[0xf3, 0x90],                         Bits64, I::Pause, 2),
            (&[0x0f, 0x01, 0xc8],                   Bits64, I::Monitor, 3),
            (&[0x0f, 0x01, 0xc9],                   Bits64, I::Wait, 3),
            (&[0xe4, 0x61],                         Bits64, I::Port, 2),
            (&[0x66, 0xef],                         Bits64, I::Port, 2),
            (&[0xf3, 0x6e],                         Bits64, I::Port, 2),
            (&[0xcd, 0x80],                         Bits32, I::SoftwareInterrupt, 2),
            (&[0xf1],                               Bits64, I::SoftwareInterrupt, 1),
        ];
        for (bytes, code, expected, len) in table {
            assert_eq!(length(bytes, *code, *expected), Ok(*len), "{bytes:x?}");
            for cut in 0..usize::from(*len) {
                // `pause` without its prefix is a whole instruction only from its end; no cut is one.
                assert_eq!(length(&bytes[..cut], *code, *expected), Err(Mismatch::Truncated), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn another_instruction_is_not_stepped_over() {
        assert_eq!(
            length(&[0x0f, 0x30], Bits64, Intercepted::ReadMsr),
            Err(Mismatch::Other)
        );
        assert_eq!(length(&[0x90], Bits64, Intercepted::Pause), Err(Mismatch::Other));
        assert_eq!(
            length(&[0x0f, 0x0b], Bits64, Intercepted::Cpuid),
            Err(Mismatch::Other)
        );
        assert_eq!(
            length(&[0xf0, 0x0f, 0xa2], Bits64, Intercepted::Cpuid),
            Err(Mismatch::Other)
        );
        assert_eq!(
            length(&[0x66; 16], Bits64, Intercepted::Cpuid),
            Err(Mismatch::Other)
        );
        assert_eq!(control_access(&[0x48, 0x89, 0xc3], Bits64), Err(Mismatch::Other));
    }

    #[test]
    #[rustfmt::skip]
    fn control_accesses_name_their_registers() {
        use ControlOperation as O;
        let table: &[(&[u8], CodeSize, u8, O)] = &[
            (&[0x0f, 0x22, 0xc0],       Bits32, 3, O::WriteControl { control: 0, general: 0 }),
            (&[0x0f, 0x20, 0xdf],       Bits64, 3, O::ReadControl { control: 3, general: 7 }),
            (&[0x44, 0x0f, 0x22, 0xc1], Bits64, 4, O::WriteControl { control: 8, general: 1 }),
            (&[0x41, 0x0f, 0x22, 0xe7], Bits64, 4, O::WriteControl { control: 4, general: 15 }),
            (&[0x0f, 0x23, 0xf8],       Bits64, 3, O::WriteDebug { debug: 7, general: 0 }),
            (&[0x0f, 0x21, 0xf3],       Bits16, 3, O::ReadDebug { debug: 6, general: 3 }),
            (&[0x0f, 0x06],             Bits64, 2, O::ClearTaskSwitched),
            (&[0x0f, 0x01, 0xf6],       Bits16, 3, O::LoadStatus { general: 6 }),
            (&[0x0f, 0x01, 0x30],       Bits64, 3, O::Status),
            (&[0x0f, 0x01, 0xe0],       Bits64, 3, O::Status),
        ];
        for (bytes, code, length, operation) in table {
            let expected = ControlAccess { length: *length, operation: *operation };
            assert_eq!(control_access(bytes, *code), Ok(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn the_code_segment_says_how_to_read() {
        let code = |attributes| Segment {
            attributes,
            ..Segment::default()
        };
        assert_eq!(CodeSize::of(&code(0xa09b), true), Bits64);
        assert_eq!(CodeSize::of(&code(0xc09b), true), Bits32);
        assert_eq!(CodeSize::of(&code(0xa09b), false), Bits16);
        assert_eq!(CodeSize::of(&code(0x009b), true), Bits16);
    }
}
