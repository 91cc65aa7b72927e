//! AMD's nested page tables: the format of ordinary four-level tables (APM vol. 2 §15.25, §5.4).
//!
//! A nested walk is a user access, so every entry carries the user bit; no-execute works because the host runs
//! with EFER.NXE. Accessed and dirty bits are set from the start: the hardware then never writes into a table, and
//! a change of an entry can never be lost to it. Device memory is made uncacheable by PCD and PWT, which select the
//! host's PAT entry 3.

use xenvisor_core::number::Mfn;
use xenvisor_core::p2m::{Entry, EntryFormat, Kind, Level, Rights, Target};

use super::{ADDRESS_MASK, ROOT, kind_bits, kind_of};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// The nested-table format of a processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Npt {
    /// Whether the processor has 1 GiB pages (CPUID 0x8000_0001 EDX bit 26).
    pub huge_pages: bool,
}

impl EntryFormat for Npt {
    fn encode(&self, entry: Entry, level: Level) -> u64 {
        match entry {
            Entry::Absent => 0,
            Entry::Table(mfn) => address(mfn) | PRESENT | WRITABLE | USER | ACCESSED,
            Entry::Leaf(_) if level > self.highest_leaf() => 0,
            Entry::Leaf(target) => {
                let rights = match target.rights {
                    Rights::Read => NO_EXECUTE,
                    Rights::ReadExecute => 0,
                    Rights::ReadWrite => WRITABLE | NO_EXECUTE,
                    Rights::ReadWriteExecute => WRITABLE,
                };
                let cache = if target.kind == Kind::Device {
                    WRITE_THROUGH | CACHE_DISABLE
                } else {
                    0
                };
                let large = if level > Level(0) { LARGE } else { 0 };
                address(target.mfn)
                    | kind_bits(target.kind)
                    | rights
                    | cache
                    | large
                    | PRESENT
                    | USER
                    | ACCESSED
                    | DIRTY
            }
        }
    }

    fn decode(&self, bits: u64, level: Level) -> Entry {
        if bits & PRESENT == 0 {
            return Entry::Absent;
        }
        let mfn = Mfn::new((bits & ADDRESS_MASK) >> 12);
        if level.0 >= ROOT || (level.0 > 0 && bits & LARGE == 0) {
            return Entry::Table(mfn);
        }
        let rights = match (bits & WRITABLE != 0, bits & NO_EXECUTE != 0) {
            (false, true) => Rights::Read,
            (false, false) => Rights::ReadExecute,
            (true, true) => Rights::ReadWrite,
            (true, false) => Rights::ReadWriteExecute,
        };
        kind_of(bits).map_or(Entry::Absent, |kind| Entry::Leaf(Target { mfn, rights, kind }))
    }

    fn highest_leaf(&self) -> Level {
        Level(if self.huge_pages { 2 } else { 1 })
    }
}

const fn address(mfn: Mfn) -> u64 {
    mfn.raw().wrapping_shl(12) & ADDRESS_MASK
}
