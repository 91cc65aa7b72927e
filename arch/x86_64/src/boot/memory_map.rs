//! What each piece of machine memory is, as one sorted map without overlaps.
//!
//! Firmware hands out lists that overlap, touch and come unsorted. Where two entries disagree the more
//! careful one wins, so that memory is called usable only where nobody objects. Pure: tested on a
//! workstation.

use core::ops::Range;

use heapless::Vec;

/// Most regions kept, before and after sorting out overlaps.
pub const MAX_REGIONS: usize = 128;
/// Memory past this is left alone: 64 TiB, what the direct map reaches.
pub const MAX_ADDRESS: u64 = 1 << 46;
const PAGE: u64 = 4096;

/// What a region is for. A later one wins over an earlier one where they overlap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MemoryKind {
    /// RAM for us to use. E820 type 1.
    Usable,
    /// RAM that holds ACPI tables. E820 type 3.
    AcpiTables,
    /// RAM that firmware keeps for sleeping. E820 type 4.
    AcpiNvs,
    /// Not for us: devices, firmware, or a type we do not know.
    Reserved,
    /// RAM that does not work. E820 type 5.
    Defective,
}

impl MemoryKind {
    /// The kind an E820 type number means; multiboot and PVH use the same numbers.
    #[must_use]
    pub const fn from_e820(kind: u32) -> Self {
        match kind {
            1 => Self::Usable,
            3 => Self::AcpiTables,
            4 => Self::AcpiNvs,
            5 => Self::Defective,
            _ => Self::Reserved,
        }
    }
}

/// A piece of memory: machine addresses, end exclusive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryRegion {
    /// From where to where.
    pub range: Range<u64>,
    /// What it is.
    pub kind: MemoryKind,
}

/// The map has no room for another region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapFull;

/// Ranges of machine addresses, sorted, disjoint.
pub type Ranges = Vec<Range<u64>, MAX_REGIONS>;

/// All regions: sorted, disjoint, never empty, neighbours of different kinds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryMap {
    regions: Vec<MemoryRegion, MAX_REGIONS>,
}

impl MemoryMap {
    /// The map of what firmware listed, in any order.
    ///
    /// # Errors
    /// [`MapFull`] where sorting out the overlaps takes more than [`MAX_REGIONS`] regions.
    pub fn from_firmware(entries: &[MemoryRegion]) -> Result<Self, MapFull> {
        let mut map = Self::default();
        let mut at = 0;
        while let Some(next) = next_boundary(entries, at) {
            if let Some(kind) = strongest(entries, at) {
                map.push(at..next, kind)?;
            }
            at = next;
        }
        Ok(map)
    }

    fn push(&mut self, range: Range<u64>, kind: MemoryKind) -> Result<(), MapFull> {
        if let Some(last) = self.regions.last_mut()
            && last.kind == kind
            && last.range.end == range.start
        {
            last.range.end = range.end;
            return Ok(());
        }
        self.regions
            .push(MemoryRegion { range, kind })
            .map_err(|_| MapFull)
    }

    /// The regions, lowest first.
    pub fn regions(&self) -> impl Iterator<Item = &MemoryRegion> {
        self.regions.iter()
    }

    /// The whole pages of usable memory, less every page that `taken` touches, lowest first.
    ///
    /// # Errors
    /// [`MapFull`] where more than [`MAX_REGIONS`] pieces are left.
    pub fn usable_pages(&self, taken: &[Range<u64>]) -> Result<Ranges, MapFull> {
        let mut left = Ranges::new();
        for region in self.regions().filter(|region| region.kind == MemoryKind::Usable) {
            let Some(end) = region.range.end.checked_sub(region.range.end % PAGE) else {
                continue;
            };
            let Some(mut at) = page_up(region.range.start) else {
                continue;
            };
            while at < end {
                // The taken range that begins lowest among those that still matter.
                let next = taken
                    .iter()
                    .filter(|range| !range.is_empty() && range.end > at && range.start < end)
                    .min_by_key(|range| range.start);
                let stop = next.map_or(end, |range| page_down(range.start).clamp(at, end));
                if at < stop {
                    left.push(at..stop).map_err(|_| MapFull)?;
                }
                at = match next {
                    Some(range) => page_up(range.end).unwrap_or(u64::MAX),
                    None => end,
                };
            }
        }
        Ok(left)
    }
}

