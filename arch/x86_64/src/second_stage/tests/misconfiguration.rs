//! No entry that is ever written is one of those a processor stops at (SDM vol. 3 §29.3.3.1).
//!
//! The rules are written down here once more, from the manual alone, and asked about every entry the format can make.

use xenvisor_core::number::Mfn;
use xenvisor_core::p2m::{Entry, EntryFormat, Level};

use super::super::ept::Ept;
use super::every_leaf;

/// Physical-address width of the processor asked: the smallest that has every frame the entries name.
const ADDRESS_BITS: u32 = 52;

fn formats() -> [Ept; 3] {
    [(false, false), (true, false), (true, true)].map(|(large_pages, huge_pages)| Ept {
        large_pages,
        huge_pages,
    })
}

fn bits(value: u64, high: u32, low: u32) -> u64 {
    value << (63 - high) >> (63 - high + low)
}

/// Why a processor without execute-only translations would call the entry misconfigured.
fn misconfiguration(entry: u64, level: u8, of: &Ept) -> Option<&'static str> {
    let (read, write, execute) = (entry & 1 != 0, entry & 2 != 0, entry & 4 != 0);
    if !read && !write && !execute {
        return None;
    }
    if !read && write {
        return Some("writable but not readable");
    }
    if !read && execute {
        return Some("execute-only");
    }
    if ADDRESS_BITS < 52 && bits(entry, 51, ADDRESS_BITS) != 0 {
        return Some("an address beyond the processor's");
    }
    let leaf = level == 0 || level < 3 && bits(entry, 7, 7) == 1;
    match level {
        3 if bits(entry, 7, 3) != 0 => return Some("reserved bits of a PML4E"),
        2 if leaf && !of.huge_pages => return Some("a leaf of 1 GiB"),
        1 if leaf && !of.large_pages => return Some("a leaf of 2 MiB"),
        2 if leaf && bits(entry, 29, 12) != 0 => return Some("a misaligned leaf of 1 GiB"),
        1 if leaf && bits(entry, 20, 12) != 0 => return Some("a misaligned leaf of 2 MiB"),
        1 | 2 if !leaf && bits(entry, 6, 3) != 0 => return Some("reserved bits of a table"),
        _ => {}
    }
    if leaf && matches!(bits(entry, 5, 3), 2 | 3 | 7) {
        return Some("a reserved memory type");
    }
    None
}

/// Every entry the format makes at a level.
fn every_entry(of: &Ept, level: u8) -> Vec<Entry> {
    let mut entries = vec![Entry::Absent];
    if level > 0 {
        entries.extend([0, 5, (1 << 40) - 1].map(|mfn| Entry::Table(Mfn::new(mfn))));
    }
    // Leaves that the processor does not have are asked for as well: they must come out as nothing.
    entries.extend(every_leaf(level.min(2)));
    entries.retain(|entry| level < 3 || !matches!(entry, Entry::Leaf(_)) || Level(level) > of.highest_leaf());
    entries
}

#[test]
fn no_entry_is_misconfigured_on_the_processor_it_is_made_for() {
    for format in formats() {
        for level in 0..=3 {
            for entry in every_entry(&format, level) {
                let bits = format.encode(entry, Level(level));
                let trouble = misconfiguration(bits, level, &format);
                assert_eq!(trouble, None, "{format:?}, level {level}, {entry:?}: {bits:#x}");
            }
        }
    }
}

#[test]
fn the_rules_catch_each_single_mistake() {
    let all = Ept {
        large_pages: true,
        huge_pages: true,
    };
    let small = Ept {
        large_pages: false,
        huge_pages: false,
    };
    for (entry, level, of, rule) in [
        (0x1002, 0, all, "writable but not readable"),
        (0x1006, 1, all, "writable but not readable"),
        (0x1034, 0, all, "execute-only"),
        (0x1087, 3, all, "reserved bits of a PML4E"),
        (0x100f, 2, all, "reserved bits of a table"),
        (0x1047, 1, all, "reserved bits of a table"),
        (0x4000_00b7, 2, small, "a leaf of 1 GiB"),
        (0x20_00b7, 1, small, "a leaf of 2 MiB"),
        (0x20_00b7, 2, all, "a misaligned leaf of 1 GiB"),
        (0x10_00b7, 1, all, "a misaligned leaf of 2 MiB"),
        (0x1017, 0, all, "a reserved memory type"),
        (0x101f, 0, all, "a reserved memory type"),
        (0x103f, 0, all, "a reserved memory type"),
    ] {
        assert_eq!(misconfiguration(entry, level, &of), Some(rule), "{entry:#x}");
    }
}

#[test]
fn every_leaf_is_readable_and_memory_is_write_back_and_devices_uncacheable() {
    let format = Ept {
        large_pages: true,
        huge_pages: true,
    };
    for level in 0..=2 {
        for entry in every_leaf(level) {
            let Entry::Leaf(target) = entry else { continue };
            let bits_of = format.encode(entry, Level(level));
            let device = target.kind == xenvisor_core::p2m::Kind::Device;
            assert_eq!(bits(bits_of, 5, 3), if device { 0 } else { 6 });
            assert_eq!(bits(bits_of, 6, 6), 0, "the guest's PAT has its say");
            assert_eq!(bits(bits_of, 0, 0), 1);
            assert_eq!(
                bits(bits_of, 9, 8),
                3,
                "hardware never has to write accessed or dirty"
            );
            assert_eq!(bits(bits_of, 7, 7), u64::from(level > 0));
        }
    }
}
