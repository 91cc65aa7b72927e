//! What a policy denies is seen denied by the guest, and its reason is in the log; what it allows goes on.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

mod any_words;
mod every_act;
mod every_handler;
mod images;
#[path = "../world/mod.rs"]
mod world;

use world::{ARGUMENTS, FREE, World, guest, run};
use xenvisor::abi::errno::EPERM;
use xenvisor::abi::event_channel as event;
use xenvisor::abi::grant_table as grant;
use xenvisor::abi::memory::{AddToPhysmap, XENMAPSPACE_grant_table, XENMEM_add_to_physmap};
use xenvisor::abi::sched::{RemoteShutdown, SCHEDOP_remote_shutdown};
use xenvisor::abi::xen::{
    CONSOLEIO_write, DOMID_SELF, HYPERVISOR_console_io, HYPERVISOR_event_channel_op,
    HYPERVISOR_grant_table_op, HYPERVISOR_memory_op, HYPERVISOR_sched_op,
};
use xenvisor::hypercalls::launch::Ended;
use xenvisor::model::domain::life::Life;
use xenvisor::model::number::DomainId;
use xenvisor::prelude::*;
use xenvisor::sim::programs::Programs;

const REFUSED: i64 = -(EPERM as i64);

fn offer(world: &World, from: u16, to: u16) -> (i64, u32) {
    let mut argument = event::AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: to,
        port: 0,
    };
    let command = event::EVTCHNOP_alloc_unbound;
    let result = world.call_with(from, HYPERVISOR_event_channel_op, command, &mut argument);
    (result, argument.port)
}

fn bind(world: &World, from: u16, to: u16, port: u32) -> (i64, u32) {
    let mut argument = event::BindInterdomain {
        remote_dom: to,
        remote_port: port,
        ..event::BindInterdomain::default()
    };
    let command = event::EVTCHNOP_bind_interdomain;
    let result = world.call_with(from, HYPERVISOR_event_channel_op, command, &mut argument);
    (result, argument.local_port)
}

fn send(world: &World, from: u16, port: u32) -> i64 {
    let mut argument = event::Send { port };
    world.call_with(
        from,
        HYPERVISOR_event_channel_op,
        event::EVTCHNOP_send,
        &mut argument,
    )
}

/// Domain `from` grants its frame [`FREE`] + 1 to `to` as reference 8.
fn grant(world: &World, from: u16, to: u16) {
    let mut table = AddToPhysmap {
        domid: DOMID_SELF,
        space: XENMAPSPACE_grant_table,
        gpfn: FREE,
        ..AddToPhysmap::default()
    };
    assert_eq!(
        world.call_with(from, HYPERVISOR_memory_op, XENMEM_add_to_physmap, &mut table),
        0
    );
    let entry = grant::EntryV1 {
        flags: grant::GTF_permit_access,
        domid: to,
        frame: u32::try_from(FREE + 1).unwrap(),
    };
    world.put(from, (FREE << 12) + 8 * 8, &entry);
}

/// Domain `from` maps reference 8 of `to`; the status.
fn map(world: &World, from: u16, to: u16, flags: grant::MapFlags) -> i16 {
    let mut argument = grant::MapGrantRef {
        host_addr: (FREE + 2) << 12,
        flags: (grant::MapFlags::HOST_MAP | flags).bits(),
        reference: 8,
        dom: to,
        ..grant::MapGrantRef::default()
    };
    let command = grant::GNTTABOP_map_grant_ref;
    assert_eq!(
        world.call_with(from, HYPERVISOR_grant_table_op, command, &mut argument),
        0
    );
    argument.status
}

/// A policy with one rule of its own.
struct ReadOnlyGrants;

impl Policy for ReadOnlyGrants {
    fn grant_map(&self, request: &GrantMap) -> Verdict {
        match request.access {
            Access::Read => Verdict::Allow,
            Access::ReadWrite => Verdict::Deny("this image maps grants read-only"),
        }
    }
}

#[test]
fn by_default_two_domains_that_name_each_other_may_talk_and_share() {
    let world = World::new(2, XenDefault::default());
    let (result, port) = offer(&world, 1, 2);
    assert_eq!(result, 0);
    let (result, own) = bind(&world, 2, 1, port);
    assert_eq!((result, send(&world, 2, own)), (0, 0));
    grant(&world, 1, 2);
    assert_eq!(map(&world, 2, 1, grant::MapFlags::empty()), grant::GNTST_okay);
}

#[test]
fn silos_deny_a_port_before_it_exists() {
    let world = World::new(2, Silo::default());
    let before = world.state();
    world.put(1, ARGUMENTS, &[0_u64; 4]);
    assert_eq!(offer(&world, 1, 2).0, REFUSED);
    assert!(world.last_line().contains("kept apart"), "{}", world.last_line());
    world.put(1, ARGUMENTS, &[0_u64; 4]);
    assert_eq!(world.state(), before);
}

#[test]
fn a_hub_may_talk_with_everybody_and_nobody_else_with_anybody() {
    let world = World::new(3, Silo::around(DomainId::new(1)));
    assert_eq!(offer(&world, 1, 3).0, 0);
    assert_eq!(offer(&world, 2, 1).0, 0);
    assert_eq!(offer(&world, 2, 3).0, REFUSED);
}

