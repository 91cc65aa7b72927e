//! Event channels.

use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::EINVAL;
use xenvisor::abi::sched;
use xenvisor::abi::xen::HYPERVISOR_sched_op;
use xenvisor::prelude::XenDefault;

use super::world::{ARGUMENTS as AT, World};

#[test]
fn xsa_221_waiting_for_a_port_that_never_was_is_refused() {
    let world = World::new(1, XenDefault::default());
    // The first bucket of ports is there, the second is not; the last numbers are no ports in any layout.
    for port in [128, 1023, 1024, 4095, 4096, 1 << 17, u32::MAX] {
        world.put(1, AT + 512, &port);
        let poll = sched::Poll {
            ports: GuestHandle64(AT + 512),
            nr_ports: 1,
            timeout: 0,
            ..Default::default()
        };
        world.put(1, AT, &poll);
        let result = world.call(1, HYPERVISOR_sched_op, &[sched::SCHEDOP_poll.into(), AT]);
        assert_eq!(result, -i64::from(EINVAL), "port {port}");
    }
}
