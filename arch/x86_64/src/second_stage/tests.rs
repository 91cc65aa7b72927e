//! Both formats against the same sentences.

mod misconfiguration;

use xenvisor_core::number::Mfn;
use xenvisor_core::p2m::{Entry, EntryFormat, Kind, Level, Rights, Target};

use super::ept::Ept;
use super::npt::Npt;

const KINDS: [Kind; 5] = [Kind::Ram, Kind::Special, Kind::Grant, Kind::Foreign, Kind::Device];
const RIGHTS: [Rights; 4] = [
    Rights::Read,
    Rights::ReadExecute,
    Rights::ReadWrite,
    Rights::ReadWriteExecute,
];

fn formats() -> [(&'static str, &'static dyn EntryFormat); 5] {
    [
        ("npt", &Npt { huge_pages: true }),
        ("npt without 1 GiB", &Npt { huge_pages: false }),
        (
            "ept",
            &Ept {
                large_pages: true,
                huge_pages: true,
            },
        ),
        (
            "ept without 1 GiB",
            &Ept {
                large_pages: true,
                huge_pages: false,
            },
        ),
        (
            "ept of 4 KiB only",
            &Ept {
                large_pages: false,
                huge_pages: false,
            },
        ),
    ]
}

fn every_leaf(level: u8) -> impl Iterator<Item = Entry> {
    let mfns = [1_u64, 0x1234, (1 << 40) - 1].map(|mfn| Mfn::new(mfn >> (9 * level) << (9 * level)));
    KINDS.into_iter().flat_map(move |kind| {
        RIGHTS
            .into_iter()
            .flat_map(move |rights| mfns.map(|mfn| Entry::Leaf(Target { mfn, rights, kind })))
    })
}

#[test]
fn what_is_encoded_is_decoded_again() {
    for (name, format) in formats() {
        for level in 0..=3 {
            let tables = [0, 5, (1 << 40) - 1].map(|mfn| Entry::Table(Mfn::new(mfn)));
            let mut entries = vec![Entry::Absent];
            if level > 0 {
                entries.extend(tables);
            }
            if Level(level) <= format.highest_leaf() {
                entries.extend(every_leaf(level));
            }
            for entry in entries {
                let bits = format.encode(entry, Level(level));
                assert_eq!(
                    format.decode(bits, Level(level)),
                    entry,
                    "{name}, level {level}, {bits:#x}"
                );
            }
        }
    }
}

#[test]
fn a_leaf_above_the_highest_leaf_is_never_written() {
    for (name, format) in formats() {
        for level in format.highest_leaf().0 + 1..=4 {
            for entry in every_leaf(level.min(3)) {
                assert_eq!(format.encode(entry, Level(level)), 0, "{name}, level {level}");
            }
        }
    }
}

#[test]
fn no_bit_pattern_is_too_odd_to_decode() {
    for (_, format) in formats() {
        for bit in 0..64 {
            for level in 0..=5 {
                let _ = format.decode(1 << bit, Level(level));
                let _ = format.decode(!(1 << bit), Level(level));
            }
        }
    }
}

#[test]
fn npt_bits_are_those_of_the_manual() {
    let npt = Npt { huge_pages: true };
    let leaf = |rights, kind| {
        Entry::Leaf(Target {
            mfn: Mfn::new(0x200),
            rights,
            kind,
        })
    };
    let ram = |rights| npt.encode(leaf(rights, Kind::Ram), Level(0));
    assert_eq!(ram(Rights::ReadWriteExecute), 0x20_0067);
    assert_eq!(ram(Rights::ReadExecute), 0x20_0065);
    assert_eq!(ram(Rights::ReadWrite), 0x8000_0000_0020_0067);
    assert_eq!(ram(Rights::Read), 0x8000_0000_0020_0065);
    assert_eq!(
        npt.encode(leaf(Rights::ReadWriteExecute, Kind::Ram), Level(1)),
        0x20_00e7
    );
    assert_eq!(npt.encode(Entry::Table(Mfn::new(7)), Level(3)), 0x7027);
    assert_eq!(
        npt.encode(leaf(Rights::ReadWrite, Kind::Device), Level(0)),
        0x8040_0000_0020_007f
    );
}

#[test]
fn ept_bits_are_those_of_the_manual() {
    let ept = Ept {
        large_pages: true,
        huge_pages: true,
    };
    let leaf = |rights, kind| {
        Entry::Leaf(Target {
            mfn: Mfn::new(0x200),
            rights,
            kind,
        })
    };
    let ram = |rights| ept.encode(leaf(rights, Kind::Ram), Level(0));
    assert_eq!(ram(Rights::ReadWriteExecute), 0x20_0337);
    assert_eq!(ram(Rights::ReadExecute), 0x20_0335);
    assert_eq!(ram(Rights::ReadWrite), 0x20_0333);
    assert_eq!(ram(Rights::Read), 0x20_0331);
    assert_eq!(
        ept.encode(leaf(Rights::ReadWriteExecute, Kind::Ram), Level(1)),
        0x20_03b7
    );
    assert_eq!(ept.encode(Entry::Table(Mfn::new(7)), Level(3)), 0x7107);
    assert_eq!(
        ept.encode(leaf(Rights::ReadWrite, Kind::Device), Level(0)),
        0x0040_0000_0020_0303
    );
}

/// The walker and each format together: every sequence of changes, every instant of each.
mod with_the_walker {
    use super::*;
    use xenvisor_core::p2m::battery;

    #[test]
    fn nested_tables_are_right_at_every_instant() {
        for huge_pages in [false, true] {
            battery::all(Npt { huge_pages });
        }
    }

    #[test]
    fn extended_tables_of_small_leaves_only_are_right_at_every_instant() {
        let small = Ept {
            large_pages: false,
            huge_pages: false,
        };
        battery::each_instant_shows_the_old_or_the_new_mapping(&small, 0);
        battery::without_frames_nothing_changes_for_the_guest(&small, 0);
        battery::every_entry_survives_its_encoding(&small);
    }

    #[test]
    fn extended_tables_are_right_at_every_instant() {
        for (large_pages, huge_pages) in [(true, false), (true, true)] {
            battery::all(Ept {
                large_pages,
                huge_pages,
            });
        }
    }
}
