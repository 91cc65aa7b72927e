//! `sched_op`: a guest gives up its processor, or itself. Public header `sched.h`.

mod poll;

use xenvisor_abi::sched as abi;
use xenvisor_core::domain::life::Reason;
use xenvisor_core::domain::watchdog::WatchdogError;
use xenvisor_core::machine::{Call, Level};
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::{PinVcpu, RemoteShutdown};

use crate::answer::{After, Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command};

/// Offset of the byte that masks upcalls in a `vcpu_info` (public header `xen.h`).
const UPCALL_MASK: u64 = 1;
const SECOND_NS: u64 = 1_000_000_000;

/// Serves the call.
///
/// # Errors
/// `FAULT` where an argument cannot be read, `NOT_PERMITTED` and `NO_DOMAIN` where others are concerned, `NO_CALL` for
/// other commands.
#[rustfmt::skip]
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    let at = argument(call, 1);
    match command(call) {
        abi::SCHEDOP_yield           => Ok(Answer::Then(0, After::Yield)),
        abi::SCHEDOP_block           => block(cx),
        abi::SCHEDOP_shutdown        => shutdown(cx, at),
        abi::SCHEDOP_poll            => poll::poll(cx, at),
        abi::SCHEDOP_shutdown_code   => shutdown_code(cx, at),
        abi::SCHEDOP_remote_shutdown => remote_shutdown(cx, at),
        abi::SCHEDOP_watchdog        => watchdog(cx, at),
        abi::SCHEDOP_pin_override    => pin_override(cx),
        _                            => Err(Errno::NO_CALL),
    }
}

/// The reason a guest gives: Xen keeps its low eight bits.
fn reason(raw: u32) -> Reason {
    let [low, ..] = raw.to_le_bytes();
    Reason::from_raw(low)
}

/// Sleeps until there is an event. Upcalls are unmasked first, so that none is missed in between; whether the processor
/// takes interrupts is left as it is.
fn block(cx: &Context<'_>) -> Served {
    let mask = cx.vcpu.info.get().and_then(|info| info.checked_add(UPCALL_MASK));
    if let Some(mask) = mask {
        cx.hypervisor.machine.memory().write(mask, &[0]);
    }
    Ok(Answer::Then(0, After::Block))
}

/// Ends the domain's run. A guest that goes on after it had asked to be suspended finds 0 as the result when it was
/// restored, 1 when nothing came of it.
fn shutdown(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Shutdown = cx.read(at)?;
    let reason = reason(argument.reason);
    cx.hypervisor.log(
        Level::Info,
        Some(cx.caller.id),
        format_args!("shuts down: {reason:?}"),
    );
    cx.vcpu.set_asks_to_suspend(reason == Reason::Suspend);
    cx.caller.shut_down(reason);
    Ok(Answer::Then(0, After::Ended))
}

/// Notes why the domain will shut down, whatever is said then. The first note stands.
fn shutdown_code(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Shutdown = cx.read(at)?;
    let mut settings = cx.caller.settings.lock();
    settings.shutdown_code.get_or_insert(reason(argument.reason));
    Ok(Answer::OK)
}

fn remote_shutdown(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::RemoteShutdown = cx.read(at)?;
    // No alias is taken here: a guest that means itself shuts itself down.
    let target = cx
        .domain_by_id(DomainId::new(argument.domain_id))
        .ok_or(Errno::NO_DOMAIN)?;
    let reason = reason(argument.reason);
    cx.authorise(RemoteShutdown {
        caller: cx.caller.id,
        target: target.id,
        reason,
    })?;
    let myself = target.id == cx.caller.id;
    target.shut_down(reason);
    Ok(if myself {
        Answer::Then(0, After::Ended)
    } else {
        Answer::OK
    })
}

/// Takes a watchdog into use (id 0: its number is the result), winds it up for so many seconds, or stops it (0). One
/// taken into use for 0 seconds goes off at once. `INVALID` for one there is not, or that is not in use; `NO_SPACE`
/// when all are.
fn watchdog(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Watchdog = cx.read(at)?;
    let number = (argument.id != 0).then_some(argument.id);
    let stops = number.is_some() && argument.timeout == 0;
    let deadline = cx
        .now
        .after_ns(u64::from(argument.timeout).saturating_mul(SECOND_NS));
    let answer = cx.caller.watch(number, (!stops).then_some(deadline));
    answer
        .map(|number| Answer::Done(number.into()))
        .map_err(|error| match error {
            WatchdogError::NoneFree => Errno::NO_SPACE,
            WatchdogError::NotInUse => Errno::INVALID,
        })
}

/// Keeps the vcpu on one processor of the host, or no longer: what only a guest that drives the host may.
fn pin_override(cx: &Context<'_>) -> Served {
    cx.authorise(PinVcpu {
        caller: cx.caller.id,
        vcpu: cx.vcpu.key.vcpu,
    })?;
    Err(Errno::NO_CALL)
}

#[cfg(test)]
mod tests;
