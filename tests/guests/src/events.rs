//! Event channels, by polling: no interrupt is needed.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::event_channel::{
    AllocUnbound, BindInterdomain, EVTCHNOP_alloc_unbound, EVTCHNOP_bind_interdomain, EVTCHNOP_send, Send,
};
use xenvisor_abi::sched::{Poll, SCHEDOP_poll, SCHEDOP_yield};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, HYPERVISOR_sched_op, SharedInfo};

use crate::guest::{Guest, SHARED_INFO};
use crate::hypercall::{call, checked, with};

impl Guest {
    /// A port that `remote` may bind to.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn allocate_port(&self, remote: u16) -> Result<u32, i64> {
        let mut argument = AllocUnbound {
            dom: DOMID_SELF,
            remote_dom: remote,
            ..AllocUnbound::default()
        };
        checked(HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &mut argument)?;
        Ok(argument.port)
    }

    /// A port bound to one of `remote`.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn bind_port(&self, remote: u16, port: u32) -> Result<u32, i64> {
        let mut argument = BindInterdomain {
            remote_dom: remote,
            remote_port: port,
            ..BindInterdomain::default()
        };
        checked(
            HYPERVISOR_event_channel_op,
            EVTCHNOP_bind_interdomain,
            &mut argument,
        )?;
        Ok(argument.local_port)
    }

    /// Sends an event.
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn send(&self, port: u32) -> Result<(), i64> {
        checked(HYPERVISOR_event_channel_op, EVTCHNOP_send, &mut Send { port }).map(drop)
    }

    /// Sleeps until there is an event on the port, and takes it.
    pub fn wait(&self, port: u32) {
        let word = SHARED_INFO.address() as usize
            + offset_of!(SharedInfo, evtchn_pending)
            + (port as usize / 64) * 8;
        // SAFETY: the shared info page is mapped there for as long as the guest runs.
        let word = unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(word)) };
        let bit = 1 << (port % 64);
        while word.fetch_and(!bit, Ordering::AcqRel) & bit == 0 {
            let ports = [port];
            let list = GuestHandle64(ports.as_ptr().expose_provenance() as u64);
            with(
                HYPERVISOR_sched_op,
                SCHEDOP_poll,
                &mut Poll {
                    ports: list,
                    nr_ports: 1,
                    ..Poll::default()
                },
            );
        }
    }

    /// Lets others run.
    pub fn yield_now(&self) {
        call(HYPERVISOR_sched_op, [SCHEDOP_yield.into(), 0, 0, 0, 0]);
    }
}
