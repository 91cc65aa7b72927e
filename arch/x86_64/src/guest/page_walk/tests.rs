//! Walks of guests' page tables, in all modes, with every reason to refuse.

use super::walk::{ACCESSED, DIRTY, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use super::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use xenvisor_core::machine::NotRam;

/// Guest memory of which only the written words exist.
#[derive(Default)]
struct Memory {
    words: RefCell<BTreeMap<u64, u64>>,
    /// How many compare-and-exchanges shall find that another processor was faster.
    races: Cell<u32>,
}

impl Memory {
    fn put(&self, at: u64, word: u64) {
        self.words.borrow_mut().insert(at, word);
    }
    fn get(&self, at: u64) -> u64 {
        self.words.borrow()[&at]
    }
}

impl GuestRam for Memory {
    fn read(&self, at: GuestAddr, into: &mut [u8]) -> Result<(), NotRam> {
        assert_eq!((at.raw() % 8, into.len()), (0, 8));
        let word = self.words.borrow().get(&at.raw()).copied().ok_or(NotRam(at))?;
        into.copy_from_slice(&word.to_le_bytes());
        Ok(())
    }
    fn write(&self, _: GuestAddr, _: &[u8]) -> Result<(), NotRam> {
        panic!("a walk only exchanges")
    }
    fn compare_exchange(&self, at: GuestAddr, old: u64, new: u64) -> Result<bool, NotRam> {
        let mut words = self.words.borrow_mut();
        let word = words.get_mut(&at.raw()).ok_or(NotRam(at))?;
        if self.races.get() > 0 {
            self.races.set(self.races.get() - 1);
            return Ok(false);
        }
        if *word != old {
            return Ok(false);
        }
        *word = new;
        Ok(true)
    }
}

fn long_mode() -> Paging {
    Paging {
        cr0: Cr0::PAGING | Cr0::WRITE_PROTECT,
        cr3: 0x1000,
        cr4: Cr4::PHYSICAL_ADDRESS_EXTENSION,
        efer: Efer::LONG_MODE_ACTIVE | Efer::NO_EXECUTE,
        pointers: None,
        protection_keys: 0,
        address_bits: 40,
        huge_pages: true,
    }
}

fn pae() -> Paging {
    Paging {
        efer: Efer::NO_EXECUTE,
        ..long_mode()
    }
}

fn two_level() -> Paging {
    Paging {
        efer: Efer::empty(),
        cr4: Cr4::PAGE_SIZE_EXTENSIONS,
        ..long_mode()
    }
}

const SUPERVISOR: Privilege = Privilege::Supervisor {
    alignment_check: false,
};
const LIFTED: Privilege = Privilege::Supervisor {
    alignment_check: true,
};
/// Present, writable, user, accessed and dirty.
const ALL: u64 = 0x67;

fn access(kind: Kind, privilege: Privilege) -> Access {
    Access { kind, privilege }
}

fn walk(
    memory: &Memory,
    paging: &Paging,
    address: u64,
    kind: Kind,
    privilege: Privilege,
) -> Result<u64, WalkError> {
    translate(memory, paging, LinearAddr::new(address), access(kind, privilege)).map(|found| found.at.raw())
}

/// 0x7fff_1234_5678 leads to 0x55678 through four tables, whose entries carry `flags`.
fn four_levels(flags: u64) -> (Memory, u64) {
    let address = 0x7fff_1234_5678_u64;
    let memory = Memory::default();
    memory.put(0x1000 + (address >> 39 & 0x1ff) * 8, 0x2000 | ALL);
    memory.put(0x2000 + (address >> 30 & 0x1ff) * 8, 0x3000 | ALL);
    memory.put(0x3000 + (address >> 21 & 0x1ff) * 8, 0x4000 | ALL);
    memory.put(0x4000 + (address >> 12 & 0x1ff) * 8, 0x55000 | flags);
    (memory, address)
}

fn code(result: Result<u64, WalkError>) -> u32 {
    match result {
        Err(WalkError::Fault(fault)) => fault.code.bits(),
        other => panic!("no page fault but {other:?}"),
    }
}

#[test]
fn without_paging_an_address_is_itself_in_32_bits() {
    let paging = Paging {
        cr0: Cr0::empty(),
        ..long_mode()
    };
    let found = walk(
        &Memory::default(),
        &paging,
        0xffff_ffff_1234_5678,
        Kind::Write,
        Privilege::User,
    );
    assert_eq!(found, Ok(0x1234_5678));
}

#[test]
fn four_levels_lead_to_the_byte() {
    let (memory, address) = four_levels(ALL);
    let found = translate(
        &memory,
        &long_mode(),
        LinearAddr::new(address),
        access(Kind::Read, SUPERVISOR),
    )
    .unwrap();
    assert_eq!(found.at, GuestAddr::new(0x55678));
    assert_eq!(found.left(), 0x1000 - 0x678);
}

#[test]
fn large_and_huge_leaves_keep_the_address_below_them() {
    let memory = Memory::default();
    memory.put(0x1000, 0x2000 | ALL);
    memory.put(0x2000, 0x4000_0000 | ALL | LARGE);
    memory.put(0x2008, 0x3000 | ALL);
    memory.put(0x3000, 0x60_0000 | ALL | LARGE | 1 << 12);
    let paging = long_mode();
    let huge = translate(
        &memory,
        &paging,
        LinearAddr::new(0x1234_5678),
        access(Kind::Read, SUPERVISOR),
    );
    assert_eq!(
        huge,
        Ok(Translation {
            at: GuestAddr::new(0x5234_5678),
            page: Order::HUGE
        })
    );
    let large = translate(
        &memory,
        &paging,
        LinearAddr::new(0x4001_2345),
        access(Kind::Read, SUPERVISOR),
    );
    assert_eq!(
        large,
        Ok(Translation {
            at: GuestAddr::new(0x61_2345),
            page: Order::LARGE
        })
    );
    // Without 1 GiB pages the size bit is reserved there.
    let small = Paging {
        huge_pages: false,
        ..paging
    };
    assert_eq!(
        code(walk(&memory, &small, 0x1234_5678, Kind::Read, SUPERVISOR)),
        0b1001
    );
}

#[test]
fn a_non_canonical_address_is_no_page_fault() {
    let address = 0x8000_0000_0000;
    let found = walk(&Memory::default(), &long_mode(), address, Kind::Read, SUPERVISOR);
    assert_eq!(found, Err(WalkError::NonCanonical(LinearAddr::new(address))));
    assert!(is_canonical(LinearAddr::new(0xffff_8000_0000_0000)));
    assert!(is_canonical(LinearAddr::new(0x7fff_ffff_ffff)));
}

#[test]
fn the_error_code_says_who_did_what() {
    let (memory, address) = four_levels(0);
    let paging = long_mode();
    for (kind, privilege, expected) in [
        (Kind::Read, SUPERVISOR, 0b0_0000),
        (Kind::Write, SUPERVISOR, 0b0_0010),
        (Kind::Read, Privilege::User, 0b0_0100),
        (Kind::Execute, Privilege::User, 0b1_0100),
    ] {
        assert_eq!(
            code(walk(&memory, &paging, address, kind, privilege)),
            expected,
            "{kind:?} {privilege:?}"
        );
    }
    // Fetches say so only where the processor could tell them apart.
    let plain = Paging {
        efer: Efer::LONG_MODE_ACTIVE,
        ..paging
    };
    assert_eq!(
        code(walk(&memory, &plain, address, Kind::Execute, Privilege::User)),
        0b0_0100
    );
    let smep = Paging {
        cr4: plain.cr4 | Cr4::SMEP,
        ..plain
    };
    assert_eq!(
        code(walk(&memory, &smep, address, Kind::Execute, Privilege::User)),
        0b1_0100
    );
}

#[test]
fn rights_follow_the_table_of_the_manual() {
    let user_read_only = PRESENT | USER | ACCESSED;
    let supervisor_page = PRESENT | WRITABLE | ACCESSED | DIRTY;
    let base = long_mode();
    let loose = Paging {
        cr0: Cr0::PAGING,
        ..base
    };
    let smap = Paging {
        cr4: base.cr4 | Cr4::SMAP,
        ..base
    };
    let smep = Paging {
        cr4: base.cr4 | Cr4::SMEP,
        ..base
    };
    #[rustfmt::skip]
    let table = [
        (user_read_only,     base,  Kind::Read,    Privilege::User,     true),
        (user_read_only,     base,  Kind::Write,   Privilege::User,     false),
        (user_read_only,     base,  Kind::Write,   SUPERVISOR,          false),
        (user_read_only,     loose, Kind::Write,   SUPERVISOR,          true),
        (user_read_only,     loose, Kind::Write,   Privilege::User,     false),
        (user_read_only,     base,  Kind::Execute, SUPERVISOR,          true),
        (user_read_only,     smep,  Kind::Execute, SUPERVISOR,          false),
        (user_read_only,     smep,  Kind::Read,    SUPERVISOR,          true),
        (user_read_only,     smap,  Kind::Read,    SUPERVISOR,          false),
        (user_read_only,     smap,  Kind::Read,    LIFTED,              true),
        (user_read_only,     smap,  Kind::Read,    Privilege::Implicit, false),
        (user_read_only,     smap,  Kind::Execute, SUPERVISOR,          true),
        (supervisor_page,    base,  Kind::Read,    Privilege::User,     false),
        (supervisor_page,    smap,  Kind::Write,   SUPERVISOR,          true),
        (supervisor_page,    base,  Kind::Execute, Privilege::User,     false),
        (ALL | NO_EXECUTE,   base,  Kind::Execute, Privilege::User,     false),
        (ALL | NO_EXECUTE,   base,  Kind::Write,   Privilege::User,     true),
    ];
    for (flags, paging, kind, privilege, allowed) in table {
        let (memory, address) = four_levels(flags);
        let found = walk(&memory, &paging, address, kind, privilege);
        assert_eq!(
            found.is_ok(),
            allowed,
            "{flags:#x} {kind:?} {privilege:?}: {found:?}"
        );
        if !allowed {
            assert_eq!(code(found) & 1, 1);
        }
    }
}

#[test]
fn an_upper_level_can_forbid_what_the_leaf_allows() {
    let (memory, address) = four_levels(ALL);
    memory.put(
        0x2000 + (address >> 30 & 0x1ff) * 8,
        0x3000 | PRESENT | ACCESSED | NO_EXECUTE,
    );
    let paging = long_mode();
    assert_eq!(
        code(walk(&memory, &paging, address, Kind::Write, SUPERVISOR)),
        0b11
    );
    assert_eq!(
        code(walk(&memory, &paging, address, Kind::Read, Privilege::User)),
        0b101
    );
    assert_eq!(
        code(walk(&memory, &paging, address, Kind::Execute, SUPERVISOR)),
        0b1_0001
    );
}

#[test]
fn reserved_bits_fault_at_their_level() {
    let paging = long_mode();
    for (level, bits) in [
        (0x1000 + 0xff * 8, LARGE),
        (0x1000 + 0xff * 8, 1 << 40),
        (0x4000 + (0x7fff_1234_5678_u64 >> 12 & 0x1ff) * 8, 1 << 51),
    ] {
        let (memory, address) = four_levels(ALL);
        memory.put(level, memory.get(level) | bits);
        assert_eq!(
            code(walk(&memory, &paging, address, Kind::Read, SUPERVISOR)),
            0b1001,
            "{bits:#x}"
        );
    }
    // Bits 62:52 are the guest's own in long mode; bit 63 is reserved until EFER.NXE.
    let (memory, address) = four_levels(ALL | 0x7ff << 52);
    assert!(walk(&memory, &paging, address, Kind::Read, SUPERVISOR).is_ok());
    let (memory, address) = four_levels(ALL | NO_EXECUTE);
    let plain = Paging {
        efer: Efer::LONG_MODE_ACTIVE,
        ..paging
    };
    assert_eq!(
        code(walk(&memory, &plain, address, Kind::Read, SUPERVISOR)),
        0b1001
    );
}

#[test]
fn protection_keys_guard_data_of_user_pages() {
    let (memory, address) = four_levels(ALL | 5 << 59);
    let base = Paging {
        cr4: long_mode().cr4 | Cr4::PROTECTION_KEYS,
        ..long_mode()
    };
    let no_access = Paging {
        protection_keys: 1 << 10,
        ..base
    };
    let no_write = Paging {
        protection_keys: 2 << 10,
        ..base
    };
    let other_key = Paging {
        protection_keys: 3 << 8,
        ..base
    };
    assert_eq!(
        code(walk(&memory, &no_access, address, Kind::Read, SUPERVISOR)),
        0b10_0001
    );
    assert!(walk(&memory, &no_access, address, Kind::Execute, SUPERVISOR).is_ok());
    assert_eq!(
        code(walk(&memory, &no_write, address, Kind::Write, Privilege::User)),
        0b10_0111
    );
    assert!(walk(&memory, &no_write, address, Kind::Read, Privilege::User).is_ok());
    let loose = Paging {
        cr0: Cr0::PAGING,
        ..no_write
    };
    assert!(walk(&memory, &loose, address, Kind::Write, SUPERVISOR).is_ok());
    assert!(walk(&memory, &other_key, address, Kind::Write, Privilege::User).is_ok());
}

#[test]
fn accessed_and_dirty_are_set_on_success_only() {
    let paging = long_mode();
    let (memory, address) = four_levels(PRESENT | WRITABLE);
    let leaf = 0x4000 + (address >> 12 & 0x1ff) * 8;
    let top = 0x1000 + (address >> 39 & 0x1ff) * 8;
    memory.put(top, 0x2000 | PRESENT | WRITABLE | USER);
    assert!(walk(&memory, &paging, address, Kind::Write, Privilege::User).is_err());
    assert_eq!(
        (memory.get(top) & ACCESSED, memory.get(leaf) & (ACCESSED | DIRTY)),
        (0, 0)
    );
    walk(&memory, &paging, address, Kind::Read, SUPERVISOR).unwrap();
    assert_eq!(
        (
            memory.get(top) & (ACCESSED | DIRTY),
            memory.get(leaf) & (ACCESSED | DIRTY)
        ),
        (ACCESSED, ACCESSED)
    );
    walk(&memory, &paging, address, Kind::Write, SUPERVISOR).unwrap();
    assert_eq!((memory.get(top) & DIRTY, memory.get(leaf) & DIRTY), (0, DIRTY));
}

#[test]
fn a_lost_race_is_walked_again_and_an_endless_one_ends() {
    let (memory, address) = four_levels(PRESENT | WRITABLE);
    memory.races.set(3);
    assert_eq!(
        walk(&memory, &long_mode(), address, Kind::Write, SUPERVISOR),
        Ok(0x55678)
    );
    let (memory, address) = four_levels(PRESENT | WRITABLE);
    memory.races.set(1000);
    assert_eq!(
        walk(&memory, &long_mode(), address, Kind::Write, SUPERVISOR),
        Err(WalkError::Contended)
    );
}

#[test]
fn tables_outside_memory_are_named() {
    let (memory, address) = four_levels(ALL);
    memory.put(0x1000 + (address >> 39 & 0x1ff) * 8, 0x99_0000 | ALL);
    let at = GuestAddr::new(0x99_0000 + (address >> 30 & 0x1ff) * 8);
    let found = walk(&memory, &long_mode(), address, Kind::Read, SUPERVISOR);
    assert_eq!(found, Err(WalkError::TableOutsideMemory(at)));
}

#[test]
fn pae_takes_its_pointers_from_memory_or_from_registers() {
    let memory = Memory::default();
    // CR3 is 32-byte aligned in PAE.
    let paging = Paging { cr3: 0x1020, ..pae() };
    memory.put(0x1038, 0x3000 | PRESENT | ACCESSED);
    memory.put(0x3000 + 0x1ff * 8, 0x4000 | ALL);
    memory.put(0x4000 + 0x1fe * 8, 0x2_5500_0000 | ALL | NO_EXECUTE);
    assert_eq!(
        walk(&memory, &paging, 0xffff_e123, Kind::Read, Privilege::User),
        Ok(0x2_5500_0123)
    );
    assert_eq!(
        code(walk(
            &memory,
            &paging,
            0xffff_e123,
            Kind::Execute,
            Privilege::User
        )),
        0b1_0101
    );
    let held = Paging {
        pointers: Some([0, 0, 0, 0x3001]),
        cr3: 0x7000,
        ..paging
    };
    assert_eq!(
        walk(&memory, &held, 0xffff_e123, Kind::Read, Privilege::User),
        Ok(0x2_5500_0123)
    );
    assert_eq!(code(walk(&memory, &held, 0x1000, Kind::Read, SUPERVISOR)), 0);
    let odd = Paging {
        pointers: Some([0, 0, 0, 0x3003]),
        ..paging
    };
    assert_eq!(
        code(walk(&memory, &odd, 0xffff_e123, Kind::Read, SUPERVISOR)),
        0b1001
    );
    // The guest's own bits of long mode are reserved here.
    memory.put(0x4000 + 0x1fe * 8, 0x55000 | ALL | 1 << 52);
    assert_eq!(
        code(walk(&memory, &paging, 0xffff_e123, Kind::Read, SUPERVISOR)),
        0b1001
    );
}

#[test]
fn two_levels_pick_the_right_half_of_a_word_and_mark_only_it() {
    let memory = Memory::default();
    let paging = two_level();
    // Directory entry 3 is the odd half of the second word, table entry 4 the even half of the third.
    memory.put(0x1008, (0x2000 | PRESENT | WRITABLE) << 32 | 0xdead_0000);
    memory.put(0x2010, 0xbeef_0000 << 32 | 0x8765_4000 | PRESENT | WRITABLE);
    let address = 3 << 22 | 4 << 12 | 0x123;
    assert_eq!(
        walk(&memory, &paging, address, Kind::Write, SUPERVISOR),
        Ok(0x8765_4123)
    );
    assert_eq!(
        memory.get(0x1008),
        (0x2000 | PRESENT | WRITABLE | ACCESSED) << 32 | 0xdead_0000
    );
    assert_eq!(memory.get(0x2010), 0xbeef_0000 << 32 | 0x8765_4000 | 0x63);
}

#[test]
fn four_mebibyte_pages_reach_beyond_32_bits() {
    let memory = Memory::default();
    let paging = two_level();
    memory.put(0x1000, 0x1240_0000 | 0x5 << 13 | ALL | LARGE);
    let found = translate(
        &memory,
        &paging,
        LinearAddr::new(0x12_3456),
        access(Kind::Read, SUPERVISOR),
    )
    .unwrap();
    assert_eq!((found.at.raw(), found.page.bytes()), (0x5_1252_3456, 4 << 20));
    memory.put(0x1000, 0x1240_0000 | 1 << 21 | ALL | LARGE);
    assert_eq!(code(walk(&memory, &paging, 0, Kind::Read, SUPERVISOR)), 0b1001);
    let narrow = Paging {
        address_bits: 33,
        ..paging
    };
    memory.put(0x1000, 0x1240_0000 | 2 << 13 | ALL | LARGE);
    assert_eq!(code(walk(&memory, &narrow, 0, Kind::Read, SUPERVISOR)), 0b1001);
    // Without PSE the size bit means nothing, and the entry is a table.
    let plain = Paging {
        cr4: Cr4::empty(),
        ..paging
    };
    memory.put(0x1000, 0x2000 | ALL | LARGE);
    memory.put(0x2000, 0x7000 | ALL);
    assert_eq!(walk(&memory, &plain, 0x42, Kind::Read, SUPERVISOR), Ok(0x7042));
}

#[test]
fn a_table_that_maps_itself_is_walked_like_any_other() {
    let memory = Memory::default();
    let slot = 0x1000 + 0x100 * 8;
    memory.put(slot, 0x1000 | PRESENT | WRITABLE);
    let address = 0xffff_0000_0000_0000 | 0x100 << 39 | 0x100 << 30 | 0x100 << 21 | 0x100 << 12;
    assert_eq!(
        walk(&memory, &long_mode(), address | 8, Kind::Write, SUPERVISOR),
        Ok(0x1008)
    );
    assert_eq!(memory.get(slot), 0x1063);
}
