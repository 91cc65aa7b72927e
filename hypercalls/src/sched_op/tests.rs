//! What a guest hears when it gives way, sleeps, or ends.

use alloc::vec::Vec;

use xenvisor_abi::GuestHandle64;
use xenvisor_abi::event_channel as event;
use xenvisor_abi::sched as abi;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, HYPERVISOR_sched_op};
use xenvisor_core::clock::Instant;
use xenvisor_core::domain::life::{Life, Reason, SuspendResult};
use xenvisor_core::policy::XenDefault;
use xenvisor_core::vcpu::Activity;

use crate::answer::{After, Answer, Served};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

const ARGUMENT: u64 = 0x1000;
const LIST: u64 = 0x2000;
/// When [`World`] makes its calls.
const NOW_NS: u64 = 1_000;

fn world() -> World {
    World::new(2, 2, XenDefault::default(), Vec::new())
}

fn call<T: zerocopy::IntoBytes + zerocopy::Immutable>(world: &World, command: u32, argument: &T) -> Served {
    world.put(1, ARGUMENT, argument);
    world.call(1, HYPERVISOR_sched_op, &[command.into(), ARGUMENT])
}

fn shut_down(world: &World, reason: u32) -> Served {
    call(world, abi::SCHEDOP_shutdown, &abi::Shutdown { reason })
}

fn watchdog(world: &World, id: u32, timeout: u32) -> Served {
    call(world, abi::SCHEDOP_watchdog, &abi::Watchdog { id, timeout })
}

fn life(world: &World) -> Life {
    *world.domains[0].life.lock()
}

/// A port of domain 1 on which domain 2 may bind.
fn port(world: &World) -> u32 {
    let argument = event::AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: 2,
        port: 0,
    };
    world.put(1, ARGUMENT, &argument);
    let command = event::EVTCHNOP_alloc_unbound.into();
    world
        .call(1, HYPERVISOR_event_channel_op, &[command, ARGUMENT])
        .unwrap();
    world.get::<event::AllocUnbound>(1, ARGUMENT).port
}

fn poll(world: &World, ports: u64, nr_ports: u32, timeout: u64) -> Served {
    let argument = abi::Poll {
        ports: GuestHandle64(ports),
        nr_ports,
        padding: 0,
        timeout,
    };
    call(world, abi::SCHEDOP_poll, &argument)
}

#[test]
fn every_reason_is_kept_in_eight_bits_and_the_first_one_stands() {
    for (raw, reason) in [
        (abi::SHUTDOWN_poweroff, Reason::PowerOff),
        (abi::SHUTDOWN_reboot, Reason::Reboot),
        (abi::SHUTDOWN_suspend, Reason::Suspend),
        (abi::SHUTDOWN_crash, Reason::Crash),
        (abi::SHUTDOWN_watchdog, Reason::Watchdog),
        (abi::SHUTDOWN_soft_reset, Reason::SoftReset),
        (6, Reason::Other(6)),
        (255, Reason::Other(255)),
        (256, Reason::PowerOff),
        (u32::MAX, Reason::Other(255)),
    ] {
        let world = world();
        assert_eq!(shut_down(&world, raw), Ok(Answer::Then(0, After::Ended)));
        assert_eq!(life(&world), Life::ShutDown(reason), "{raw}");
        assert!(!world.domains[0].shut_down(Reason::Crash));
        assert_eq!(life(&world), Life::ShutDown(reason), "{raw}");
    }
}

#[test]
fn the_first_reason_that_was_noted_is_the_one_given_in_the_end() {
    let world = world();
    for reason in [abi::SHUTDOWN_crash, abi::SHUTDOWN_reboot] {
        let noted = call(&world, abi::SCHEDOP_shutdown_code, &abi::Shutdown { reason });
        assert_eq!(noted, Ok(Answer::OK));
    }
    shut_down(&world, abi::SHUTDOWN_poweroff).unwrap();
    assert_eq!(life(&world), Life::ShutDown(Reason::Crash));
}

