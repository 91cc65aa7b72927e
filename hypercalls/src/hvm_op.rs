//! `hvm_op`: parameters, upcall vectors, and what is left of a once larger family. Public header `hvm/hvm_op.h`.

use core::sync::atomic::Ordering;

use xenvisor_abi::hvm::hvm_op as abi;
use xenvisor_core::domain::life::Reason;
use xenvisor_core::domain::params::{Index, Rule, ValueError};
use xenvisor_core::machine::{Call, Level};
use xenvisor_core::number::{Gfn, VcpuId, Vector};
use xenvisor_core::p2m::{Flush, Kind};
use xenvisor_core::policy::{MemoryQuery, ParameterRead, ParameterWrite};
use xenvisor_core::vcpu::mail::News;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::argument;

/// Vectors below this one are the processor's own exceptions.
const FIRST_VECTOR: u8 = 0x10;
/// Events a guest may trace: below `1 << TRC_SUBCLS_SHIFT` (public header `trace.h`).
const EVENTS: u16 = 1 << 12;

/// Serves the call.
///
/// # Errors
/// As each row says; `NO_CALL` for commands that moved to `dm_op` or are no more, `NOT_SUPPORTED` for alternative
/// second stages.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let at = argument(call, 1);
    // The command is an `unsigned long` here: in 64-bit code, all of it counts.
    match u32::try_from(argument(call, 0)).map_err(|_| Errno::NO_CALL)? {
        abi::HVMOP_set_param                => set_param(cx, at),
        abi::HVMOP_get_param                => get_param(cx, at),
        abi::HVMOP_flush_tlbs               => flush_tlbs(cx, at),
        abi::HVMOP_pagetable_dying          => pagetable_dying(cx, at),
        abi::HVMOP_get_time                 => get_time(cx, at),
        abi::HVMOP_get_mem_type             => get_mem_type(cx, at),
        abi::HVMOP_set_evtchn_upcall_vector => set_evtchn_upcall_vector(cx, at),
        abi::HVMOP_xentrace                 => xentrace(cx, at),
        abi::HVMOP_guest_request_vm_event   => guest_request_vm_event(at),
        // No machine here has alternative second stages: nothing is even read.
        abi::HVMOP_altp2m                   => Err(Errno::NOT_SUPPORTED),
        _                                   => Err(Errno::NO_CALL),
    }
}

/// Sets a parameter of a domain. `NOT_PERMITTED` for another domain's, `INVALID` for one there is not (any more),
/// `NOT_PERMITTED` for the builder's, then what its value is worth.
fn set_param(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Param = cx.read(at)?;
    let index = Index::from_raw(argument.index).ok_or(Errno::INVALID)?;
    let target = cx.domain(argument.domid)?;
    let own = target.id == cx.caller.id;
    if !own {
        cx.authorise(ParameterWrite {
            caller: cx.caller.id,
            target: target.id,
            index,
            value: argument.value,
        })?;
    }
    match index.rule() {
        Rule::Deprecated => return Err(Errno::INVALID),
        Rule::Builder | Rule::Read if own => return Err(Errno::NOT_PERMITTED),
        _ => {}
    }
    if index == Index::ACPI_IOPORTS_LOCATION {
        // There is no power management block whose ports could move.
        return Err(Errno::NO_DEVICE);
    }
    let written = target.settings.lock().params.write(index, argument.value);
    match written {
        Ok(()) => {}
        Err(ValueError::OutOfRange) => return Err(Errno::INVALID),
        Err(ValueError::SetOnce) => return Err(Errno::EXISTS),
        Err(ValueError::Fatal) => {
            if own {
                target.shut_down(Reason::Crash);
            }
            return Err(Errno::INVALID);
        }
    }
    if index == Index::CALLBACK_IRQ {
        set_callback(cx, &target, argument.value);
    }
    Ok(Answer::OK)
}

/// How the guest wants to be told of events: the top byte says what the rest means.
fn set_callback(cx: &Context<'_>, target: &xenvisor_core::domain::Domain, value: u64) {
    let [vector, .., kind] = value.to_le_bytes();
    // A vector bypasses the local APIC. Interrupt lines need an interrupt controller that a guest without a device
    // model does not have: such a choice is remembered and means "not told".
    let told = kind == 2 && vector >= FIRST_VECTOR;
    target.set_upcall_vector(told.then(|| Vector::new(vector)));
    if target.id == cx.caller.id {
        target.latch_width(cx.width);
    }
    for vcpu in &target.vcpus {
        target.tell(vcpu, News::UPCALL);
    }
}

