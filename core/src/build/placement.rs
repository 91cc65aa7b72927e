//! Where the parts of a guest go in the RAM that its kernel left free.
//!
//! What the guest reads before it has page tables of its own (the start info and what it points to) lies low,
//! behind the kernel; the initrd, which it reads late and whole, lies as high as guests find it.

use super::Extent;
use crate::number::{FRAME_SIZE, GuestAddr, MIB};

/// No part is placed below: real-mode code, and tables that old software looks for, live there.
const LOWEST: u64 = MIB;
/// An initrd ends below: the highest that the x86 boot protocol lets a kernel promise to reach.
pub const INITRD_END_MAX: u64 = 0x8000_0000;
/// The start info ends below: Linux reads it through a map of the first GiB.
pub const START_INFO_END_MAX: u64 = 0x4000_0000;

/// How many spans may be taken.
const TAKEN_MAX: usize = super::kernel::SEGMENTS_MAX + 4;

/// The RAM below 4 GiB, and what is taken of it.
pub struct Placement {
    ram: Extent,
    taken: heapless::Vec<Extent, TAKEN_MAX>,
}

/// Which end of the free RAM a part is placed at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// At the lowest address from here on; if there is none, at the lowest of all.
    From(GuestAddr),
    /// At the highest address that ends by here.
    Below(u64),
}

impl Placement {
    /// Nothing is taken yet.
    #[must_use]
    pub const fn new(ram: Extent) -> Self {
        Self {
            ram,
            taken: heapless::Vec::new(),
        }
    }

    /// Takes a span whose place is given. `None` when there is no more room to remember it.
    pub fn take(&mut self, extent: Extent) -> Option<()> {
        self.taken.push(extent).ok()
    }

    /// Whether a span is free RAM.
    #[must_use]
    pub fn is_free(&self, extent: Extent) -> bool {
        self.ram.contains(extent) && !self.taken.iter().any(|taken| taken.overlaps(extent))
    }

    /// Finds a free place for `length` bytes on a frame boundary, and takes it.
    pub fn place(&mut self, length: u64, side: Side, end_max: u64) -> Option<Extent> {
        let found = match side {
            Side::Below(end) => self.highest(length, end.min(end_max)),
            Side::From(start) => self
                .lowest(length, start.raw(), end_max)
                .or_else(|| self.lowest(length, LOWEST, end_max)),
        }?;
        self.take(found)?;
        Some(found)
    }

    /// The lowest place at or above `from`: it starts there, or where something taken ends.
    fn lowest(&self, length: u64, from: u64, end_max: u64) -> Option<Extent> {
        self.taken
            .iter()
            .map(|taken| taken.end().raw())
            .chain([from])
            .filter_map(|start| start.max(from).max(LOWEST).checked_next_multiple_of(FRAME_SIZE))
            .filter_map(|start| self.fitting(start, length, end_max))
            .min_by_key(|extent| extent.start())
    }

    /// The highest place that ends by `end`: it ends there, or where something taken starts.
    fn highest(&self, length: u64, end: u64) -> Option<Extent> {
        let end = end.min(self.ram.end().raw());
        self.taken
            .iter()
            .map(|taken| taken.start().raw())
            .chain([end])
            .filter_map(|top| top.min(end).checked_sub(length))
            .map(|start| start - start % FRAME_SIZE)
            .filter_map(|start| self.fitting(start, length, end))
            .max_by_key(|extent| extent.start())
    }

    fn fitting(&self, start: u64, length: u64, end_max: u64) -> Option<Extent> {
        Extent::new(GuestAddr::new(start), length)
            .filter(|extent| start >= LOWEST && extent.end().raw() <= end_max && self.is_free(*extent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, end: u64) -> Extent {
        Extent::between(GuestAddr::new(start), GuestAddr::new(end)).unwrap()
    }

    fn with_kernel() -> Placement {
        let mut placement = Placement::new(extent(0, 64 * MIB));
        placement.take(extent(16 * MIB, 62 * MIB + 5)).unwrap();
        placement
    }

    #[test]
    fn an_initrd_goes_to_the_top_of_the_ram() {
        let placed = with_kernel()
            .place(MIB, Side::Below(u64::MAX), INITRD_END_MAX)
            .unwrap();
        assert_eq!(placed, extent(63 * MIB, 64 * MIB));
    }

    #[test]
    fn an_initrd_that_fits_no_higher_goes_below_the_kernel() {
        let placed = with_kernel()
            .place(10 * MIB + 1, Side::Below(u64::MAX), INITRD_END_MAX)
            .unwrap();
        assert_eq!(placed, extent(6 * MIB - 4096, 16 * MIB - 4095));
    }

    #[test]
    fn an_initrd_ends_where_kernels_can_reach_it() {
        let mut placement = Placement::new(extent(0, 0xfc00_0000));
        let placed = placement
            .place(MIB, Side::Below(u64::MAX), INITRD_END_MAX)
            .unwrap();
        assert_eq!(placed.end().raw(), 0x8000_0000);
    }

    #[test]
    fn a_low_part_goes_right_behind_the_kernel() {
        let start = GuestAddr::new(62 * MIB + 5);
        let placed = with_kernel()
            .place(5000, Side::From(start), START_INFO_END_MAX)
            .unwrap();
        assert_eq!(placed, extent(62 * MIB + 4096, 62 * MIB + 4096 + 5000));
    }

    #[test]
    fn a_low_part_that_finds_no_room_behind_goes_to_the_lowest_free_place() {
        let mut placement = Placement::new(extent(0, 64 * MIB));
        placement.take(extent(2 * MIB, 64 * MIB)).unwrap();
        let place = |placement: &mut Placement| {
            placement.place(4096, Side::From(GuestAddr::new(64 * MIB)), START_INFO_END_MAX)
        };
        assert_eq!(place(&mut placement), Some(extent(MIB, MIB + 4096)));
        assert_eq!(place(&mut placement), Some(extent(MIB + 4096, MIB + 8192)));
    }

    #[test]
    fn what_fits_nowhere_is_not_placed() {
        assert_eq!(
            with_kernel().place(16 * MIB, Side::Below(u64::MAX), INITRD_END_MAX),
            None
        );
        assert_eq!(
            with_kernel().place(u64::MAX, Side::From(GuestAddr::new(0)), u64::MAX),
            None
        );
        assert_eq!(
            with_kernel().place(u64::MAX, Side::Below(u64::MAX), u64::MAX),
            None
        );
    }

    #[test]
    fn no_two_parts_ever_share_a_byte() {
        let mut placement = with_kernel();
        let mut placed = std::vec::Vec::new();
        for (index, side) in [Side::From(GuestAddr::new(0)), Side::Below(u64::MAX)]
            .iter()
            .cycle()
            .take(20)
            .enumerate()
        {
            if let Some(extent) = placement.place(100_000 * (index as u64 + 1), *side, u64::MAX) {
                assert!(
                    placed.iter().all(|other: &Extent| !other.overlaps(extent)),
                    "{placed:?} {extent}"
                );
                assert!(!extent.overlaps(self::extent(16 * MIB, 62 * MIB + 5)));
                placed.push(extent);
            }
        }
        assert!(placed.len() > 2);
    }
}
