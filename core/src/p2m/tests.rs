//! The battery, on a format of no hardware: every bit its own way, and absence not zero.

use super::*;

#[derive(Clone)]
struct Plain {
    highest: u8,
    /// The bits of an absent entry. Some hardware has absent entries that are not zero.
    absent: u64,
}

const RIGHTS: [Rights; 4] = [
    Rights::Read,
    Rights::ReadExecute,
    Rights::ReadWrite,
    Rights::ReadWriteExecute,
];
const KINDS: [Kind; 5] = [Kind::Ram, Kind::Special, Kind::Grant, Kind::Foreign, Kind::Device];

impl EntryFormat for Plain {
    fn encode(&self, entry: Entry, _: Level) -> u64 {
        match entry {
            Entry::Absent => self.absent,
            Entry::Table(mfn) => 1 | mfn.raw() << 12,
            Entry::Leaf(target) => {
                let rights = RIGHTS.iter().position(|r| *r == target.rights).unwrap() as u64;
                let kind = KINDS.iter().position(|k| *k == target.kind).unwrap() as u64;
                3 | rights << 2 | kind << 4 | target.mfn.raw() << 12
            }
        }
    }

    fn decode(&self, bits: u64, _: Level) -> Entry {
        let mfn = Mfn::new(bits >> 12);
        match bits & 3 {
            1 => Entry::Table(mfn),
            3 => Entry::Leaf(Target {
                mfn,
                rights: RIGHTS[(bits >> 2 & 3) as usize],
                kind: KINDS[(bits >> 4 & 7) as usize],
            }),
            _ => Entry::Absent,
        }
    }

    fn highest_leaf(&self) -> Level {
        Level(self.highest)
    }
}

#[test]
fn the_walker_is_right_with_leaves_up_to_1_gib() {
    battery::all(Plain {
        highest: 2,
        absent: 0,
    });
}

#[test]
fn the_walker_is_right_with_leaves_up_to_2_mib() {
    battery::all(Plain {
        highest: 1,
        absent: 0x8000_0000_0000_0000,
    });
}