#[test]
fn a_partition_allows_the_declared_pair_alone() {
    let pair = StaticPartition::new().channel(DomainId::new(1), DomainId::new(2));
    let world = World::new(3, pair);
    assert_eq!(offer(&world, 1, 2).0, 0);
    assert_eq!(offer(&world, 1, 3).0, REFUSED);
    assert!(
        world.last_line().contains("declares no channel"),
        "{}",
        world.last_line()
    );
    grant(&world, 1, 3);
    assert_eq!(
        map(&world, 3, 1, grant::MapFlags::READONLY),
        grant::GNTST_permission_denied
    );
}

#[test]
fn a_rule_of_the_image_says_why_it_denies() {
    let world = World::new(2, (XenDefault::default(), ReadOnlyGrants));
    grant(&world, 1, 2);
    assert_eq!(
        map(&world, 2, 1, grant::MapFlags::empty()),
        grant::GNTST_permission_denied
    );
    assert!(
        world.last_line().contains("this image maps grants read-only"),
        "{}",
        world.last_line()
    );
    assert_eq!(map(&world, 2, 1, grant::MapFlags::READONLY), grant::GNTST_okay);
}

/// Denies each event that domain 2 sends.
struct Mute;

impl Policy for Mute {
    fn event_send(&self, request: &EventSend) -> Verdict {
        if request.caller == DomainId::new(2) {
            Verdict::Deny("domain 2 listens only")
        } else {
            Verdict::Allow
        }
    }
}

#[test]
fn a_policy_is_asked_about_each_event() {
    let world = World::new(2, Mute);
    let (_, port) = offer(&world, 1, 2);
    let (_, own) = bind(&world, 2, 1, port);
    assert_eq!(send(&world, 1, port), 0);
    assert_eq!(send(&world, 2, own), REFUSED);
    assert!(
        world.last_line().contains("listens only"),
        "{}",
        world.last_line()
    );
}

#[test]
fn nobody_writes_to_the_hosts_console_or_shuts_another_down() {
    let world = World::new(2, XenDefault::default());
    world.put(1, ARGUMENTS, b"hello");
    let arguments = [CONSOLEIO_write.into(), 5, ARGUMENTS];
    assert_eq!(world.call(1, HYPERVISOR_console_io, &arguments), REFUSED);
    let mut shutdown = RemoteShutdown {
        domain_id: 2,
        ..RemoteShutdown::default()
    };
    let command = SCHEDOP_remote_shutdown;
    assert_eq!(
        world.call_with(1, HYPERVISOR_sched_op, command, &mut shutdown),
        REFUSED
    );
    assert_eq!(*world.domain(2).life.lock(), Life::Running);
}

#[test]
fn the_privileged_domain_does_both() {
    let world = World::new(2, XenDefault::with_privileged(DomainId::new(1)));
    world.put(1, ARGUMENTS, b"hello");
    let arguments = [CONSOLEIO_write.into(), 5, ARGUMENTS];
    assert_eq!(world.call(1, HYPERVISOR_console_io, &arguments), 0);
    let mut shutdown = RemoteShutdown {
        domain_id: 2,
        ..RemoteShutdown::default()
    };
    let command = SCHEDOP_remote_shutdown;
    assert_eq!(world.call_with(1, HYPERVISOR_sched_op, command, &mut shutdown), 0);
    assert!(matches!(*world.domain(2).life.lock(), Life::ShutDown(_)));
}

#[test]
fn running_guests_are_denied_as_well_and_go_on() {
    struct NoGrants;
    impl Policy for NoGrants {
        fn grant_map(&self, _: &GrantMap) -> Verdict {
            Verdict::Deny("these guests share no memory")
        }
    }
    let talk = |policy: Box<dyn FnOnce() -> System>| {
        let mut system = policy();
        system.guest(guest("ping", "ping").cmdline("peer=2"));
        system.guest(guest("pong", "pong").cmdline("peer=1"));
        let run = run(5, Programs::standard(), system);
        if run.finished.ended != Ended::Well {
            run.fail(5, "a guest did not end well");
        }
        let denials = run.finished.fates.iter().map(|fate| fate.denials);
        let denied: u64 = denials.map(|tally| tally.of(Act::GrantMap)).sum();
        (run.log(), run.console(), denied)
    };
    let (log, console, denied) = talk(Box::new(|| System::with_policy(NoGrants)));
    assert_eq!(denied, 1, "whoever runs the image can read what was denied");
    assert!(log.contains("pong was denied to map a grant 1x"), "{log}");
    assert!(
        log.contains("denied: to map a grant: these guests share no memory"),
        "{log}"
    );
    assert!(
        console.contains("I may not map the grant: status -8"),
        "{console}"
    );
    let (log, console, denied) = talk(Box::new(System::default));
    assert_eq!(denied, 0);
    assert!(!log.contains("denied"), "{log}");
    assert!(console.contains("I map the grant"), "{console}");
}

#[test]
fn each_image_of_a_policy_denies_on_the_simulated_machine_what_it_should() {
    for image in images::ALL {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--example", image.name])
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        let missing = images::missing(&image, &shown, &shown);
        assert!(
            output.status.success() && missing.is_empty(),
            "{}: no {missing:?} in:\n{shown}",
            image.name
        );
    }
}
