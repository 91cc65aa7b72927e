//! The page of a guest's console, from the far side. Public header `io/console.h`.
//!
//! The guest owns its page and may write anything there at any time: indices are read once, and a distance larger than
//! the ring counts as an empty or a full one.

use core::mem::offset_of;

use xenvisor_abi::io::console::Interface;
use xenvisor_core::domain::Domain;
use xenvisor_core::domain::params::Index;
use xenvisor_core::machine::GuestRam;
use xenvisor_core::memory::guest::GuestMemory;
use xenvisor_core::number::{Gfn, GuestAddr};

/// Bytes of the ring from the guest.
pub(super) const OUTPUT_BYTES: usize = 2048;
/// Bytes of the ring to the guest.
const INPUT_BYTES: usize = 1024;
/// Bytes moved in one go.
pub(super) const PIECE: usize = 256;

/// A guest's console page.
pub(super) struct Ring<'a> {
    memory: GuestMemory<'a>,
    page: Option<GuestAddr>,
}

impl<'a> Ring<'a> {
    pub(super) fn new(domain: &'a Domain) -> Self {
        let gfn = domain.settings.lock().params.get(Index::CONSOLE_PFN);
        Self {
            memory: domain.guest_memory(),
            page: Gfn::new(gfn).address(),
        }
    }

    fn at(&self, offset: usize) -> Option<GuestAddr> {
        self.page?.checked_add(offset as u64)
    }

    fn index(&self, offset: usize) -> Option<u32> {
        self.memory.read_value(self.at(offset)?).ok()
    }

    fn set_index(&self, offset: usize, value: u32) {
        if let Some(at) = self.at(offset) {
            // A guest that has given its console page away has no console.
            let _gone = self.memory.write_value(at, &value);
        }
    }

    /// Takes the next bytes the guest has written; none where there are none.
    pub(super) fn take_output<'b>(&self, into: &'b mut [u8; PIECE]) -> &'b [u8] {
        let (consumer, producer) = (offset_of!(Interface, out_cons), offset_of!(Interface, out_prod));
        let (Some(from), Some(to)) = (self.index(consumer), self.index(producer)) else {
            return &[];
        };
        let there = to.wrapping_sub(from) as usize;
        if there > OUTPUT_BYTES {
            return &[];
        }
        let count = self.pieces(
            offset_of!(Interface, output),
            OUTPUT_BYTES,
            from,
            there.min(PIECE),
            |at, range| {
                into.get_mut(range)
                    .is_some_and(|piece| self.memory.read(at, piece).is_ok())
            },
        );
        self.set_index(consumer, from.wrapping_add(u32::try_from(count).unwrap_or(0)));
        into.get(..count).unwrap_or(&[])
    }

    /// Gives the guest as many of the bytes as there is room for; how many.
    pub(super) fn give_input(&self, bytes: &[u8]) -> usize {
        let (consumer, producer) = (offset_of!(Interface, in_cons), offset_of!(Interface, in_prod));
        let (Some(read), Some(written)) = (self.index(consumer), self.index(producer)) else {
            return 0;
        };
        let room = INPUT_BYTES.saturating_sub(written.wrapping_sub(read) as usize);
        let count = bytes.len().min(room);
        let count = self.pieces(
            offset_of!(Interface, input),
            INPUT_BYTES,
            written,
            count,
            |at, range| {
                bytes
                    .get(range)
                    .is_some_and(|piece| self.memory.write(at, piece).is_ok())
            },
        );
        self.set_index(producer, written.wrapping_add(u32::try_from(count).unwrap_or(0)));
        count
    }

    /// Moves `count` bytes from index `from` on: in one piece, or two where the ring ends. How many were moved.
    fn pieces(
        &self,
        ring: usize,
        size: usize,
        from: u32,
        count: usize,
        mut each: impl FnMut(GuestAddr, core::ops::Range<usize>) -> bool,
    ) -> usize {
        let mut done = 0;
        while done < count {
            let place = (from as usize).wrapping_add(done) % size;
            let length = (count - done).min(size - place);
            let Some(at) = self.at(ring + place) else { break };
            if !each(at, done..done + length) {
                break;
            }
            done += length;
        }
        done
    }
}
