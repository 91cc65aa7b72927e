//! Grants: offering a page, and mapping an offer.

use xenvisor_abi::grant_table::{GNTTABOP_map_grant_ref, MapGrantRef};
use xenvisor_abi::memory::{AddToPhysmap, XENMAPSPACE_grant_table, XENMEM_add_to_physmap};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op, HYPERVISOR_memory_op};

use crate::guest::{Guest, Page};
use crate::hypercall::checked;

static TABLE: Page = Page::new();
static OFFERED: Page = Page::new();
static MAPPED: Page = Page::new();

/// `GTF_permit_access`, for reading and writing.
const PERMIT: u16 = 1;
/// `GNTMAP_host_map`.
const HOST_MAP: u32 = 2;

impl Guest {
    /// Offers a page to another domain under this reference.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn offer_page(&self, reference: u32, to: u16) -> Result<(), i64> {
        let mut argument = AddToPhysmap {
            domid: DOMID_SELF,
            space: XENMAPSPACE_grant_table,
            gpfn: TABLE.address() >> 12,
            ..AddToPhysmap::default()
        };
        checked(HYPERVISOR_memory_op, XENMEM_add_to_physmap, &mut argument)?;
        let entry = TABLE.address() as usize + reference as usize % 512 * 8;
        // SAFETY: an entry of version 1 (public header `grant_table.h`) in the table's page: frame, domain, and last of
        // all the flags, which make it valid.
        unsafe {
            core::ptr::with_exposed_provenance_mut::<u32>(entry + 4)
                .write_volatile((OFFERED.address() >> 12) as u32);
            core::ptr::with_exposed_provenance_mut::<u16>(entry + 2).write_volatile(to);
            core::ptr::with_exposed_provenance_mut::<u16>(entry).write_volatile(PERMIT);
        }
        Ok(())
    }

    /// Maps another domain's offer: the status (`GNTST_*`), 0 where it was mapped.
    ///
    /// # Errors
    /// Xen's error number, negative, where the call as a whole failed.
    pub fn map_offer(&self, of: u16, reference: u32) -> Result<i16, i64> {
        let mut argument = MapGrantRef {
            host_addr: MAPPED.address(),
            flags: HOST_MAP,
            reference,
            dom: of,
            ..MapGrantRef::default()
        };
        checked(HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, &mut argument)?;
        Ok(argument.status)
    }
}