#[test]
fn a_suspended_domain_goes_on_with_0_when_restored_and_1_when_called_off() {
    for (result, rax) in [(SuspendResult::Restored, 7), (SuspendResult::Cancelled, 1)] {
        let world = world();
        let domain = &world.domains[0];
        let vcpus = &domain.vcpus;
        assert!(vcpus[0].activity.start() && vcpus[0].activity.run(xenvisor_core::number::PcpuId::new(0)));
        for vcpu in vcpus {
            vcpu.cpu.lock().cpu.registers().rax = 7;
        }
        let answer = shut_down(&world, abi::SHUTDOWN_suspend);
        assert_eq!(
            answer,
            Ok(Answer::Then(0, After::Ended)),
            "0 stands in its register"
        );
        assert_eq!(vcpus[0].activity.get(), Activity::Offline);
        assert!(domain.resume(result));
        assert_eq!(life(&world), Life::Running);
        assert_eq!(vcpus[0].activity.get(), Activity::Runnable);
        assert_eq!(vcpus[1].activity.get(), Activity::Offline, "it was not up before");
        let registers = |vcpu: usize| vcpus[vcpu].cpu.lock().cpu.registers().rax;
        assert_eq!((registers(0), registers(1)), (rax, 7));
        assert!(!domain.resume(result), "it runs");
    }
}

#[test]
fn nobody_shuts_another_down_without_privilege_nor_itself_from_outside() {
    let world = world();
    let remote = |domain_id| {
        let argument = abi::RemoteShutdown {
            domain_id,
            reason: 0,
            ..Default::default()
        };
        call(&world, abi::SCHEDOP_remote_shutdown, &argument)
    };
    assert_eq!(remote(2), Err(Errno::NOT_PERMITTED));
    assert_eq!(remote(1), Err(Errno::NOT_PERMITTED));
    assert_eq!(remote(3), Err(Errno::NO_DOMAIN));
    assert_eq!(remote(DOMID_SELF), Err(Errno::NO_DOMAIN));
    let host = World::new(
        2,
        1,
        XenDefault::with_privileged(xenvisor_core::number::DomainId::new(1)),
        Vec::new(),
    );
    let argument = abi::RemoteShutdown {
        domain_id: 2,
        reason: abi::SHUTDOWN_reboot,
        ..Default::default()
    };
    assert_eq!(
        call(&host, abi::SCHEDOP_remote_shutdown, &argument),
        Ok(Answer::OK)
    );
    assert_eq!(*host.domains[1].life.lock(), Life::ShutDown(Reason::Reboot));
}

#[test]
fn two_watchdogs_are_numbered_wound_up_and_stopped() {
    let world = world();
    assert_eq!(watchdog(&world, 1, 5), Err(Errno::INVALID), "not in use");
    assert_eq!(watchdog(&world, 3, 5), Err(Errno::INVALID), "there are two");
    assert_eq!(watchdog(&world, u32::MAX, 5), Err(Errno::INVALID));
    assert_eq!(watchdog(&world, 0, 30), Ok(Answer::Done(1)));
    assert_eq!(watchdog(&world, 0, 40), Ok(Answer::Done(2)));
    assert_eq!(watchdog(&world, 0, 50), Err(Errno::NO_SPACE));
    assert_eq!(watchdog(&world, 1, 60), Ok(Answer::OK));
    let next = || world.domains[0].watchdogs.lock().next().map(Instant::as_ns);
    assert_eq!(next(), Some(NOW_NS + 40_000_000_000));
    assert_eq!(watchdog(&world, 2, 0), Ok(Answer::OK));
    assert_eq!(next(), Some(NOW_NS + 60_000_000_000));
    assert_eq!(watchdog(&world, 2, 0), Err(Errno::INVALID));
    assert_eq!(watchdog(&world, 0, u32::MAX), Ok(Answer::Done(2)));
}

