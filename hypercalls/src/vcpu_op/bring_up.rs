//! Starting and stopping vcpus by hypercall.

use xenvisor_abi::hvm::hvm_vcpu as abi;
use xenvisor_core::vcpu::start::StartState;
use xenvisor_core::vcpu::{Activity, Vcpu};
use zerocopy::{FromBytes, IntoBytes};

use crate::answer::{After, Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

mod state;

/// Gives a vcpu that has never run its first state. `INVALID` for one without a `vcpu_info`, `FAULT`, `EXISTS` for one
/// that has a state already, `INVALID` for a state that cannot be; in this order.
pub(super) fn initialise(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    if vcpu.info.get().is_none() {
        return Err(Errno::INVALID);
    }
    let context: abi::Context = cx.read(at)?;
    let mut begin = vcpu.begin.lock();
    if begin.is_some() || vcpu.activity.get() != Activity::Offline || vcpu.has_begun() {
        return Err(Errno::EXISTS);
    }
    *begin = Some(decode(&context)?);
    Ok(Answer::OK)
}

fn decode(context: &abi::Context) -> Result<StartState, Errno> {
    if context.padding != 0 {
        return Err(Errno::INVALID);
    }
    match context.mode {
        abi::VCPU_HVM_MODE_32B => {
            let (registers, _) =
                abi::X86_32::read_from_prefix(context.cpu_regs.as_bytes()).map_err(|_| Errno::INVALID)?;
            state::bits32(&registers).ok_or(Errno::INVALID)
        }
        abi::VCPU_HVM_MODE_64B => {
            let (registers, _) =
                abi::X86_64::read_from_prefix(context.cpu_regs.as_bytes()).map_err(|_| Errno::INVALID)?;
            state::bits64(&registers).ok_or(Errno::INVALID)
        }
        _ => Err(Errno::INVALID),
    }
}

/// Lets a vcpu with a state run. `INVALID` for one without.
pub(super) fn up(cx: &Context<'_>, vcpu: &Vcpu) -> Served {
    if vcpu.begin.lock().is_none() && !vcpu.has_begun() {
        return Err(Errno::INVALID);
    }
    cx.caller.start_vcpu(vcpu);
    Ok(Answer::OK)
}

/// Stops a vcpu. The last one that stops ends the domain.
pub(super) fn down(cx: &Context<'_>, vcpu: &Vcpu) -> Served {
    cx.caller.stop_vcpu(vcpu, cx.now);
    let myself = vcpu.key == cx.vcpu.key;
    Ok(if myself {
        Answer::Then(0, After::Ended)
    } else {
        Answer::OK
    })
}
