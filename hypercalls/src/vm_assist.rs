//! `vm_assist`: switches in how the hypervisor treats a domain. Public header `xen.h`, `VMASST_*`.

use xenvisor_abi::xen as abi;
use xenvisor_core::machine::Call;

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::errno::Errno;
use crate::table::{argument, command, low};

/// Serves the call. One switch means something to a guest with translated memory; the others are for PV guests.
///
/// # Errors
/// `INVALID` for any other switch, whatever the command, then `NO_CALL` for other commands.
pub fn serve(cx: &Context<'_>, call: &Call) -> Served {
    if low(argument(call, 1)) != abi::VMASST_TYPE_runstate_update_flag {
        return Err(Errno::INVALID);
    }
    let on = match command(call) {
        abi::VMASST_CMD_enable => true,
        abi::VMASST_CMD_disable => false,
        _ => return Err(Errno::NO_CALL),
    };
    cx.caller.settings.lock().runstate_update_flag = on;
    Ok(Answer::OK)
}
