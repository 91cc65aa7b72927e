//! Where a PVH guest's memory lies: RAM, ACPI tables, special pages, and the map that tells the guest so.
//!
//! The layout is the one libxl gives a PVH guest: RAM from 0 to at most 0xfc000000, ACPI tables above it, the
//! special pages below 0xff000000, the rest of the RAM from 4 GiB on. It follows from the memory size alone and
//! is decided before anything is allocated.

use core::fmt;

use xenvisor_abi::arch_x86::hvm::start_info::{
    XEN_HVM_MEMMAP_TYPE_ACPI, XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED,
};

use super::{Extent, acpi, special};
use crate::number::{FRAME_SIZE, GuestAddr, MIB};

/// Where RAM below 4 GiB ends at the latest; ACPI tables and special pages have the space above.
pub const LOW_END_MAX: u64 = 0xfc00_0000;
/// Where ACPI tables start. The page before is where libxl has its ACPI information page, which has no use here.
pub const ACPI_START: u64 = LOW_END_MAX + FRAME_SIZE;
/// Where the RAM starts that does not fit below.
pub const HIGH_START: u64 = 1 << 32;
/// The least memory that makes sense: it holds the real-mode area of a PC and a little more.
pub const MEMORY_MIN: u64 = 2 * MIB;
/// The most memory a guest may have: its addresses must stay within 46 bits, as the least of today's processors
/// with second-stage translation of server size have.
pub const MEMORY_MAX: u64 = (1 << 46) - HIGH_START;

/// The memory of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    low: Extent,
    high: Extent,
    acpi: Extent,
    special: Extent,
}

/// A part of the map that a guest is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapEntry {
    /// Where it lies.
    pub extent: Extent,
    /// What it is.
    pub kind: MapKind,
}

/// What a part of the map is; the numbers are those of `XEN_HVM_MEMMAP_TYPE_*`, which are those of e820.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapKind {
    /// Free to use.
    Ram,
    /// Not to be touched without knowing it.
    Reserved,
    /// ACPI tables, free to use once they were read.
    Acpi,
}

impl MapKind {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Ram => XEN_HVM_MEMMAP_TYPE_RAM,
            Self::Reserved => XEN_HVM_MEMMAP_TYPE_RESERVED,
            Self::Acpi => XEN_HVM_MEMMAP_TYPE_ACPI,
        }
    }
}

/// How many parts a map has at most: RAM, ACPI tables, special pages, RAM.
pub const MAP_ENTRIES_MAX: usize = 4;

impl Layout {
    /// The layout of a guest with so many bytes of RAM.
    ///
    /// # Errors
    /// When the size is not a whole number of frames, or no guest can have it.
    pub fn new(memory: u64) -> Result<Self, LayoutError> {
        if !memory.is_multiple_of(FRAME_SIZE) {
            return Err(LayoutError::NotWholeFrames { memory });
        }
        if !(MEMORY_MIN..=MEMORY_MAX).contains(&memory) {
            return Err(LayoutError::Size { memory });
        }
        let low = memory.min(LOW_END_MAX);
        let extent = |start: u64, length: u64| {
            Extent::new(GuestAddr::new(start), length).ok_or(LayoutError::Size { memory })
        };
        Ok(Self {
            low: extent(0, low)?,
            high: extent(HIGH_START, memory.saturating_sub(low))?,
            acpi: extent(ACPI_START, acpi::REGION_BYTES)?,
            special: special::extent(),
        })
    }

    /// Where there is RAM, lowest first. None of them is empty.
    pub fn ram(&self) -> impl Iterator<Item = Extent> + use<> {
        [self.low, self.high]
            .into_iter()
            .filter(|extent| !extent.is_empty())
    }

    /// The RAM below 4 GiB.
    #[must_use]
    pub const fn low(&self) -> Extent {
        self.low
    }

    /// Where ACPI tables go.
    #[must_use]
    pub const fn acpi(&self) -> Extent {
        self.acpi
    }

