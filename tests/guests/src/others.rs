//! What a guest may try on other domains, and on the host: mostly to be refused.

use xenvisor_abi::grant_table::{GNTTABOP_map_grant_ref, MapFlags, MapGrantRef};
use xenvisor_abi::hvm::hvm_op::{GetTime, HVMOP_get_time};
use xenvisor_abi::memory::{Domain, XENMEM_current_reservation};
use xenvisor_abi::sched::{RemoteShutdown, SCHEDOP_poll, SCHEDOP_remote_shutdown, SHUTDOWN_poweroff};
use xenvisor_abi::xen::{
    CONSOLEIO_write, HYPERVISOR_console_io, HYPERVISOR_grant_table_op, HYPERVISOR_hvm_op,
    HYPERVISOR_memory_op, HYPERVISOR_sched_op,
};

use crate::Refused;
use crate::guest::{Guest, Page};
use crate::hypercall::{call, checked, with};
use crate::layout::{Poll, timeout};

static READ: Page = Page::new();

impl Guest {
    /// Maps another domain's offer to read it.
    ///
    /// # Errors
    /// Why not.
    pub fn map_offer_to_read(&self, of: u16, reference: u32) -> Result<(), Refused> {
        let mut argument = MapGrantRef {
            host_addr: READ.address() as u64,
            flags: (MapFlags::HOST_MAP | MapFlags::READONLY).bits(),
            reference,
            dom: of,
            ..MapGrantRef::default()
        };
        checked(HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, &mut argument)?;
        Refused::check(argument.status)
    }

    /// How many frames a domain has.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn frames_of(&self, domain: u16) -> Result<i64, i64> {
        let mut argument = Domain { domid: domain };
        checked(HYPERVISOR_memory_op, XENMEM_current_reservation, &mut argument)
    }

    /// Shuts another domain down.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn shut_down_another(&self, domain: u16) -> Result<i64, i64> {
        let mut argument = RemoteShutdown {
            domain_id: domain,
            reason: SHUTDOWN_poweroff,
            ..RemoteShutdown::default()
        };
        checked(HYPERVISOR_sched_op, SCHEDOP_remote_shutdown, &mut argument)
    }

    /// Writes on the console of the host.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn write_to_host(&self, text: &str) -> Result<i64, i64> {
        let at = text.as_ptr().expose_provenance() as u64;
        let arguments = [CONSOLEIO_write.into(), text.len() as u64, at, 0, 0];
        let result = call(HYPERVISOR_console_io, arguments);
        if result < 0 { Err(result) } else { Ok(result) }
    }

    /// Sleeps.
    pub fn sleep_ns(&self, ns: u64) {
        let now = || {
            let mut time = GetTime::default();
            with(HYPERVISOR_hvm_op, HVMOP_get_time, &mut time);
            time.now
        };
        let end = now().saturating_add(ns);
        // A poll may end early.
        while now() < end {
            let mut poll = Poll {
                timeout: timeout(end),
                ..Poll::default()
            };
            with(HYPERVISOR_sched_op, SCHEDOP_poll, &mut poll);
        }
    }
}
