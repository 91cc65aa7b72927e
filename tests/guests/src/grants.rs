//! Grants: offering a page, mapping an offer, copying from one.

use core::sync::atomic::{AtomicU32, Ordering};

use xenvisor_abi::grant_table::{
    CopyFlags, GNTTABOP_copy, GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref, MapGrantRef, UnmapGrantRef,
};
use xenvisor_abi::memory::XENMAPSPACE_grant_table;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op};

use crate::Refused;
use crate::guest::{Guest, Page, place_page};
use crate::hypercall::checked;
use crate::layout::{CopyOp, CopyPointer, Word};

static TABLE: Page = Page::new();
static OFFERED: Page = Page::new();
static MAPPED: Page = Page::new();
static COPIED: Page = Page::new();

/// `GTF_permit_access`, for reading and writing.
const PERMIT: u32 = 1;
/// `GNTMAP_host_map`.
const HOST_MAP: u32 = 2;

/// Another domain's page, mapped here.
#[derive(Debug)]
pub struct Mapping {
    handle: u32,
}

impl Mapping {
    /// A word of 32 bits in it, at an offset in bytes that is a multiple of 4.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        MAPPED.word(offset)
    }
}

impl Guest {
    /// Offers a page to another domain under this reference.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn offer_page(&self, reference: u32, to: u16) -> Result<(), i64> {
        let placed = place_page(XENMAPSPACE_grant_table, &TABLE);
        if placed < 0 {
            return Err(placed);
        }
        // An entry of version 1 (public header `grant_table.h`): frame, and then, in one store, domain and flags.
        let entry = reference as usize % 512 * 8;
        TABLE
            .word(entry + 4)
            .store((OFFERED.address() >> 12) as u32, Ordering::Relaxed);
        TABLE
            .word(entry)
            .store(PERMIT | u32::from(to) << 16, Ordering::Release);
        Ok(())
    }

    /// A word of 32 bits in the page that is offered, at an offset in bytes that is a multiple of 4.
    pub fn offered_word(&self, offset: usize) -> &'static AtomicU32 {
        OFFERED.word(offset)
    }

    /// Maps another domain's offer. One at a time: there is one place for it.
    ///
    /// # Errors
    /// Why not.
    pub fn map_offer(&self, of: u16, reference: u32) -> Result<Mapping, Refused> {
        let mut argument = MapGrantRef {
            host_addr: MAPPED.address() as u64,
            flags: HOST_MAP,
            reference,
            dom: of,
            ..MapGrantRef::default()
        };
        checked(HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, &mut argument)?;
        Refused::check(argument.status)?;
        Ok(Mapping {
            handle: argument.handle,
        })
    }

    /// Gives a mapping up.
    ///
    /// # Errors
    /// Why not.
    pub fn unmap(&self, mapping: Mapping) -> Result<(), Refused> {
        let mut argument = UnmapGrantRef {
            host_addr: MAPPED.address() as u64,
            handle: mapping.handle,
            ..UnmapGrantRef::default()
        };
        checked(HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, &mut argument)?;
        Refused::check(argument.status)
    }

    /// Copies from another domain's offer, from this offset in bytes on, and gives the first word of it.
    ///
    /// # Errors
    /// Why not.
    pub fn copy_word(&self, of: u16, reference: u32, offset: u16) -> Result<u32, Refused> {
        let mut argument = CopyOp {
            source: end(of, Word::from(reference), offset),
            dest: end(DOMID_SELF, COPIED.frame(), 0),
            len: 4,
            flags: CopyFlags::SOURCE_GREF.bits(),
            ..CopyOp::default()
        };
        checked(HYPERVISOR_grant_table_op, GNTTABOP_copy, &mut argument)?;
        Refused::check(argument.status)?;
        Ok(COPIED.word(0).load(Ordering::Acquire))
    }
}

/// One end of a copy: whose, a reference or a frame, and where in it.
fn end(domid: u16, u: Word, offset: u16) -> CopyPointer {
    #[allow(clippy::needless_update, reason = "one layout has padding")]
    CopyPointer {
        u,
        domid,
        offset,
        ..CopyPointer::default()
    }
}
