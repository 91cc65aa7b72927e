//! How this machine's processors write second-stage entries: AMD's nested tables and Intel's extended ones.
//!
//! Both are pure translations between [`Entry`](xenvisor_core::p2m::Entry) and bits; the walker above them never
//! sees a bit, and nothing here ever walks.
#![forbid(unsafe_code)]

pub mod ept;
pub mod npt;

use xenvisor_core::p2m::Kind;

/// Where both formats keep the [`Kind`] of a leaf: bits that either hardware ignores.
const KIND_SHIFT: u32 = 52;
const KIND_MASK: u64 = 0b111 << KIND_SHIFT;
/// The machine frame of an entry: bits 51 to 12.
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;
/// The highest level, whose entries are always tables.
const ROOT: u8 = 3;

const fn kind_bits(kind: Kind) -> u64 {
    let raw = match kind {
        Kind::Ram => 0,
        Kind::Special => 1,
        Kind::Grant => 2,
        Kind::Foreign => 3,
        Kind::Device => 4,
    };
    raw << KIND_SHIFT
}

/// `None` for bits that [`kind_bits`] never makes.
const fn kind_of(bits: u64) -> Option<Kind> {
    match (bits & KIND_MASK) >> KIND_SHIFT {
        0 => Some(Kind::Ram),
        1 => Some(Kind::Special),
        2 => Some(Kind::Grant),
        3 => Some(Kind::Foreign),
        4 => Some(Kind::Device),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
