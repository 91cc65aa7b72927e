//! A guest's console: text through a ring of bytes, and an event when there is some.

use core::mem::offset_of;

use xenvisor_abi::hvm::params::{HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN};
use xenvisor_abi::io::console::Interface;

use super::{Refused, SimGuest};

const OUTPUT_BYTES: u32 = 2048;

/// The console, found and ready.
#[derive(Clone, Copy, Debug)]
pub struct PvConsole {
    page: u64,
    port: u32,
}

impl PvConsole {
    /// Asks where it is.
    ///
    /// # Errors
    /// When the hypervisor does not say.
    pub async fn find(guest: &SimGuest) -> Result<Self, Refused> {
        let page = guest.param(HVM_PARAM_CONSOLE_PFN).await? << 12;
        let port = guest.param(HVM_PARAM_CONSOLE_EVTCHN).await?;
        let port = u32::try_from(port).unwrap_or(0);
        Ok(Self { page, port })
    }

    /// The port that is signalled.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When the other side cannot be told.
    pub async fn line(&self, guest: &SimGuest, text: &str) -> Result<(), Refused> {
        let line = [text.as_bytes(), b"\n"].concat();
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            let taken = self.put(guest, rest).await;
            guest.send_event(self.port).await?;
            rest = rest.get(taken..).unwrap_or_default();
            if taken == 0 {
                guest.give_way().await;
            }
        }
        Ok(())
    }

    /// Puts as much into the ring as there is room for; how much.
    async fn put(&self, guest: &SimGuest, bytes: &[u8]) -> usize {
        let consumer: u32 = guest.get(self.at(offset_of!(Interface, out_cons))).await;
        let producer: u32 = guest.get(self.at(offset_of!(Interface, out_prod))).await;
        let room = OUTPUT_BYTES.saturating_sub(producer.wrapping_sub(consumer));
        let place = producer % OUTPUT_BYTES;
        let length = bytes.len().min(room.min(OUTPUT_BYTES - place) as usize);
        let ring = offset_of!(Interface, output) + place as usize;
        guest
            .write(self.at(ring), bytes.get(..length).unwrap_or_default())
            .await;
        let producer = producer.wrapping_add(u32::try_from(length).unwrap_or(0));
        guest
            .put(self.at(offset_of!(Interface, out_prod)), &producer)
            .await;
        length
    }

    const fn at(&self, offset: usize) -> u64 {
        self.page + offset as u64
    }
}
