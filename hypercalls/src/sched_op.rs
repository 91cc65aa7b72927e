//! `sched_op`: a guest gives up its processor, or itself. Public header `sched.h`.

mod poll;

use xenvisor_abi::sched as abi;
use xenvisor_core::domain::life::Reason;
use xenvisor_core::machine::{Call, Level};
use xenvisor_core::policy::{PinVcpu, RemoteShutdown};

use crate::answer::{After, Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command};

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
        abi::SCHEDOP_block           => Ok(Answer::Then(0, After::Block)),
        abi::SCHEDOP_shutdown        => shutdown(cx, at),
        abi::SCHEDOP_poll            => poll::poll(cx, at),
        abi::SCHEDOP_shutdown_code   => shutdown_code(cx, at),
        abi::SCHEDOP_remote_shutdown => remote_shutdown(cx, at),
        abi::SCHEDOP_pin_override    => pin_override(cx),
        _                            => Err(Errno::NO_CALL),
    }
}

/// The reason a guest gives: Xen keeps its low eight bits.
fn reason(raw: u32) -> Reason {
    let [low, ..] = raw.to_le_bytes();
    Reason::from_raw(low)
}

fn shutdown(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Shutdown = cx.read(at)?;
    let reason = reason(argument.reason);
    cx.hypervisor.log(
        Level::Info,
        Some(cx.caller.id),
        format_args!("shuts down: {reason:?}"),
    );
    cx.caller.shut_down(reason);
    Ok(Answer::Then(0, After::Ended))
}

fn shutdown_code(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::Shutdown = cx.read(at)?;
    cx.caller.settings.lock().shutdown_code = Some(reason(argument.reason));
    Ok(Answer::OK)
}

fn remote_shutdown(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::RemoteShutdown = cx.read(at)?;
    let target = cx
        .hypervisor
        .domain(cx.domain_id(argument.domain_id))
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

fn pin_override(cx: &Context<'_>) -> Served {
    cx.authorise(PinVcpu {
        caller: cx.caller.id,
        vcpu: cx.vcpu.key.vcpu,
    })?;
    Err(Errno::NO_CALL)
}
