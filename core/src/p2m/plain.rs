//! The entry format of machines that walk in software: the simulator's, and the tests'.

use super::{Entry, EntryFormat, Kind, Level, Rights, Target};
use crate::number::Mfn;

/// Present is bit 0, a leaf is bit 1, rights are bits 2–3, the kind is bits 4–6, the frame begins at bit 12.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain {
    /// The highest level that may hold leaves.
    pub highest_leaf: Level,
}

const PRESENT: u64 = 1;
const LEAF: u64 = 2;

impl EntryFormat for Plain {
    fn encode(&self, entry: Entry, _: Level) -> u64 {
        match entry {
            Entry::Absent => 0,
            Entry::Table(mfn) => PRESENT | mfn.raw() << 12,
            Entry::Leaf(target) => {
                let rights = match target.rights {
                    Rights::Read => 0,
                    Rights::ReadExecute => 1,
                    Rights::ReadWrite => 2,
                    Rights::ReadWriteExecute => 3,
                };
                let kind = match target.kind {
                    Kind::Ram => 0,
                    Kind::Special => 1,
                    Kind::Grant => 2,
                    Kind::Foreign => 3,
                    Kind::Device => 4,
                };
                PRESENT | LEAF | rights << 2 | kind << 4 | target.mfn.raw() << 12
            }
        }
    }

    fn decode(&self, bits: u64, _: Level) -> Entry {
        if bits & PRESENT == 0 {
            return Entry::Absent;
        }
        let mfn = Mfn::new(bits >> 12);
        if bits & LEAF == 0 {
            return Entry::Table(mfn);
        }
        let rights = match bits >> 2 & 3 {
            0 => Rights::Read,
            1 => Rights::ReadExecute,
            2 => Rights::ReadWrite,
            _ => Rights::ReadWriteExecute,
        };
        let kind = match bits >> 4 & 7 {
            0 => Kind::Ram,
            1 => Kind::Special,
            2 => Kind::Grant,
            3 => Kind::Foreign,
            _ => Kind::Device,
        };
        Entry::Leaf(Target { mfn, rights, kind })
    }

    fn highest_leaf(&self) -> Level {
        self.highest_leaf
    }
}
