//! Paging for 32-bit guests: all of the 4 GiB mapped to itself, in either format.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::Paging;
use crate::guest::Guest;

const PRESENT_WRITABLE: u32 = 3;
const LARGE: u32 = 0x80;
const CR0_PAGING: u32 = 1 << 31;
const CR4_PAGE_SIZE_EXTENSIONS: u32 = 1 << 4;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u32 = 1 << 5;

#[repr(C, align(4096))]
struct Table([AtomicU32; 1024]);

impl Table {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 1024])
    }

    fn address(&self) -> u32 {
        self.0.as_ptr().expose_provenance() as u32
    }
}

/// Page directories: the first one alone in 32-bit paging, one for each GiB in PAE paging.
static DIRECTORIES: [Table; 4] = [const { Table::new() }; 4];
/// The page-directory-pointer table: four entries of 64 bits.
static POINTERS: Table = Table::new();

impl Guest {
    /// Turns paging on, with every address leading to where it led before. Once; 64-bit guests have it from the start.
    pub fn turn_on_paging(&self, paging: Paging) {
        let (root, cr4) = match paging {
            Paging::Off => return,
            Paging::Pse => (four_mib_pages(), CR4_PAGE_SIZE_EXTENSIONS),
            Paging::Pae => (two_mib_pages(), CR4_PHYSICAL_ADDRESS_EXTENSION),
        };
        // SAFETY: everything stays where it is.
        unsafe {
            asm!("mov cr3, {root}", "mov {scratch}, cr4", "or {scratch}, {cr4}", "mov cr4, {scratch}",
                "mov {scratch}, cr0", "or {scratch}, {on}", "mov cr0, {scratch}",
                root = in(reg) root, cr4 = in(reg) cr4, on = const CR0_PAGING, scratch = out(reg) _);
        }
    }
}

fn four_mib_pages() -> u32 {
    for (page, entry) in (0..).zip(&DIRECTORIES[0].0) {
        entry.store((page << 22) | LARGE | PRESENT_WRITABLE, Ordering::Relaxed);
    }
    DIRECTORIES[0].address()
}

fn two_mib_pages() -> u32 {
    for (gib, directory) in (0_u32..).zip(&DIRECTORIES) {
        for (page, entry) in (0_u32..).zip(directory.0.chunks(2)) {
            let address = gib << 30 | page << 21;
            entry[0].store(address | LARGE | PRESENT_WRITABLE, Ordering::Relaxed);
        }
        // Present, and nothing else: what is writable is said further down.
        POINTERS.0[gib as usize * 2].store(directory.address() | 1, Ordering::Relaxed);
    }
    POINTERS.address()
}
