//! Event channels: by polling, without interrupts, or by upcalls.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use xenvisor_abi::event_channel::{
    AllocUnbound, BindInterdomain, EVTCHNOP_alloc_unbound, EVTCHNOP_bind_interdomain, EVTCHNOP_send, Send,
};
use xenvisor_abi::hvm::hvm_op::{EvtchnUpcallVector, HVMOP_set_evtchn_upcall_vector, HVMOP_set_param, Param};
use xenvisor_abi::hvm::params::HVM_PARAM_CALLBACK_IRQ;
use xenvisor_abi::sched::{SCHEDOP_poll, SCHEDOP_yield};
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, HYPERVISOR_hvm_op, HYPERVISOR_sched_op};

use crate::guest::{Guest, SHARED_INFO};
use crate::hypercall::{call, checked, with};
use crate::interrupts;
use crate::layout::{Poll, SharedInfo, handle};

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

    /// Masks a port, or unmasks it. An event that waited behind the mask is not told of.
    pub fn mask(&self, port: u32, masked: bool) {
        let words = offset_of!(SharedInfo, evtchn_mask);
        let bit = 1 << (port % 32);
        let word = SHARED_INFO.word(words + (port as usize / 32) * 4);
        if masked {
            word.fetch_or(bit, Ordering::AcqRel);
        } else {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Takes the event on the port, if there is one.
    pub fn take(&self, port: u32) -> bool {
        // The pending bits are in the same place in both layouts, and so is each bit of them in memory.
        let words = offset_of!(SharedInfo, evtchn_pending);
        let bit = 1 << (port % 32);
        let word = SHARED_INFO.word(words + (port as usize / 32) * 4);
        word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Sleeps until there is an event on the port, and takes it.
    pub fn wait(&self, port: u32) {
        while !self.take(port) {
            let ports = [port];
            let mut argument = Poll {
                ports: handle(ports.as_ptr()),
                nr_ports: 1,
                ..Poll::default()
            };
            with(HYPERVISOR_sched_op, SCHEDOP_poll, &mut argument);
        }
    }

    /// Wants upcalls through this vector of its local APIC from now on; interrupts stay off outside
    /// [`Guest::wait_for_upcall`].
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn listen(&self, vector: u8) -> Result<(), i64> {
        interrupts::prepare(vector);
        let mut argument = EvtchnUpcallVector {
            vcpu: 0,
            vector,
            ..EvtchnUpcallVector::default()
        };
        checked(HYPERVISOR_hvm_op, HVMOP_set_evtchn_upcall_vector, &mut argument).map(drop)
    }

    /// Wants upcalls through this vector from now on, past the local APIC: the way of guests that have one vector for all
    /// vcpus (`HVM_PARAM_CALLBACK_IRQ`).
    ///
    /// # Errors
    /// Xen's error number, negative.
    pub fn listen_past_the_apic(&self, vector: u8) -> Result<(), i64> {
        interrupts::prepare(vector);
        let mut argument = Param {
            domid: DOMID_SELF,
            index: HVM_PARAM_CALLBACK_IRQ,
            value: 2 << 56 | u64::from(vector),
            ..Param::default()
        };
        checked(HYPERVISOR_hvm_op, HVMOP_set_param, &mut argument).map(drop)
    }

    /// Halts until an upcall brings an event on the port, and takes it. [`Guest::listen`] (or its like) comes first.
    pub fn wait_for_upcall(&self, port: u32) {
        while !self.take(port) {
            // SAFETY: no interrupt comes between STI and HLT, so none is missed. Handlers keep all registers.
            unsafe { asm!("sti", "hlt", "cli", options(nostack)) }
        }
    }

    /// How many upcalls there were.
    pub fn upcalls(&self) -> u32 {
        interrupts::upcalls()
    }

    /// Lets others run.
    pub fn yield_now(&self) {
        call(HYPERVISOR_sched_op, [SCHEDOP_yield.into(), 0, 0, 0, 0]);
    }
}