fn page_down(address: u64) -> u64 {
    address - address % PAGE
}

fn page_up(address: u64) -> Option<u64> {
    address.checked_next_multiple_of(PAGE)
}

/// The first place after `at` where an entry begins or ends.
fn next_boundary(entries: &[MemoryRegion], at: u64) -> Option<u64> {
    entries
        .iter()
        .flat_map(|entry| [entry.range.start, entry.range.end])
        .map(|edge| edge.min(MAX_ADDRESS))
        .filter(|&edge| edge > at)
        .min()
}

fn strongest(entries: &[MemoryRegion], at: u64) -> Option<MemoryKind> {
    entries
        .iter()
        .filter(|entry| entry.range.contains(&at))
        .map(|entry| entry.kind)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, end: u64, kind: MemoryKind) -> MemoryRegion {
        MemoryRegion {
            range: start..end,
            kind,
        }
    }

    #[test]
    fn where_entries_disagree_the_careful_one_wins() {
        let map = MemoryMap::from_firmware(&[
            region(0x10_0000, 0x40_0000, MemoryKind::Usable),
            region(0, 0x9_f000, MemoryKind::Usable),
            region(0x20_0000, 0x30_0000, MemoryKind::AcpiTables),
            region(0x28_0000, 0x29_0000, MemoryKind::Reserved),
        ])
        .unwrap();
        let found: Vec<_, 16> = map.regions().cloned().collect();
        assert_eq!(
            found.as_slice(),
            [
                region(0, 0x9_f000, MemoryKind::Usable),
                region(0x10_0000, 0x20_0000, MemoryKind::Usable),
                region(0x20_0000, 0x28_0000, MemoryKind::AcpiTables),
                region(0x28_0000, 0x29_0000, MemoryKind::Reserved),
                region(0x29_0000, 0x30_0000, MemoryKind::AcpiTables),
                region(0x30_0000, 0x40_0000, MemoryKind::Usable),
            ]
        );
    }

    #[test]
    fn neighbours_of_one_kind_become_one_region_and_twins_too() {
        let map = MemoryMap::from_firmware(&[
            region(0x2000, 0x3000, MemoryKind::Usable),
            region(0x1000, 0x2000, MemoryKind::Usable),
            region(0x1000, 0x2000, MemoryKind::Usable),
            region(0x2800, 0x5000, MemoryKind::Usable),
        ])
        .unwrap();
        assert_eq!(map.regions().count(), 1);
        assert_eq!(map.regions().next().unwrap().range, 0x1000..0x5000);
    }

    #[test]
    fn memory_past_the_direct_map_is_cut_off() {
        let map = MemoryMap::from_firmware(&[region(0, u64::MAX, MemoryKind::Usable)]).unwrap();
        assert_eq!(map.regions().next().unwrap().range, 0..MAX_ADDRESS);
    }

    #[test]
    fn usable_pages_are_whole_and_leave_out_every_page_that_is_taken() {
        let map = MemoryMap::from_firmware(&[
            region(0x800, 0x8_800, MemoryKind::Usable),
            region(0x10_000, 0x20_000, MemoryKind::Usable),
        ])
        .unwrap();
        let taken = [0x12_345..0x12_346, 0x2_fff..0x4_001, 0x1f_000..0x30_000, 0x5..0x5];
        assert_eq!(
            map.usable_pages(&taken).unwrap().as_slice(),
            [
                0x1_000..0x2_000,
                0x5_000..0x8_000,
                0x10_000..0x12_000,
                0x13_000..0x1f_000
            ]
        );
    }

    #[test]
    fn a_map_that_is_taken_whole_has_nothing_left() {
        let map = MemoryMap::from_firmware(&[region(0x1000, 0x9000, MemoryKind::Usable)]).unwrap();
        assert!(map.usable_pages(&[0..4, 4..u64::MAX]).unwrap().is_empty());
    }

    #[test]
    fn too_many_regions_are_refused() {
        let entries: std::vec::Vec<_> = (0..=MAX_REGIONS as u64)
            .map(|i| region(i * 0x2000, i * 0x2000 + 0x1000, MemoryKind::Usable))
            .collect();
        assert_eq!(MemoryMap::from_firmware(&entries), Err(MapFull));
    }
}
