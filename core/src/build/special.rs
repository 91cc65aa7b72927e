//! The special pages of a PVH guest: memory it shares with what serves it, at the frames where libxl puts them.
//!
//! Eight frames end at 0xff000000. A guest learns of those that concern it by HVM parameters, whose numbers are
//! those of the public header `hvm/params.h`.

use xenvisor_abi::hvm::params::{
    HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_IDENT_PT, HVM_PARAM_IOREQ_PFN,
    HVM_PARAM_MONITOR_RING_PFN, HVM_PARAM_PAGING_RING_PFN, HVM_PARAM_SHARING_RING_PFN, HVM_PARAM_STORE_PFN,
};

use super::{Extent, GuestRam, RamFault};
use crate::number::{FRAME_BYTES, Gfn, GuestAddr};

/// The first of them, and the ring of the memory-paging interface.
pub const PAGING: Gfn = Gfn::new(0xfeff8);
/// The ring of the memory-access monitor.
pub const MONITOR: Gfn = Gfn::new(0xfeff9);
/// The ring of the memory-sharing interface.
pub const SHARING: Gfn = Gfn::new(0xfeffa);
/// The page of buffered requests to a device model.
pub const BUFFERED_REQUESTS: Gfn = Gfn::new(0xfeffb);
/// The ring of xenstore.
pub const XENSTORE: Gfn = Gfn::new(0xfeffc);
/// The page of requests to a device model.
pub const REQUESTS: Gfn = Gfn::new(0xfeffd);
/// A page table that maps each of 4 GiB to itself, for processors that cannot run without paging.
pub const IDENTITY_TABLE: Gfn = Gfn::new(0xfeffe);
/// The ring of the console.
pub const CONSOLE: Gfn = Gfn::new(0xfefff);
/// The first frame past them.
pub const END: Gfn = Gfn::new(0xff000);

/// How many there are.
pub const COUNT: u64 = END.raw() - PAGING.raw();

/// Where they lie.
#[must_use]
pub fn extent() -> Extent {
    let at = |gfn: Gfn| gfn.address().unwrap_or_default();
    Extent::between(at(PAGING), at(END)).unwrap_or(Extent::EMPTY)
}

/// The HVM parameters that follow from the special pages: number and value.
///
/// The event channels of console and xenstore belong to whoever makes them.
pub const PARAMETERS: [(u32, u64); 8] = [
    (HVM_PARAM_STORE_PFN, XENSTORE.raw()),
    (HVM_PARAM_IOREQ_PFN, REQUESTS.raw()),
    (HVM_PARAM_BUFIOREQ_PFN, BUFFERED_REQUESTS.raw()),
    (
        HVM_PARAM_IDENT_PT,
        IDENTITY_TABLE.raw() << crate::number::FRAME_SHIFT,
    ),
    (HVM_PARAM_CONSOLE_PFN, CONSOLE.raw()),
    (HVM_PARAM_PAGING_RING_PFN, PAGING.raw()),
    (HVM_PARAM_MONITOR_RING_PFN, MONITOR.raw()),
    (HVM_PARAM_SHARING_RING_PFN, SHARING.raw()),
];

/// Present, writable, user, accessed, dirty, 4 MiB: an entry of the identity table (SDM vol. 3 §4.3).
const IDENTITY_ENTRY: u32 = 0xe7;

/// Clears the special pages and fills the identity table.
///
/// # Errors
/// When there is no memory behind them.
pub fn write(ram: &mut dyn GuestRam) -> Result<(), RamFault> {
    let pages = extent();
    ram.zero(pages.start(), pages.length())?;
    let mut table = [0; FRAME_BYTES];
    for (index, entry) in (0_u32..).zip(table.as_chunks_mut::<4>().0) {
        *entry = (index << 22 | IDENTITY_ENTRY).to_le_bytes();
    }
    ram.write(IDENTITY_TABLE.address().unwrap_or(GuestAddr::new(0)), &table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::Memory;

    #[test]
    fn the_pages_lie_where_libxl_puts_them() {
        assert_eq!(
            (extent().start().raw(), extent().end().raw()),
            (0xfeff_8000, 0xff00_0000)
        );
        assert_eq!(extent().frames(), Some(COUNT));
    }

    #[test]
    fn the_identity_table_maps_every_4_mib_to_itself() {
        let mut memory = Memory::at(extent());
        write(&mut memory).unwrap();
        let table = memory.bytes(IDENTITY_TABLE.address().unwrap().raw(), FRAME_BYTES);
        for (index, entry) in table.as_chunks::<4>().0.iter().enumerate() {
            let entry = u64::from(u32::from_le_bytes(*entry));
            assert_eq!(entry, (index as u64 * (4 << 20)) | 0xe7);
        }
        assert!(
            memory
                .bytes(CONSOLE.address().unwrap().raw(), FRAME_BYTES)
                .iter()
                .all(|byte| *byte == 0)
        );
        assert!(
            memory
                .bytes(XENSTORE.address().unwrap().raw(), FRAME_BYTES)
                .iter()
                .all(|byte| *byte == 0)
        );
    }
}
