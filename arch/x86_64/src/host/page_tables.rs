//! The hypervisor's own page tables: four levels, built once while the machine boots.
//!
//! A mapping says what may be done there and nothing may be both written and executed: there is no
//! [`Protection`] for it. Invariant: what is mapped stays as it was mapped; a second mapping of the same
//! place is refused or, by [`PageTables::map_missing`], leaves the first alone. Pure: tables are reached
//! through [`TableMemory`], so that it is tested on a workstation.
//!
//! Source: SDM vol. 3A §5.5 (4-level paging).

use x86::bits64::paging::{PDFlags, PDPTFlags, PTFlags};

const PAGE: u64 = 4096;
const ENTRIES: u64 = 512;
/// Bits 51:12: where an entry points to.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// "Large page" has the same bit wherever it is allowed.
const LEAF: u64 = PDFlags::PS.bits();
const _: () = assert!(LEAF == PDPTFlags::PS.bits());

/// What may be done with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// Read and execute: code.
    Code,
    /// Read only.
    Constant,
    /// Read and write.
    Data,
    /// Read and write past the caches: registers of a device.
    Device,
}

impl Protection {
    fn bits(self) -> u64 {
        let flags = match self {
            Self::Code => PTFlags::P,
            Self::Constant => PTFlags::P | PTFlags::XD,
            Self::Data => PTFlags::P | PTFlags::RW | PTFlags::XD,
            Self::Device => PTFlags::P | PTFlags::RW | PTFlags::XD | PTFlags::PCD | PTFlags::PWT,
        };
        flags.bits()
    }
}

/// Where the tables themselves live.
pub trait TableMemory {
    /// The machine address of a new table, all zeros.
    fn new_table(&mut self) -> Option<u64>;
    /// Entry `index` (0–511) of the table at machine address `table`.
    fn get(&self, table: u64, index: usize) -> u64;
    /// Writes that entry.
    fn set(&mut self, table: u64, index: usize, entry: u64);
}

/// Why something was not mapped. What came before it in the same request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// There is no memory for another table.
    OutOfTables,
    /// Something is mapped at this address already.
    Occupied(u64),
    /// An address or length is not a multiple of a page, or the end lies past the end of addresses.
    Unaligned,
}

/// A tree of tables.
pub struct PageTables<M> {
    memory: M,
    root: u64,
    /// Whether the processor knows pages of 1 GiB.
    huge: bool,
}

/// The level whose entries cover 4 KiB; 1 covers 2 MiB, 2 covers 1 GiB.
const LOWEST: u32 = 0;
const ROOT_LEVEL: u32 = 3;

fn covers(level: u32) -> u64 {
    PAGE * ENTRIES.pow(level)
}

fn index(virt: u64, level: u32) -> usize {
    usize::try_from(virt / covers(level) % ENTRIES).unwrap_or(0)
}

impl<M: TableMemory> PageTables<M> {
    /// Tables that map nothing. `huge`: whether the processor knows pages of 1 GiB.
    ///
    /// # Errors
    /// [`MapError::OutOfTables`] when there is no memory for the root.
    pub fn new(mut memory: M, huge: bool) -> Result<Self, MapError> {
        let root = memory.new_table().ok_or(MapError::OutOfTables)?;
        Ok(Self { memory, root, huge })
    }

    /// The machine address of the root: what CR3 takes.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Where the tables live.
    pub fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Maps `bytes` bytes of machine memory from `machine` at `virt`, in the largest pages that fit.
    ///
    /// # Errors
    /// See [`MapError`].
    pub fn map(
        &mut self,
        virt: u64,
        machine: u64,
        bytes: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.map_pages(virt, machine, bytes, protection, false)
    }

    /// Like [`PageTables::map`], but leaves alone what is mapped there already.
    ///
    /// # Errors
    /// See [`MapError`]; never [`MapError::Occupied`].
    pub fn map_missing(
        &mut self,
        virt: u64,
        machine: u64,
        bytes: u64,
        protection: Protection,
    ) -> Result<(), MapError> {
        self.map_pages(virt, machine, bytes, protection, true)
    }

    fn map_pages(
        &mut self,
        virt: u64,
        machine: u64,
        bytes: u64,
        protection: Protection,
        skip: bool,
    ) -> Result<(), MapError> {
        let end = virt.checked_add(bytes);
        if !(virt | machine | bytes).is_multiple_of(PAGE)
            || end.is_none()
            || machine.checked_add(bytes).is_none()
        {
            return Err(MapError::Unaligned);
        }
        let mut done = 0;
        while done < bytes {
            done += self.map_one(virt + done, machine + done, bytes - done, protection, skip)?;
        }
        Ok(())
    }

    /// Maps one page of at most `room` bytes; gives its size.
    fn map_one(
        &mut self,
        virt: u64,
        machine: u64,
        room: u64,
        protection: Protection,
        skip: bool,
    ) -> Result<u64, MapError> {
        let largest = if self.huge { 2 } else { 1 };
        let mut table = self.root;
        let mut level = ROOT_LEVEL;
        loop {
            let at = index(virt, level);
            let entry = self.memory.get(table, at);
            let present = entry & PTFlags::P.bits() != 0;
            if present && (level == LOWEST || entry & LEAF != 0) {
                let rest = covers(level) - virt % covers(level);
                return if skip {
                    Ok(rest.min(room))
                } else {
                    Err(MapError::Occupied(virt))
                };
            }
            let size = covers(level);
            if !present && level <= largest && (virt | machine).is_multiple_of(size) && room >= size {
                let leaf = if level == LOWEST { 0 } else { LEAF };
                self.memory.set(table, at, machine | protection.bits() | leaf);
                return Ok(size);
            }
            table = if present {
                entry & ADDRESS
            } else {
                let below = self.memory.new_table().ok_or(MapError::OutOfTables)?;
                self.memory
                    .set(table, at, below | (PTFlags::P | PTFlags::RW).bits());
                below
            };
            level -= 1;
        }
    }

