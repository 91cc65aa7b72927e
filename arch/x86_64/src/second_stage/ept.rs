//! Intel's extended page tables (SDM vol. 3 §29.3.2).
//!
//! Memory is write-back and the guest's PAT has its say; device memory is uncacheable. Accessed and dirty bits are
//! set from the start, as for the nested tables: hardware that keeps them then never writes into a table, and
//! hardware that does not ignores them.

use xenvisor_core::number::Mfn;
use xenvisor_core::p2m::{Entry, EntryFormat, Kind, Level, Rights, Target};

use super::{ADDRESS_MASK, ROOT, kind_bits, kind_of};

const READ: u64 = 1;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
/// Memory type write-back, in bits 5 to 3. Uncacheable is 0.
const WRITE_BACK: u64 = 6 << 3;
const LARGE: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 8;
const DIRTY: u64 = 1 << 9;

/// The extended-table format of a processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ept {
    /// Whether leaves of 2 MiB exist (IA32_VMX_EPT_VPID_CAP bit 16).
    pub large_pages: bool,
    /// Whether leaves of 1 GiB exist (bit 17 there).
    pub huge_pages: bool,
}

impl EntryFormat for Ept {
    fn encode(&self, entry: Entry, level: Level) -> u64 {
        match entry {
            Entry::Absent => 0,
            Entry::Table(mfn) => address(mfn) | READ | WRITE | EXECUTE | ACCESSED,
            Entry::Leaf(_) if level > self.highest_leaf() => 0,
            Entry::Leaf(target) => {
                let rights = match target.rights {
                    Rights::Read => READ,
                    Rights::ReadExecute => READ | EXECUTE,
                    Rights::ReadWrite => READ | WRITE,
                    Rights::ReadWriteExecute => READ | WRITE | EXECUTE,
                };
                let memory_type = if target.kind == Kind::Device {
                    0
                } else {
                    WRITE_BACK
                };
                let large = if level > Level(0) { LARGE } else { 0 };
                address(target.mfn) | kind_bits(target.kind) | rights | memory_type | large | ACCESSED | DIRTY
            }
        }
    }

    fn decode(&self, bits: u64, level: Level) -> Entry {
        if bits & (READ | WRITE | EXECUTE) == 0 {
            return Entry::Absent;
        }
        let mfn = Mfn::new((bits & ADDRESS_MASK) >> 12);
        if level.0 >= ROOT || (level.0 > 0 && bits & LARGE == 0) {
            return Entry::Table(mfn);
        }
        let rights = match (bits & WRITE != 0, bits & EXECUTE != 0) {
            (false, false) => Rights::Read,
            (false, true) => Rights::ReadExecute,
            (true, false) => Rights::ReadWrite,
            (true, true) => Rights::ReadWriteExecute,
        };
        kind_of(bits).map_or(Entry::Absent, |kind| Entry::Leaf(Target { mfn, rights, kind }))
    }

    fn highest_leaf(&self) -> Level {
        Level(match (self.large_pages, self.huge_pages) {
            (true, true) => 2,
            (true, false) => 1,
            (false, _) => 0,
        })
    }
}

const fn address(mfn: Mfn) -> u64 {
    mfn.raw().wrapping_shl(12) & ADDRESS_MASK
}
