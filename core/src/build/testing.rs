//! Guest memory for the tests of the builder: some spans of bytes, and nothing between them.

use std::vec;
use std::vec::Vec;

use super::{Extent, GuestRam, Layout, RamFault};
use crate::number::GuestAddr;

/// Memory that is not zero at first, so that a byte which should have been zeroed shows.
pub(crate) struct Memory {
    spans: Vec<(Extent, Vec<u8>)>,
}

const UNTOUCHED: u8 = 0xa5;

impl Memory {
    /// Memory at these places.
    pub(crate) fn of(extents: impl IntoIterator<Item = Extent>) -> Self {
        let span = |extent: Extent| (extent, vec![UNTOUCHED; usize::try_from(extent.length()).unwrap()]);
        Self {
            spans: extents.into_iter().map(span).collect(),
        }
    }

    /// Memory at one place.
    pub(crate) fn at(extent: Extent) -> Self {
        Self::of([extent])
    }

    /// RAM from address 0 on.
    pub(crate) fn ram(bytes: u64) -> Self {
        Self::at(Extent::new(GuestAddr::new(0), bytes).unwrap())
    }

    /// All that a layout wants backed.
    pub(crate) fn backing(layout: &Layout) -> Self {
        Self::of(layout.backed())
    }

    /// Where it has memory.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        self.spans.iter().map(|(extent, _)| *extent).collect()
    }

    /// What lies at an address.
    pub(crate) fn bytes(&self, at: u64, length: usize) -> &[u8] {
        let (extent, bytes) = self
            .spans
            .iter()
            .find(|(extent, _)| extent.holds(GuestAddr::new(at)))
            .unwrap();
        &bytes[usize::try_from(at - extent.start().raw()).unwrap()..][..length]
    }

    pub(crate) fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(*self.bytes(at, 4).first_chunk().unwrap())
    }

    pub(crate) fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(*self.bytes(at, 8).first_chunk().unwrap())
    }

    /// Everything it holds.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|(_, bytes)| &bytes[..])
    }
}

impl GuestRam for Memory {
    fn write(&mut self, at: GuestAddr, bytes: &[u8]) -> Result<(), RamFault> {
        let wanted = Extent::new(at, bytes.len() as u64).ok_or(RamFault { at })?;
        let (extent, into) = self
            .spans
            .iter_mut()
            .find(|(extent, _)| extent.contains(wanted))
            .ok_or(RamFault { at })?;
        let start = usize::try_from(at.raw() - extent.start().raw()).unwrap();
        into[start..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, at: GuestAddr, length: u64) -> Result<(), RamFault> {
        self.write(at, &vec![0; usize::try_from(length).unwrap()])
    }
}
