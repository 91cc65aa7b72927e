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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use xenvisor_abi::xen::HYPERVISOR_vm_assist;
    use xenvisor_core::policy::XenDefault;

    use super::*;
    use crate::testing::World;

    #[test]
    fn there_is_one_switch_and_it_is_looked_for_before_the_command() {
        let world = World::new(1, 1, XenDefault::default(), Vec::new());
        let assist = |command: u32, kind: u64| {
            let answer = world.call(1, HYPERVISOR_vm_assist, &[command.into(), kind]);
            (answer, world.domains[0].settings.lock().runstate_update_flag)
        };
        assert_eq!(assist(abi::VMASST_CMD_enable, 5), (Ok(Answer::OK), true));
        assert_eq!(assist(9, 5), (Err(Errno::NO_CALL), true));
        for kind in [0, 1, 2, 3, 4, 6, 32, 63, 64, 1 << 31] {
            assert_eq!(assist(9, kind), (Err(Errno::INVALID), true), "{kind}");
        }
        assert_eq!(assist(abi::VMASST_CMD_disable, 5), (Ok(Answer::OK), false));
    }
}
