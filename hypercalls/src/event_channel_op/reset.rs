//! Closing all ports of a domain, in slices.

use xenvisor_abi::event_channel as abi;
use xenvisor_core::event::{self, Progress, Turn};
use xenvisor_core::machine::Call;
use xenvisor_core::policy::EventReset;

use super::RESET_GO_ON;
use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;

/// How many ports are closed before others get their turn.
const SLICE: u32 = 64;

/// Begins. `NO_DOMAIN`, `NOT_PERMITTED`; `BUSY` if a reset is under way; `AGAIN` if ports were opened meanwhile.
pub(super) fn begin(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    turn(cx, call, at, Turn::First)
}

/// Goes on. `BUSY` if no reset is under way: then a guest has asked for what only we ask for.
pub(super) fn go_on(cx: &Context<'_>, call: &Call, at: u64) -> Served {
    turn(cx, call, at, Turn::Next)
}

fn turn(cx: &Context<'_>, call: &Call, at: u64, turn: Turn) -> Served {
    let argument: abi::Reset = cx.read(at)?;
    let target = cx.domain(argument.dom)?;
    cx.authorise(EventReset {
        caller: cx.caller.id,
        owner: target.id,
    })?;
    if target.id != cx.caller.id {
        // Another domain has to be paused for that, and nobody can pause one.
        return Err(Errno::INVALID);
    }
    match event::reset(&*target, turn, SLICE, |id| cx.hypervisor.domain(id))? {
        Progress::Done => Ok(Answer::OK),
        Progress::Continue(_) => {
            let mut arguments = call.arguments;
            arguments[0] = u64::from(RESET_GO_ON);
            Ok(Answer::Again(arguments))
        }
    }
}
