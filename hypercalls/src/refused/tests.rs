//! Each refusal, in the order in which Xen looks.

use alloc::vec::Vec;

use xenvisor_abi::xen::{self, DOMID_SELF};
use xenvisor_core::machine::Width;
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::XenDefault;

use crate::answer::{Answer, Served};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

const AT: u64 = 0x1000;

fn world() -> World {
    World::new(2, 1, XenDefault::default(), Vec::new())
}

fn control(world: &World, number: u32, command: u32, version: u32, domain: u16) -> Served {
    world.put(1, AT, &[command, version, u32::from(domain)]);
    world.call(1, number, &[AT])
}

#[test]
fn control_operations_look_at_address_then_version_then_domain_then_caller() {
    let world = world();
    for (number, version) in [
        (xen::HYPERVISOR_platform_op, 0x0300_0001),
        (xen::HYPERVISOR_sysctl, 0x15),
        (xen::HYPERVISOR_domctl, 0x15),
    ] {
        assert_eq!(world.call(1, number, &[NOWHERE]), Err(Errno::FAULT), "{number}");
        assert_eq!(
            world.call(1, number, &[NOWHERE - 64]),
            Err(Errno::FAULT),
            "{number}"
        );
        assert_eq!(control(&world, number, 10, 7, 1), Err(Errno::ACCESS), "{number}");
        assert_eq!(
            control(&world, number, 10, version, 1),
            Err(Errno::NOT_PERMITTED),
            "{number}"
        );
    }
}

#[test]
fn domains_are_looked_for_before_the_caller_is_judged() {
    let world = world();
    let domctl = |command, domain| control(&world, xen::HYPERVISOR_domctl, command, 0x15, domain);
    for nobody in [3, DOMID_SELF, u16::MAX] {
        assert_eq!(domctl(2, nobody), Err(Errno::NO_DOMAIN));
    }
    assert_eq!(domctl(2, 2), Err(Errno::NOT_PERMITTED));
    for command in [super::CREATEDOMAIN, super::GETDOMAININFO, super::GDBSX_GUESTMEMIO] {
        assert_eq!(domctl(command, 3), Err(Errno::NOT_PERMITTED), "{command}");
    }
    let go_on = |command, version, domain| control(&world, xen::HYPERVISOR_arch_1, command, version, domain);
    assert_eq!(go_on(2, 0x15, 1), Err(Errno::NOT_SUPPORTED));
    assert_eq!(go_on(10, 0, 1), Err(Errno::NOT_SUPPORTED));
    assert_eq!(go_on(10, 0x15, 3), Err(Errno::NO_DOMAIN));
    assert_eq!(go_on(10, 0x15, 1), Err(Errno::NOT_PERMITTED));
    let unreadable = world.call(1, xen::HYPERVISOR_arch_1, &[NOWHERE]);
    assert_eq!(unreadable, Err(Errno::FAULT));
}

#[test]
fn nobody_emulates_devices_for_a_domain_without_privilege() {
    let world = world();
    let call =
        |domain: u16, count: u64, list| world.call(1, xen::HYPERVISOR_dm_op, &[domain.into(), count, list]);
    assert_eq!(call(2, 3, AT), Err(Errno::TOO_LONG));
    assert_eq!(call(2, 2, NOWHERE - 16), Err(Errno::FAULT));
    assert_eq!(call(9, 2, AT), Err(Errno::NO_DOMAIN));
    assert_eq!(call(DOMID_SELF, 0, NOWHERE), Err(Errno::NO_DATA));
    assert_eq!(call(DOMID_SELF, 1, AT), Err(Errno::NO_DOMAIN));
    assert_eq!(call(1, 1, AT), Err(Errno::NOT_PERMITTED));
    assert_eq!(call(2, 1, AT), Err(Errno::NOT_PERMITTED));
    let narrow = [2, 2, NOWHERE - 16];
    let answer = world.call_from(1, 0, Width::Bits32, xen::HYPERVISOR_dm_op, &narrow);
    assert_eq!(
        answer,
        Err(Errno::NOT_PERMITTED),
        "two buffers are 16 bytes there"
    );
}

#[test]
fn page_tables_of_pv_guests_are_nobodys() {
    let world = world();
    let call = |whose: u16| world.call(1, xen::HYPERVISOR_mmuext_op, &[AT, 1, 0, whose.into()]);
    assert_eq!(call(DOMID_SELF), Err(Errno::INVALID));
    assert_eq!(call(1), Err(Errno::NO_DOMAIN));
    assert_eq!(call(2), Err(Errno::INVALID));
    assert_eq!(call(3), Err(Errno::NO_DOMAIN));
    assert_eq!(call(xen::DOMID_IO), Err(Errno::NOT_PERMITTED));
    assert_eq!(call(xen::DOMID_XEN), Err(Errno::NOT_PERMITTED));
    let ended = world.call(1, xen::HYPERVISOR_mmuext_op, &[0, 1 << 31, 0, 0xffff_fff2]);
    assert_eq!(ended, Ok(Answer::Done((-14_i64) as u64)));
}

#[test]
fn counters_and_parameters_of_the_host_are_out_of_reach_whatever_is_asked() {
    let world = world();
    for command in [0, 1, 5, 99] {
        let counters = world.call(1, xen::HYPERVISOR_xenpmu_op, &[command, NOWHERE]);
        assert_eq!(counters, Err(Errno::NOT_SUPPORTED));
        let parameters = world.call(1, xen::HYPERVISOR_hypfs_op, &[command, NOWHERE, 0, 0, 0]);
        assert_eq!(parameters, Err(Errno::NOT_PERMITTED));
    }
}

#[test]
fn what_a_policy_allows_does_not_exist_yet() {
    let policy = XenDefault::with_privileged(DomainId::new(1));
    let world = World::new(2, 1, policy, Vec::new());
    assert_eq!(
        control(&world, xen::HYPERVISOR_domctl, 2, 0x15, 2),
        Err(Errno::NO_CALL)
    );
    assert_eq!(
        control(&world, xen::HYPERVISOR_sysctl, 3, 0x15, 0),
        Err(Errno::NO_CALL)
    );
}
