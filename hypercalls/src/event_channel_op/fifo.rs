//! Rows of the FIFO way.

use xenvisor_abi::event_channel as abi;
use xenvisor_core::event;
use xenvisor_core::memory::guest_page::{GuestPage, NotOwnRam};
use xenvisor_core::number::{Gfn, Port, VcpuId};

use crate::answer::{Answer, Served};
use crate::context::Context;

/// Holds a page of the caller's own memory for as long as events need it.
fn hold(cx: &Context<'_>, gfn: u64) -> Result<GuestPage, NotOwnRam> {
    let memory = &cx.caller.memory;
    GuestPage::hold(memory.frames(), memory.stage(), memory.owner(), Gfn::new(gfn))
}

/// Gives a vcpu its control block; the first one turns the domain to the FIFO way. `NO_ENTRY` for a vcpu there is not;
/// `INVALID` for a place that is not aligned, crosses its page or is not the caller's own memory, and for a second one.
pub(super) fn init_control(cx: &Context<'_>, at: u64) -> Served {
    let mut argument: abi::InitControl = cx.read(at)?;
    let reply = cx.reserve(at)?;
    argument.link_bits =
        event::init_control(&**cx.caller, VcpuId::new(argument.vcpu), argument.offset, || {
            hold(cx, argument.control_gfn)
        })?;
    reply.send(&argument);
    Ok(Answer::OK)
}

/// Adds a page of event words. `NOT_SUPPORTED` in the 2-level way, `NO_SPACE` after the last page, `INVALID` for a page
/// that is not the caller's own memory.
pub(super) fn expand_array(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::ExpandArray = cx.read(at)?;
    event::expand_array(&**cx.caller, || hold(cx, argument.array_gfn))?;
    Ok(Answer::OK)
}

/// Chooses the queue of a port. `INVALID` for a port that never was or a priority there is not, `NO_CALL` in the 2-level
/// way, `ACCESS` for a port that is not open.
pub(super) fn set_priority(cx: &Context<'_>, at: u64) -> Served {
    let argument: abi::SetPriority = cx.read(at)?;
    event::set_priority(&**cx.caller, Port::new(argument.port), argument.priority)?;
    Ok(Answer::OK)
}