#[test]
fn a_watchdog_that_is_not_wound_up_ends_the_domain() {
    let world = world();
    world.domains[0].begin();
    watchdog(&world, 0, 1).unwrap();
    let domain = &world.domains[0];
    domain.look_at_watchdogs(Instant::from_ns(NOW_NS + 999_999_999));
    assert_eq!(life(&world), Life::Running);
    domain.look_at_watchdogs(Instant::from_ns(NOW_NS + 1_000_000_000));
    assert_eq!(life(&world), Life::ShutDown(Reason::Watchdog));
}

#[test]
fn a_poll_returns_at_once_for_a_pending_port_and_waits_for_others() {
    let world = world();
    let port = port(&world);
    world.put(1, LIST, &port);
    assert_eq!(poll(&world, LIST, 1, 0), Ok(Answer::Then(0, After::Poll)));
    assert_eq!(
        poll(&world, LIST, 0, 5),
        Ok(Answer::Then(0, After::Poll)),
        "a sleep"
    );
    let deadline = || world.domains[0].vcpus[0].timers.lock().poll.map(Instant::as_ns);
    assert_eq!(deadline(), Some(5));
    assert_eq!(poll(&world, LIST, 1, u64::MAX), Ok(Answer::Then(0, After::Poll)));
    assert_eq!(deadline(), Some(0), "a negative deadline has passed");
}

#[test]
fn a_poll_names_at_most_128_ports_that_are_ports() {
    let world = world();
    let port = port(&world);
    for n in 0..129 {
        world.put(1, LIST + n * 4, &port);
    }
    assert_eq!(poll(&world, LIST, 129, 0), Err(Errno::INVALID));
    assert_eq!(poll(&world, LIST, u32::MAX, 0), Err(Errno::INVALID));
    assert_eq!(poll(&world, LIST, 128, 0), Ok(Answer::Then(0, After::Poll)));
    for wrong in [0, 1 << 17, u32::MAX] {
        world.put(1, LIST + 4, &wrong);
        let answer = poll(&world, LIST, 2, 0);
        // Port 0 is there and never pending; numbers beyond the table are none.
        if wrong == 0 {
            continue;
        }
        assert_eq!(answer, Err(Errno::INVALID), "port {wrong}");
    }
    assert_eq!(poll(&world, NOWHERE, 1, 9), Err(Errno::FAULT));
    assert_eq!(poll(&world, u64::MAX - 3, 2, 9), Err(Errno::FAULT));
    let deadline = world.domains[0].vcpus[0].timers.lock().poll;
    assert_eq!(deadline, None, "nothing is left of a poll that failed");
}

#[test]
fn blocking_unmasks_upcalls() {
    let world = world();
    let info = world.domains[0].vcpus[0].info.get().unwrap();
    let mask = info.checked_add(1).unwrap();
    let memory = world.hypervisor.machine.memory();
    memory.write(mask, &[1]);
    let answer = world.call(1, HYPERVISOR_sched_op, &[abi::SCHEDOP_block.into(), 0]);
    assert_eq!(answer, Ok(Answer::Then(0, After::Block)));
    let mut byte = [9];
    memory.read(mask, &mut byte);
    assert_eq!(byte, [0]);
}

#[test]
fn what_cannot_be_read_is_a_fault_and_other_commands_do_not_exist() {
    let world = world();
    for command in [2, 3, 4, 5, 6] {
        let answer = world.call(1, HYPERVISOR_sched_op, &[command, NOWHERE]);
        assert_eq!(answer, Err(Errno::FAULT), "command {command}");
    }
    let pin = world.call(1, HYPERVISOR_sched_op, &[7, NOWHERE]);
    assert_eq!(pin, Err(Errno::NOT_PERMITTED), "nothing is read");
    for command in [8, 63, u64::from(u32::MAX)] {
        let answer = world.call(1, HYPERVISOR_sched_op, &[command, ARGUMENT]);
        assert_eq!(answer, Err(Errno::NO_CALL), "command {command}");
    }
}
