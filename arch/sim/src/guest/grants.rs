//! A guest's grant table (version 1): what it offers, and what it asks others for.

use xenvisor_abi::grant_table as abi;
use xenvisor_abi::memory::XENMAPSPACE_grant_table;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::calls::checked;
use super::{Refused, SimGuest};

/// The table, at a place of the guest's choice.
#[derive(Clone, Copy, Debug)]
pub struct GrantTable {
    at: u64,
    /// Frames there may be.
    pub most_frames: u32,
}

impl GrantTable {
    /// Sets it up with one frame, at a guest frame where nothing is needed any more.
    ///
    /// # Errors
    /// When the hypervisor refuses a step.
    pub async fn set_up(guest: &SimGuest, frame: u64) -> Result<Self, Refused> {
        let mut size = abi::QuerySize {
            dom: DOMID_SELF,
            ..abi::QuerySize::default()
        };
        guest
            .grant_op("query_size", abi::GNTTABOP_query_size, &mut size)
            .await?;
        let mut version = abi::SetVersion { version: 1 };
        guest
            .grant_op("set_version", abi::GNTTABOP_set_version, &mut version)
            .await?;
        guest.add_to_physmap(XENMAPSPACE_grant_table, 0, frame).await?;
        Ok(Self {
            at: frame << 12,
            most_frames: size.max_nr_frames,
        })
    }

    /// Offers a frame to a domain, for writing too.
    pub async fn offer(&self, guest: &SimGuest, reference: u32, to: u16, frame: u64) {
        let at = self.at + u64::from(reference) * 8;
        // Frame and domain first; the entry counts when its flags say so.
        let entry = abi::EntryV1 {
            flags: 0,
            domid: to,
            // Entries of this version name the first 16 TiB alone.
            frame: u32::try_from(frame).unwrap_or(u32::MAX),
        };
        guest.put(at, &entry).await;
        guest.put(at, &abi::GTF_permit_access).await;
    }
}

impl SimGuest {
    /// An operation on grants, of one structure.
    ///
    /// # Errors
    /// When it is refused as a whole; a status of its own is in the structure.
    pub async fn grant_op<T>(
        &self,
        name: &'static str,
        command: u32,
        argument: &mut T,
    ) -> Result<u64, Refused>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let at = self.scratch();
        self.put(at, argument).await;
        let arguments = [command.into(), at, 1, 0, 0, 0];
        let result = checked(
            name,
            self.raw_call(HYPERVISOR_grant_table_op.into(), arguments).await,
        )?;
        *argument = self.get(at).await;
        Ok(result)
    }

    /// Maps a granted frame at a guest frame; the status, `GNTST_*`.
    ///
    /// # Errors
    /// When the call is refused as a whole.
    pub async fn map_grant(&self, from: u16, reference: u32, frame: u64) -> Result<i16, Refused> {
        let mut argument = abi::MapGrantRef {
            host_addr: frame << 12,
            flags: abi::MapFlags::HOST_MAP.bits(),
            reference,
            dom: from,
            ..abi::MapGrantRef::default()
        };
        self.grant_op("map_grant_ref", abi::GNTTABOP_map_grant_ref, &mut argument)
            .await?;
        Ok(argument.status)
    }
}
