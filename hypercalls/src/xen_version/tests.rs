//! What every guest may know, and what none.

use alloc::vec::Vec;

use xenvisor_abi::version as abi;
use xenvisor_abi::xen::HYPERVISOR_xen_version;
use xenvisor_core::machine::Width;
use xenvisor_core::number::DomainId;
use xenvisor_core::policy::XenDefault;

use super::DENIED;
use crate::answer::{Answer, Served};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

const AT: u64 = 0x1000;

fn ask(world: &World, command: u32, at: u64) -> Served {
    world.call(1, HYPERVISOR_xen_version, &[command.into(), at])
}

fn text(world: &World, command: u32) -> Vec<u8> {
    assert_eq!(ask(world, command, AT), Ok(Answer::OK), "{command}");
    let bytes: [u8; 1024] = world.get(1, AT);
    bytes.iter().copied().take_while(|byte| *byte != 0).collect()
}

fn world() -> World {
    World::new(1, 1, XenDefault::default(), Vec::new())
}

#[test]
fn a_guest_knows_what_it_runs_on_but_not_how_it_was_started() {
    let world = world();
    for command in [
        abi::XENVER_extraversion,
        abi::XENVER_compile_info,
        abi::XENVER_capabilities,
        abi::XENVER_changeset,
    ] {
        assert_ne!(text(&world, command), DENIED.as_bytes(), "{command}");
    }
    assert_eq!(text(&world, abi::XENVER_commandline), DENIED.as_bytes());
    assert_eq!(ask(&world, abi::XENVER_build_id, 0), Err(Errno::NOT_PERMITTED));
    assert_eq!(
        ask(&world, abi::XENVER_build_id, NOWHERE),
        Err(Errno::NOT_PERMITTED)
    );
}

#[test]
fn who_may_know_is_told() {
    let world = World::new(1, 1, XenDefault::with_privileged(DomainId::new(1)), Vec::new());
    assert_ne!(text(&world, abi::XENVER_commandline), DENIED.as_bytes());
    assert_eq!(ask(&world, abi::XENVER_build_id, 0), Err(Errno::NO_DATA));
    world.put(1, AT, &abi::BuildId { len: 0 });
    assert_eq!(ask(&world, abi::XENVER_build_id, AT), Err(Errno::INVALID));
    assert_eq!(ask(&world, abi::XENVER_build_id, NOWHERE), Err(Errno::FAULT));
}

#[test]
fn numbers_take_no_argument_and_words_of_features_end_after_the_first() {
    let world = world();
    assert_eq!(
        ask(&world, abi::XENVER_version, NOWHERE),
        Ok(Answer::Done(4 << 16 | 17))
    );
    assert_eq!(ask(&world, abi::XENVER_pagesize, 0), Ok(Answer::Done(4096)));
    assert_eq!(ask(&world, abi::XENVER_pagesize, AT), Err(Errno::INVALID));
    world.put(
        1,
        AT,
        &abi::FeatureInfo {
            submap_idx: 1,
            submap: 0,
        },
    );
    assert_eq!(ask(&world, abi::XENVER_get_features, AT), Err(Errno::INVALID));
    assert_eq!(ask(&world, abi::XENVER_platform_parameters, AT), Ok(Answer::OK));
    assert_eq!(world.get::<u64>(1, AT), 0xffff_8000_0000_0000);
    world.put(1, AT, &u64::MAX);
    let narrow = [abi::XENVER_platform_parameters.into(), AT];
    let answer = world.call_from(1, 0, Width::Bits32, HYPERVISOR_xen_version, &narrow);
    assert_eq!(
        (answer, world.get::<u64>(1, AT)),
        (Ok(Answer::OK), 0xffff_ffff_0000_0000)
    );
}

#[test]
fn what_cannot_be_written_is_a_fault_and_later_commands_do_not_exist() {
    let world = world();
    for command in [1, 2, 3, 4, 5, 6, 8, 9] {
        assert_eq!(ask(&world, command, NOWHERE), Err(Errno::FAULT), "{command}");
    }
    for command in [11, 12, 13, 14, 99] {
        assert_eq!(ask(&world, command, AT), Err(Errno::NO_CALL), "{command}");
    }
}