    /// The leaf entry that maps `virt`, if one does.
    #[must_use]
    pub fn leaf(&self, virt: u64) -> Option<u64> {
        let mut table = self.root;
        for level in (LOWEST..=ROOT_LEVEL).rev() {
            let entry = self.memory.get(table, index(virt, level));
            if entry & PTFlags::P.bits() == 0 {
                return None;
            }
            if level == LOWEST || entry & LEAF != 0 {
                return Some(entry);
            }
            table = entry & ADDRESS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Tables at page numbers 1, 2, 3, ...
    struct Fake {
        tables: Vec<[u64; 512]>,
        most: usize,
    }

    impl TableMemory for Fake {
        fn new_table(&mut self) -> Option<u64> {
            if self.tables.len() == self.most {
                return None;
            }
            self.tables.push([0; 512]);
            Some(self.tables.len() as u64 * PAGE)
        }

        fn get(&self, table: u64, index: usize) -> u64 {
            self.tables[usize::try_from(table / PAGE).unwrap() - 1][index]
        }

        fn set(&mut self, table: u64, index: usize, entry: u64) {
            self.tables[usize::try_from(table / PAGE).unwrap() - 1][index] = entry;
        }
    }

    fn tables(huge: bool, most: usize) -> PageTables<Fake> {
        let fake = Fake {
            tables: Vec::new(),
            most,
        };
        PageTables::new(fake, huge).unwrap()
    }

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const HIGH: u64 = 0xffff_8000_0000_0000;

    #[test]
    fn a_mapping_uses_the_largest_pages_that_fit() {
        let mut map = tables(true, 100);
        map.map(HIGH + GIB - 4096, GIB - 4096, 2 * GIB + 4096, Protection::Data)
            .unwrap();
        // Root, two tables of 1 GiB entries at most, one of 2 MiB, one of 4 KiB.
        assert_eq!(map.memory().tables.len(), 4);
        assert_eq!(
            map.leaf(HIGH + GIB - 4096),
            Some((GIB - 4096) | Protection::Data.bits())
        );
        assert_eq!(
            map.leaf(HIGH + 3 * GIB - 1),
            Some((2 * GIB) | Protection::Data.bits() | LEAF)
        );
        assert_eq!(map.leaf(HIGH + 3 * GIB), None);
        assert_eq!(map.leaf(HIGH + GIB - 4097), None);
    }

    #[test]
    fn without_huge_pages_two_mebibytes_are_the_largest() {
        let mut map = tables(false, 100);
        map.map(HIGH, 0, GIB, Protection::Data).unwrap();
        assert_eq!(
            map.leaf(HIGH + 5 * MIB),
            Some((4 * MIB) | Protection::Data.bits() | LEAF)
        );
    }

    #[test]
    fn nothing_is_both_written_and_executed() {
        for protection in [
            Protection::Code,
            Protection::Constant,
            Protection::Data,
            Protection::Device,
        ] {
            let bits = protection.bits();
            let writable = bits & PTFlags::RW.bits() != 0;
            let executable = bits & PTFlags::XD.bits() == 0;
            assert!(!(writable && executable), "{protection:?}");
        }
    }

    #[test]
    fn a_second_mapping_is_refused_or_leaves_the_first_alone() {
        let mut map = tables(false, 100);
        map.map(HIGH + 2 * MIB, 2 * MIB, 2 * MIB, Protection::Data)
            .unwrap();
        map.map(HIGH + 0x5000, 0x5000, PAGE, Protection::Constant)
            .unwrap();
        let again = map.map(HIGH, 0, 4 * MIB, Protection::Code);
        assert_eq!(again, Err(MapError::Occupied(HIGH + 0x5000)));
        let mut map = tables(false, 100);
        map.map(HIGH + 2 * MIB, 2 * MIB, 2 * MIB, Protection::Data)
            .unwrap();
        map.map(HIGH + 0x5000, 0x5000, PAGE, Protection::Constant)
            .unwrap();
        map.map_missing(HIGH, 0, 6 * MIB, Protection::Code).unwrap();
        assert_eq!(
            map.leaf(HIGH + 0x5000),
            Some(0x5000 | Protection::Constant.bits())
        );
        assert_eq!(map.leaf(HIGH + 0x6000), Some(0x6000 | Protection::Code.bits()));
        assert_eq!(
            map.leaf(HIGH + 3 * MIB),
            Some((2 * MIB) | Protection::Data.bits() | LEAF)
        );
        assert_eq!(
            map.leaf(HIGH + 5 * MIB),
            Some((4 * MIB) | Protection::Code.bits() | LEAF)
        );
    }

    #[test]
    fn running_out_of_tables_and_bad_addresses_are_errors() {
        let mut map = tables(false, 3);
        assert_eq!(
            map.map(0x1000, 0x1000, PAGE, Protection::Code),
            Err(MapError::OutOfTables)
        );
        assert_eq!(
            map.map(0x1001, 0, PAGE, Protection::Code),
            Err(MapError::Unaligned)
        );
        assert_eq!(
            map.map(u64::MAX - 0xfff, 0, 2 * PAGE, Protection::Code),
            Err(MapError::Unaligned)
        );
    }
}