/// Reads a parameter of a domain; errors as for writing one.
fn get_param(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::Param = cx.read(at)?;
    let index = Index::from_raw(argument.index).ok_or(Errno::INVALID)?;
    let target = cx.domain(argument.domid)?;
    let own = target.id == cx.caller.id;
    if !own {
        cx.authorise(ParameterRead {
            caller: cx.caller.id,
            target: target.id,
            index,
        })?;
    }
    match index.rule() {
        Rule::Deprecated => return Err(Errno::INVALID),
        Rule::Builder if own => return Err(Errno::NOT_PERMITTED),
        _ => {}
    }
    argument.value = target.settings.lock().params.get(index);
    cx.write(at, &argument)?;
    Ok(Answer::OK)
}

/// Flushes the translations of all of the caller's vcpus. Takes no argument.
fn flush_tlbs(cx: &Context<'_>, at: u64) -> Served {
    if at != 0 {
        return Err(Errno::INVALID);
    }
    cx.caller.flush(Flush::Domain);
    Ok(Answer::OK)
}

/// A hint for hypervisors that shadow page tables. With nested paging there is nothing to hint at: Xen says `INVALID`,
/// and guests stop hinting.
fn pagetable_dying(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::PagetableDying = cx.read(at)?;
    cx.domain(argument.domid)?;
    Err(Errno::INVALID)
}

fn get_time(cx: &Context<'_>, at: u64) -> Served {
    cx.write(at, &abi::GetTime { now: cx.now.as_ns() })?;
    Ok(Answer::OK)
}

/// A record for the host's trace. `INVALID` for more than fits, or an event outside the guests' class.
fn xentrace(cx: &Context<'_>, at: u64) -> Served {
    let record: abi::Xentrace = cx.read(at)?;
    let data = record.extra.get(..usize::from(record.extra_bytes));
    let data = data.filter(|_| record.event < EVENTS).ok_or(Errno::INVALID)?;
    let (event, id) = (record.event, cx.caller.id);
    cx.hypervisor.log(
        Level::Trace,
        Some(id),
        format_args!("event {event:#x}: {data:02x?}"),
    );
    Ok(Answer::OK)
}

/// A word to whoever watches the guest from outside; nobody does. Takes no argument.
const fn guest_request_vm_event(at: u64) -> Served {
    if at != 0 {
        return Err(Errno::INVALID);
    }
    Ok(Answer::OK)
}

/// What is at a guest frame of the caller (or of another, where the policy allows it).
fn get_mem_type(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::GetMemType = cx.read(at)?;
    let target = cx.domain(argument.domid)?;
    cx.authorise(MemoryQuery {
        caller: cx.caller.id,
        target: target.id,
    })?;
    let leaf = target.memory.stage().lock().translate(Gfn::new(argument.pfn));
    argument.mem_type = match leaf.map(|leaf| leaf.target) {
        Some(to) if to.kind == Kind::Device => abi::HVMMEM_mmio_dm,
        Some(to) if !to.rights.allow(xenvisor_core::machine::Access::ReadWrite) => abi::HVMMEM_ram_ro,
        Some(_) => abi::HVMMEM_ram_rw,
        None => abi::HVMMEM_mmio_dm,
    };
    cx.write(at, &argument)?;
    Ok(Answer::OK)
}

/// Gives a vcpu an upcall vector of its own, which comes through its local APIC.
fn set_evtchn_upcall_vector(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::EvtchnUpcallVector = cx.read(at)?;
    if argument.vector < FIRST_VECTOR {
        return Err(Errno::INVALID);
    }
    let vcpu = cx
        .caller
        .vcpu(VcpuId::new(argument.vcpu))
        .ok_or(Errno::NO_ENTRY)?;
    vcpu.upcall_vector.store(argument.vector, Ordering::Release);
    // What is pending already is told at once.
    cx.caller.tell(vcpu, News::UPCALL);
    Ok(Answer::OK)
}

#[cfg(test)]
mod tests;
