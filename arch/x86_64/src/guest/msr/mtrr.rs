//! Memory type range registers: kept and checked, without effect.
//!
//! Under nested paging a guest's memory types come from its PAT and the second stage; these registers only
//! have to hold what the guest, which believes in them, writes. A guest starts with everything write-back.
//! SDM vol. 3 §11.11, APM vol. 2 §7.7.

use crate::guest::exception::Exception;

const CAPABILITY: u32 = 0xfe;
const VARIABLE: u32 = 0x200;
const DEFAULT_TYPE: u32 = 0x2ff;
/// The eleven registers of the first mebibyte, in order.
const FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];
/// Variable ranges: as many as Xen gives.
const RANGES: usize = 8;

const ENABLED: u64 = 1 << 11;
const FIXED_ENABLED: u64 = 1 << 10;
const WRITE_BACK: u64 = 6;
/// Eight ranges, fixed ranges, write-combining; no SMRR.
const CAPABILITIES: u64 = RANGES as u64 | 1 << 8 | 1 << 10;

/// The registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mtrrs {
    default_type: u64,
    fixed: [u64; 11],
    /// Base and mask, alternating.
    variable: [u64; RANGES * 2],
}

impl Mtrrs {
    /// As a guest finds them: on, and write-back where nothing else is said.
    pub const fn new() -> Self {
        Self {
            default_type: ENABLED | WRITE_BACK,
            fixed: [0; 11],
            variable: [0; RANGES * 2],
        }
    }

    /// Reads a register; `None` if it is none of these.
    pub fn read(&self, msr: u32) -> Option<u64> {
        match msr {
            CAPABILITY => Some(CAPABILITIES),
            DEFAULT_TYPE => Some(self.default_type),
            _ => variable(msr)
                .and_then(|at| self.variable.get(at))
                .or_else(|| {
                    FIXED
                        .iter()
                        .position(|fixed| *fixed == msr)
                        .and_then(|at| self.fixed.get(at))
                })
                .copied(),
        }
    }

    /// Writes a register; `None` if it is none of these, #GP where hardware would refuse the value.
    pub fn write(&mut self, msr: u32, value: u64, address_bits: u8) -> Option<Result<(), Exception>> {
        let address = 1_u64
            .checked_shl(address_bits.into())
            .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
            & !0xfff;
        let (slot, valid) = match msr {
            CAPABILITY => return Some(Err(Exception::GP)),
            DEFAULT_TYPE => {
                let reserved = !(ENABLED | FIXED_ENABLED | 0xff);
                (
                    &mut self.default_type,
                    value & reserved == 0 && is_type(value & 0xff),
                )
            }
            _ => match variable(msr) {
                Some(at) => {
                    let slot = self.variable.get_mut(at)?;
                    let valid = if at % 2 == 0 {
                        value & !(address | 0xff) == 0 && is_type(value & 0xff)
                    } else {
                        value & !(address | ENABLED) == 0
                    };
                    (slot, valid)
                }
                None => {
                    let at = FIXED.iter().position(|fixed| *fixed == msr)?;
                    let valid = value.to_le_bytes().iter().all(|each| is_type(u64::from(*each)));
                    (self.fixed.get_mut(at)?, valid)
                }
            },
        };
        if valid {
            *slot = value;
        }
        Some(if valid { Ok(()) } else { Err(Exception::GP) })
    }
}

/// The index of a variable-range register.
fn variable(msr: u32) -> Option<usize> {
    let at = usize::try_from(msr.checked_sub(VARIABLE)?).ok()?;
    (at < RANGES * 2).then_some(at)
}

/// Uncached, write-combining, write-through, write-protected, write-back.
const fn is_type(memory_type: u64) -> bool {
    matches!(memory_type, 0 | 1 | 4 | 5 | 6)
}

/// Whether each byte is a memory type that PAT knows: those of the ranges, and "uncached unless overridden".
pub fn is_pat(value: u64) -> bool {
    value
        .to_le_bytes()
        .iter()
        .all(|each| matches!(each, 0 | 1 | 4 | 5 | 6 | 7))
}