    /// The special pages.
    #[must_use]
    pub const fn special(&self) -> Extent {
        self.special
    }

    /// Everything that needs frames behind it: RAM, ACPI tables, special pages; lowest first.
    pub fn backed(&self) -> impl Iterator<Item = Extent> + use<> {
        [self.low, self.acpi, self.special, self.high]
            .into_iter()
            .filter(|extent| !extent.is_empty())
    }

    /// The map as the guest is told: lowest first, no two overlap.
    #[must_use]
    pub fn map(&self) -> heapless::Vec<MapEntry, MAP_ENTRIES_MAX> {
        [
            (self.low, MapKind::Ram),
            (self.acpi, MapKind::Acpi),
            (self.special, MapKind::Reserved),
            (self.high, MapKind::Ram),
        ]
        .into_iter()
        .filter(|(extent, _)| !extent.is_empty())
        .map(|(extent, kind)| MapEntry { extent, kind })
        .collect()
    }
}

/// Why there is no layout for a memory size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// The size is not a multiple of 4 KiB.
    NotWholeFrames {
        /// The size in bytes.
        memory: u64,
    },
    /// The size is too small or too large.
    Size {
        /// The size in bytes.
        memory: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWholeFrames { memory } => {
                write!(out, "its memory, {memory} bytes, is not a multiple of 4096")
            }
            Self::Size { memory } => write!(
                out,
                "its memory, {memory} bytes, is not between {} and {} MiB",
                MEMORY_MIN / MIB,
                MEMORY_MAX / MIB
            ),
        }
    }
}

impl core::error::Error for LayoutError {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::number::GIB;

    #[test]
    fn a_small_guest_has_its_ram_in_one_piece() {
        let layout = Layout::new(64 * MIB).unwrap();
        assert_eq!(layout.ram().collect::<Vec<_>>(), [layout.low()]);
        assert_eq!(layout.low().end().raw(), 64 * MIB);
        assert_eq!(layout.map().len(), 3);
    }

    #[test]
    fn ram_that_does_not_fit_below_the_tables_goes_above_4_gib() {
        let layout = Layout::new(0xfc00_0000).unwrap();
        assert_eq!(layout.ram().count(), 1);
        let layout = Layout::new(0xfc00_1000).unwrap();
        let ram = layout.ram().collect::<Vec<_>>();
        assert_eq!(ram[0].end().raw(), 0xfc00_0000);
        assert_eq!((ram[1].start().raw(), ram[1].length()), (1 << 32, 0x1000));
    }

    #[test]
    fn every_size_is_laid_out_in_full_and_without_overlap() {
        for memory in [
            2 * MIB,
            65 * MIB + 4096,
            512 * MIB,
            3 * GIB,
            4 * GIB,
            5 * GIB + 4096,
            MEMORY_MAX,
        ] {
            let layout = Layout::new(memory).unwrap();
            assert_eq!(layout.ram().map(Extent::length).sum::<u64>(), memory);
            let map = layout.map();
            for (before, after) in map.iter().zip(&map[1..]) {
                assert!(before.extent.end() <= after.extent.start(), "{map:?}");
            }
            let mapped: Vec<_> = map.iter().map(|entry| entry.extent).collect();
            assert_eq!(mapped, layout.backed().collect::<Vec<_>>());
            assert!(mapped.iter().all(|extent| extent.frames().is_some()));
        }
    }

    #[test]
    fn sizes_that_no_guest_can_have_are_refused() {
        assert_eq!(
            Layout::new(64 * MIB + 1),
            Err(LayoutError::NotWholeFrames { memory: 64 * MIB + 1 })
        );
        assert_eq!(Layout::new(0), Err(LayoutError::Size { memory: 0 }));
        let memory = MEMORY_MAX + 4096;
        assert_eq!(Layout::new(memory), Err(LayoutError::Size { memory }));
        assert!(Layout::new(u64::MAX - 4095).is_err());
    }
}
