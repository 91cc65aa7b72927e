//! Hypercalls: raw, and with a structure as their argument.

use xenvisor_abi::hvm::hvm_op::{self, EvtchnUpcallVector, Param};
use xenvisor_abi::memory::{self, AddToPhysmap};
use xenvisor_abi::sched::{self, Shutdown};
use xenvisor_abi::vcpu::{self, RegisterVcpuInfo, SetSingleshotTimer};
use xenvisor_abi::xen::{
    DOMID_SELF, HYPERVISOR_hvm_op, HYPERVISOR_memory_op, HYPERVISOR_sched_op, HYPERVISOR_vcpu_op,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::action::Action;
use super::{Ending, Refused, SimGuest, Trouble};

/// The largest error number; a result beyond is one, negated.
const ERRORS: u64 = 4095;

/// What a result means.
///
/// # Errors
/// When it is an error number.
pub fn checked(call: &'static str, result: u64) -> Result<u64, Refused> {
    match result.wrapping_neg() {
        negated @ 1..=ERRORS => Err(Refused {
            call,
            number: u16::try_from(negated).unwrap_or(u16::MAX),
        }),
        _ => Ok(result),
    }
}

impl SimGuest {
    /// A hypercall as it is: number and arguments in, result out.
    pub async fn raw_call(&self, number: u64, arguments: [u64; 6]) -> u64 {
        self.number(Action::Hypercall { number, arguments }).await
    }

    /// A hypercall with up to three numbers as its arguments.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn call(&self, name: &'static str, number: u32, arguments: [u64; 3]) -> Result<u64, Refused> {
        let [a, b, c] = arguments;
        checked(name, self.raw_call(number.into(), [a, b, c, 0, 0, 0]).await)
    }

    /// A hypercall with a command and a structure, which comes back as the hypervisor left it.
    ///
    /// # Errors
    /// When it is refused; the structure is as it was.
    pub async fn call_with<T>(
        &self,
        name: &'static str,
        number: u32,
        command: u32,
        argument: &mut T,
    ) -> Result<u64, Refused>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let at = self.scratch();
        self.put(at, argument).await;
        let result = self.call(name, number, [command.into(), at, 0]).await?;
        *argument = self.get(at).await;
        Ok(result)
    }

    /// An operation on a vcpu, with a structure.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn vcpu_op<T>(
        &self,
        name: &'static str,
        command: u32,
        vcpu: u32,
        argument: &T,
    ) -> Result<u64, Refused>
    where
        T: IntoBytes + Immutable,
    {
        let at = self.scratch();
        self.put(at, argument).await;
        self.call(name, HYPERVISOR_vcpu_op, [command.into(), vcpu.into(), at])
            .await
    }

    /// Reads a parameter of the guest.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn param(&self, index: u32) -> Result<u64, Refused> {
        let mut param = Param {
            domid: DOMID_SELF,
            index,
            ..Param::default()
        };
        self.call_with(
            "get_param",
            HYPERVISOR_hvm_op,
            hvm_op::HVMOP_get_param,
            &mut param,
        )
        .await?;
        Ok(param.value)
    }

    /// Sets a parameter of the guest.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_param(&self, index: u32, value: u64) -> Result<u64, Refused> {
        let mut param = Param {
            domid: DOMID_SELF,
            index,
            value,
            ..Param::default()
        };
        self.call_with(
            "set_param",
            HYPERVISOR_hvm_op,
            hvm_op::HVMOP_set_param,
            &mut param,
        )
        .await
    }

    /// Gives this vcpu an upcall vector of its own.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_upcall_vector(&self, vector: u8) -> Result<u64, Refused> {
        let mut argument = EvtchnUpcallVector {
            vcpu: self.vcpu.raw(),
            vector,
            ..EvtchnUpcallVector::default()
        };
        let command = hvm_op::HVMOP_set_evtchn_upcall_vector;
        self.call_with(
            "set_evtchn_upcall_vector",
            HYPERVISOR_hvm_op,
            command,
            &mut argument,
        )
        .await
    }

    /// Puts a page of the hypervisor, or the `index`-th of them, at a guest frame.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn add_to_physmap(&self, space: u32, index: u64, at: u64) -> Result<u64, Refused> {
        let mut argument = AddToPhysmap {
            domid: DOMID_SELF,
            space,
            idx: index,
            gpfn: at,
            ..AddToPhysmap::default()
        };
        let command = memory::XENMEM_add_to_physmap;
        self.call_with("add_to_physmap", HYPERVISOR_memory_op, command, &mut argument)
            .await
    }

    /// Moves this vcpu's `vcpu_info` to a guest-physical address.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn register_vcpu_info(&self, at: u64) -> Result<u64, Refused> {
        let argument = RegisterVcpuInfo {
            mfn: at >> 12,
            offset: u32::try_from(at & 0xfff).unwrap_or(0),
            rsvd: 0,
        };
        let command = vcpu::VCPUOP_register_vcpu_info;
        self.vcpu_op("register_vcpu_info", command, self.vcpu.raw(), &argument)
            .await
    }

    /// Sets the one-shot timer of this vcpu.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_timer(&self, at_ns: u64) -> Result<u64, Refused> {
        let argument = SetSingleshotTimer {
            timeout_abs_ns: at_ns,
            ..SetSingleshotTimer::default()
        };
        let command = vcpu::VCPUOP_set_singleshot_timer;
        self.vcpu_op("set_singleshot_timer", command, self.vcpu.raw(), &argument)
            .await
    }

    /// Sleeps until an event is pending.
    pub async fn block(&self) {
        let block = sched::SCHEDOP_block.into();
        let _done = self.call("block", HYPERVISOR_sched_op, [block, 0, 0]).await;
    }

    /// Lets others run.
    pub async fn give_way(&self) {
        let give_way = sched::SCHEDOP_yield.into();
        let _done = self.call("yield", HYPERVISOR_sched_op, [give_way, 0, 0]).await;
    }

    /// Shuts the guest down. Does not come back.
    ///
    /// # Errors
    /// When it does.
    pub async fn shut_down(&self, reason: u32) -> Ending {
        let mut argument = Shutdown { reason };
        self.call_with(
            "shutdown",
            HYPERVISOR_sched_op,
            sched::SCHEDOP_shutdown,
            &mut argument,
        )
        .await?;
        Err(Trouble::new("the guest goes on after it has shut down"))
    }
}
