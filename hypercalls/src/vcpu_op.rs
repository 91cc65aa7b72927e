//! `vcpu_op`: a guest's vcpus: their start, their timers, where they keep their books. Public header `vcpu.h`.
//!
//! Commands 14 and 15 of later versions, areas by physical address, do not exist in 4.17.

mod areas;
mod bring_up;

use xenvisor_abi::vcpu as abi;
use xenvisor_core::machine::Call;
use xenvisor_core::number::VcpuId;
use xenvisor_core::vcpu::mail::News;
use xenvisor_core::vcpu::timers::Timers;
use xenvisor_core::vcpu::{Activity, Vcpu};

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::set_timer_op;
use crate::table::{argument, command, low};

/// Serves the call.
///
/// # Errors
/// `NO_ENTRY` for a vcpu there is not; otherwise as each row says.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let vcpu = cx.caller.vcpu(VcpuId::new(low(argument(call, 1)))).ok_or(Errno::NO_ENTRY)?;
    let at = argument(call, 2);
    match command(call) {
        abi::VCPUOP_initialise                        => bring_up::initialise(cx, vcpu, at),
        abi::VCPUOP_up                                => bring_up::up(cx, vcpu),
        abi::VCPUOP_down                              => bring_up::down(cx, vcpu),
        abi::VCPUOP_is_up                             => Ok(Answer::Done(u64::from(vcpu.activity.get() != Activity::Offline))),
        abi::VCPUOP_get_runstate_info                 => areas::get_runstate_info(cx, vcpu, at),
        abi::VCPUOP_register_runstate_memory_area     => areas::register_runstate(cx, vcpu, at),
        abi::VCPUOP_register_vcpu_time_memory_area    => areas::register_time(cx, vcpu, at),
        abi::VCPUOP_register_vcpu_info                => areas::register_vcpu_info(cx, vcpu, at),
        abi::VCPUOP_set_periodic_timer                => set_periodic_timer(cx, vcpu, at),
        abi::VCPUOP_stop_periodic_timer               => stop_periodic_timer(vcpu),
        abi::VCPUOP_set_singleshot_timer              => set_singleshot_timer(cx, vcpu, at),
        abi::VCPUOP_stop_singleshot_timer             => stop_singleshot_timer(cx, vcpu),
        abi::VCPUOP_send_nmi                          => send_nmi(cx, vcpu, at),
        abi::VCPUOP_get_physid                        => Err(Errno::INVALID),
        _                                             => Err(Errno::NO_CALL),
    }
}

/// A beat no faster than a millisecond. `INVALID` for a faster one, or one so slow that it overflows.
fn set_periodic_timer(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    let argument: abi::SetPeriodicTimer = cx.read(at)?;
    if !(Timers::SHORTEST_PERIOD_NS..=Timers::LONGEST_PERIOD_NS).contains(&argument.period_ns) {
        return Err(Errno::INVALID);
    }
    vcpu.timers.lock().start_periodic(cx.now, argument.period_ns);
    cx.caller.tell(vcpu, News::TIMER);
    Ok(Answer::OK)
}

fn stop_periodic_timer(vcpu: &Vcpu) -> Served {
    vcpu.timers.lock().stop_periodic();
    Ok(Answer::OK)
}

/// A deadline for the calling vcpu. One that has passed fires at once; `INVALID` for another vcpu.
fn set_singleshot_timer(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    if vcpu.key != cx.vcpu.key {
        return Err(Errno::INVALID);
    }
    let argument: abi::SetSingleshotTimer = cx.read_shaped(at)?;
    vcpu.timers.lock().singleshot = Some(set_timer_op::deadline(argument.timeout_abs_ns));
    Ok(Answer::OK)
}

fn stop_singleshot_timer(cx: &Context<'_>, vcpu: &Vcpu) -> Served {
    if vcpu.key != cx.vcpu.key {
        return Err(Errno::INVALID);
    }
    vcpu.timers.lock().singleshot = None;
    Ok(Answer::OK)
}

/// A non-maskable interrupt. It takes no argument, and says so.
fn send_nmi(cx: &Context<'_>, vcpu: &Vcpu, at: u64) -> Served {
    if at != 0 {
        return Err(Errno::INVALID);
    }
    cx.caller.tell(vcpu, News::NMI);
    Ok(Answer::OK)
}

#[cfg(test)]
mod tests;
