//! What guests get from `event_channel_op`, row by row, and what is left unchanged when they are refused.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use std::sync::Mutex;
use std::vec::Vec;

use xenvisor_abi::event_channel as abi;
use xenvisor_abi::sched;
use xenvisor_abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op as CALL, HYPERVISOR_sched_op as SCHED};
use xenvisor_core::clock::Instant;
use xenvisor_core::domain::Domain;
use xenvisor_core::event::{self, Upcalls};
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::machine::Width;
use xenvisor_core::number::{DomainId, Port};
use xenvisor_core::policy::{EventBind, EventSend, Policy, Verdict, XenDefault};
use xenvisor_core::sched::OutOfMemory;
use xenvisor_core::service::{Service, ServiceId};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::answer::{After, Answer};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

mod refusals;

/// Where tests put arguments.
const AT: u64 = 0x3000;

fn world() -> World {
    World::new(2, 2, XenDefault::default(), vec![])
}

/// Makes a call; the argument afterwards.
fn op<T: IntoBytes + FromBytes + Immutable>(
    world: &World,
    domain: usize,
    command: u32,
    argument: T,
) -> Result<T, Errno> {
    world.put(domain, AT, &argument);
    let answer = world.call_to_the_end(domain, CALL, &[u64::from(command), AT])?;
    assert_eq!(answer, Answer::OK);
    Ok(world.get(domain, AT))
}

fn alloc_unbound(world: &World, domain: usize, remote: u16) -> Result<u32, Errno> {
    let argument = abi::AllocUnbound {
        dom: DOMID_SELF,
        remote_dom: remote,
        port: 0,
    };
    Ok(op(world, domain, abi::EVTCHNOP_alloc_unbound, argument)?.port)
}

fn bind_interdomain(world: &World, domain: usize, remote: u16, port: u32) -> Result<u32, Errno> {
    let argument = abi::BindInterdomain {
        remote_dom: remote,
        padding: 0,
        remote_port: port,
        local_port: 0,
    };
    Ok(op(world, domain, abi::EVTCHNOP_bind_interdomain, argument)?.local_port)
}

fn bind_virq(world: &World, domain: usize, virq: u32, vcpu: u32) -> Result<u32, Errno> {
    let argument = abi::BindVirq { virq, vcpu, port: 0 };
    Ok(op(world, domain, abi::EVTCHNOP_bind_virq, argument)?.port)
}

fn bind_ipi(world: &World, domain: usize, vcpu: u32) -> Result<u32, Errno> {
    Ok(op(
        world,
        domain,
        abi::EVTCHNOP_bind_ipi,
        abi::BindIpi { vcpu, port: 0 },
    )?
    .port)
}

fn bind_pirq(world: &World, domain: usize, pirq: u32) -> Result<u32, Errno> {
    let argument = abi::BindPirq {
        pirq,
        flags: 1,
        port: 0,
    };
    Ok(op(world, domain, abi::EVTCHNOP_bind_pirq, argument)?.port)
}

fn unmask(world: &World, domain: usize, port: u32) -> Result<(), Errno> {
    op(world, domain, abi::EVTCHNOP_unmask, abi::Unmask { port }).map(|_| ())
}

fn status(world: &World, domain: usize, of: u16, port: u32) -> Result<abi::Status, Errno> {
    let argument = abi::Status {
        dom: of,
        padding: 0,
        port,
        status: 99,
        vcpu: 99,
        u: [0; 2],
    };
    op(world, domain, abi::EVTCHNOP_status, argument)
}

fn send(world: &World, domain: usize, port: u32) -> Result<(), Errno> {
    op(world, domain, abi::EVTCHNOP_send, abi::Send { port }).map(|_| ())
}

fn close(world: &World, domain: usize, port: u32) -> Result<(), Errno> {
    op(world, domain, abi::EVTCHNOP_close, abi::Close { port }).map(|_| ())
}

fn bind_vcpu(world: &World, domain: usize, port: u32, vcpu: u32) -> Result<(), Errno> {
    op(
        world,
        domain,
        abi::EVTCHNOP_bind_vcpu,
        abi::BindVcpu { port, vcpu },
    )
    .map(|_| ())
}

fn set_priority(world: &World, port: u32, priority: u32) -> Result<(), Errno> {
    let argument = abi::SetPriority { port, priority };
    op(world, 1, abi::EVTCHNOP_set_priority, argument).map(|_| ())
}

fn init_control(world: &World, gfn: u64, offset: u32, vcpu: u32) -> Result<u8, Errno> {
    let argument = abi::InitControl {
        control_gfn: gfn,
        offset,
        vcpu,
        link_bits: 0,
        padding: [0; 7],
    };
    Ok(op(world, 1, abi::EVTCHNOP_init_control, argument)?.link_bits)
}

fn expand_array(world: &World, gfn: u64) -> Result<(), Errno> {
    let argument = abi::ExpandArray { array_gfn: gfn };
    op(world, 1, abi::EVTCHNOP_expand_array, argument).map(|_| ())
}

fn reset(world: &World, domain: usize, of: u16) -> Result<(), Errno> {
    op(world, domain, abi::EVTCHNOP_reset, abi::Reset { dom: of }).map(|_| ())
}

fn pending(domain: &Arc<Domain>, port: u32) -> bool {
    domain.ports.lock().is_pending(&**domain, Port::new(port))
}

fn open(world: &World, domain: usize) -> u32 {
    world.domains[domain - 1].ports.lock().open()
}

#[test]
fn two_guests_make_a_channel_and_talk() {
    let world = world();
    let one = alloc_unbound(&world, 1, 2).unwrap();
    let two = bind_interdomain(&world, 2, 1, one).unwrap();
    assert_eq!((one, two), (1, 1));
    assert!(pending(&world.domains[1], two), "it may have missed something");
    send(&world, 2, two).unwrap();
    assert!(pending(&world.domains[0], one));
    assert!(event::is_marked(
        world.domains[0].machine.memory().as_ref(),
        world.domains[0].shared_info()
    ));
}

#[test]
fn both_ends_are_what_status_says() {
    let world = world();
    let one = alloc_unbound(&world, 1, 2).unwrap();
    let unbound = status(&world, 1, DOMID_SELF, one).unwrap();
    assert_eq!(
        (unbound.status, unbound.vcpu, unbound.u),
        (abi::EVTCHNSTAT_unbound, 0, [2, 0])
    );
    let two = bind_interdomain(&world, 2, 1, one).unwrap();
    bind_vcpu(&world, 2, two, 1).unwrap();
    let bound = status(&world, 2, 2, two).unwrap();
    assert_eq!(
        (bound.status, bound.vcpu, bound.u),
        (abi::EVTCHNSTAT_interdomain, 1, [1, one])
    );
    let timer = bind_virq(&world, 1, 0, 1).unwrap();
    let timer = status(&world, 1, DOMID_SELF, timer).unwrap();
    assert_eq!(
        (timer.status, timer.vcpu, timer.u[0]),
        (abi::EVTCHNSTAT_virq, 1, 0)
    );
    let ipi = bind_ipi(&world, 1, 1).unwrap();
    assert_eq!(
        status(&world, 1, DOMID_SELF, ipi).unwrap().status,
        abi::EVTCHNSTAT_ipi
    );
    for closed in [0, 63] {
        let closed = status(&world, 1, DOMID_SELF, closed).unwrap();
        assert_eq!((closed.status, closed.vcpu), (abi::EVTCHNSTAT_closed, 0));
    }
    assert_eq!(status(&world, 1, DOMID_SELF, 64), Err(Errno::INVALID));
}

#[test]
fn a_guest_looks_at_its_own_ports_only() {
    let world = world();
    let one = alloc_unbound(&world, 1, 2).unwrap();
    assert_eq!(status(&world, 2, 1, one), Err(Errno::NOT_PERMITTED));
    assert_eq!(status(&world, 2, 77, one), Err(Errno::NO_DOMAIN));
    assert_eq!(reset(&world, 2, 1), Err(Errno::NOT_PERMITTED));
    assert_eq!(reset(&world, 2, 77), Err(Errno::NO_DOMAIN));
    let argument = abi::AllocUnbound {
        dom: 1,
        remote_dom: 2,
        port: 0,
    };
    let refused = op(&world, 2, abi::EVTCHNOP_alloc_unbound, argument);
    assert_eq!(refused, Err(Errno::NOT_PERMITTED));
    assert_eq!(open(&world, 1), 1);
}

#[test]
fn a_privileged_domain_opens_ports_for_others() {
    let world = World::new(2, 1, XenDefault::with_privileged(DomainId::new(2)), vec![]);
    let argument = abi::AllocUnbound {
        dom: 1,
        remote_dom: DOMID_SELF,
        port: 0,
    };
    let port = op(&world, 2, abi::EVTCHNOP_alloc_unbound, argument).unwrap().port;
    let seen = status(&world, 1, DOMID_SELF, port).unwrap();
    assert_eq!((seen.status, seen.u[0]), (abi::EVTCHNSTAT_unbound, 2));
    assert_eq!(
        reset(&world, 2, 1),
        Err(Errno::INVALID),
        "only of a domain that is paused"
    );
}

#[test]
fn sends_and_closes_of_what_is_not_open_are_invalid() {
    let world = world();
    let timer = bind_virq(&world, 1, 0, 0).unwrap();
    for port in [0, 5, 4000, u32::MAX] {
        assert_eq!(send(&world, 1, port), Err(Errno::INVALID));
        assert_eq!(close(&world, 1, port), Err(Errno::INVALID));
    }
    assert_eq!(send(&world, 1, timer), Err(Errno::INVALID));
    assert_eq!(close(&world, 1, timer), Ok(()));
    let alone = alloc_unbound(&world, 1, 2).unwrap();
    assert_eq!(
        send(&world, 1, alone),
        Ok(()),
        "nobody is there, and that is no error"
    );
}

#[test]
fn a_port_is_moved_to_a_vcpu_that_exists_if_it_can_be_moved() {
    let world = world();
    let ipi = bind_ipi(&world, 1, 0).unwrap();
    let alone = alloc_unbound(&world, 1, 2).unwrap();
    assert_eq!(bind_vcpu(&world, 1, alone, 2), Err(Errno::NO_ENTRY));
    assert_eq!(bind_vcpu(&world, 1, ipi, 1), Err(Errno::INVALID));
    assert_eq!(bind_vcpu(&world, 1, 60, 1), Err(Errno::INVALID));
    assert_eq!(bind_vcpu(&world, 1, alone, 1), Ok(()));
}

#[test]
fn unmasking_is_valid_for_every_port_there_ever_was() {
    let world = world();
    let ipi = bind_ipi(&world, 1, 0).unwrap();
    let unmask = |port| op(&world, 1, abi::EVTCHNOP_unmask, abi::Unmask { port }).map(|_| ());
    assert_eq!((unmask(ipi), unmask(63)), (Ok(()), Ok(())));
    assert_eq!(unmask(64), Err(Errno::INVALID));
}

#[test]
fn the_fifo_way_is_set_up_as_real_xen_lets_guests_do() {
    let world = world();
    let ipi = bind_ipi(&world, 1, 1).unwrap();
    assert_eq!(set_priority(&world, ipi, 0), Err(Errno::NO_CALL));
    assert_eq!(expand_array(&world, 8), Err(Errno::NOT_SUPPORTED));
    assert_eq!(init_control(&world, 9, 0, 2), Err(Errno::NO_ENTRY));
    assert_eq!(init_control(&world, 9, 4, 0), Err(Errno::INVALID));
    assert_eq!(init_control(&world, 9, 4096 - 64, 0), Err(Errno::INVALID));
    assert_eq!(init_control(&world, NOWHERE >> 12, 0, 0), Err(Errno::INVALID));
    assert_eq!(init_control(&world, u64::MAX, 0, 0), Err(Errno::INVALID));
    assert_eq!(init_control(&world, 9, 0, 0), Ok(17));
    assert_eq!(init_control(&world, 10, 0, 0), Err(Errno::INVALID));
    assert_eq!(init_control(&world, 9, 72, 1), Ok(17));
    assert_eq!(expand_array(&world, NOWHERE >> 12), Err(Errno::INVALID));
    assert_eq!(expand_array(&world, 8), Ok(()));
    assert_eq!(set_priority(&world, ipi, 16), Err(Errno::INVALID));
    assert_eq!(set_priority(&world, 60, 0), Err(Errno::ACCESS));
    assert_eq!(set_priority(&world, 1000, 0), Err(Errno::INVALID));
    assert_eq!(set_priority(&world, ipi, 3), Ok(()));
    send(&world, 1, ipi).unwrap();
    // PENDING and LINKED in the event word; queue 3 of vcpu 1 is ready and begins with the port.
    assert_eq!(world.get::<u32>(1, (8 << 12) + u64::from(ipi) * 4), 0b1010 << 28);
    assert_eq!(world.get::<u32>(1, (9 << 12) + 72), 1 << 3);
    assert_eq!(world.get::<u32>(1, (9 << 12) + 72 + 8 + 3 * 4), ipi);
}

#[test]
fn a_reset_goes_on_in_slices_and_ends_in_the_2_level_way() {
    let world = world();
    for _ in 0..300 {
        bind_ipi(&world, 1, 0).unwrap();
    }
    init_control(&world, 9, 0, 0).unwrap();
    world.put(1, AT, &abi::Reset { dom: DOMID_SELF });
    let begin = [u64::from(abi::EVTCHNOP_reset), AT];
    let Ok(Answer::Again(next)) = world.call(1, CALL, &begin) else {
        panic!("300 ports are too many for one slice");
    };
    assert_eq!(world.call(1, CALL, &begin), Err(Errno::BUSY));
    assert_eq!(world.call_to_the_end(1, CALL, &next), Ok(Answer::OK));
    assert_eq!(open(&world, 1), 0);
    assert!(!world.domains[0].ports.lock().is_fifo());
    assert_eq!(
        world.call(1, CALL, &next),
        Err(Errno::BUSY),
        "a guest cannot go on with nothing"
    );
}

#[test]
fn other_commands_do_not_exist() {
    let world = world();
    for command in [15, 100, u32::MAX] {
        let served = world.call(1, CALL, &[u64::from(command), AT]);
        assert_eq!(served, Err(Errno::NO_CALL));
    }
}

#[test]
fn chance_calls_harm_nobody() {
    let world = world();
    let mut random = xenvisor_core::testing::Random::new(5);
    for _ in 0..20_000 {
        let domain = 1 + random.below(2) as usize;
        let mut argument = [0_u64; 4];
        for word in &mut argument {
            let small = random.below(6) | random.below(6) << 32;
            *word = if random.below(8) == 0 {
                random.next()
            } else {
                small
            };
        }
        world.put(domain, AT, &argument);
        let command = random.below(16);
        let mut served = world.call(domain, CALL, &[command, AT]);
        while let Ok(Answer::Again(arguments)) = served {
            served = world.call(domain, CALL, &arguments);
        }
    }
    // Whatever they have done, both can still reset and begin anew.
    for domain in [1, 2] {
        assert_eq!(reset(&world, domain, DOMID_SELF), Ok(()));
        assert_eq!(open(&world, domain), 0);
        assert_eq!(bind_ipi(&world, domain, 0), Ok(1));
    }
}

/// No domain may signal another.
struct Silence;

impl Policy for Silence {
    fn event_send(&self, _: &EventSend) -> Verdict {
        Verdict::Deny("silence is kept here")
    }
}

#[test]
fn a_policy_that_denies_a_send_is_obeyed_and_its_reason_is_logged() {
    let world = World::new(2, 1, Silence, vec![]);
    let one = alloc_unbound(&world, 1, 2).unwrap();
    let two = bind_interdomain(&world, 2, 1, one).unwrap();
    assert_eq!(send(&world, 2, two), Err(Errno::NOT_PERMITTED));
    assert!(!pending(&world.domains[0], one));
    let log = world.board.log.lock().unwrap();
    assert!(log.iter().any(|line| line.contains("silence is kept here")));
}

/// Notes which ports it was told of.
struct Listener(Arc<Mutex<Vec<(DomainId, u32)>>>);

impl Service for Listener {
    fn name(&self) -> &'static str {
        "listener"
    }
    fn attach(&self, _: &Hypervisor, _: &Arc<Domain>, _: ServiceId) -> Result<(), OutOfMemory> {
        Ok(())
    }
    fn notified(&self, _: &Hypervisor, domain: &Arc<Domain>, port: Port) {
        self.0.lock().unwrap().push((domain.id, port.raw()));
    }
    fn poll(&self, _: &Hypervisor) {}
    fn detach(&self, _: &Hypervisor, _: &Arc<Domain>) {}
}

#[test]
fn a_service_is_told_of_what_is_sent_to_it() {
    let heard = Arc::new(Mutex::default());
    let service: Box<dyn Service> = Box::new(Listener(heard.clone()));
    let world = World::new(1, 1, XenDefault::default(), vec![service]);
    let port = event::allocate_service(&*world.domains[0], ServiceId(0), DomainId::new(0)).unwrap();
    assert_eq!(send(&world, 1, port.raw()), Ok(()));
    assert_eq!(*heard.lock().unwrap(), [(DomainId::new(1), port.raw())]);
    let seen = status(&world, 1, DOMID_SELF, port.raw()).unwrap();
    assert_eq!((seen.status, seen.u[0]), (abi::EVTCHNSTAT_interdomain, 0));
}

fn poll(world: &World, ports: &[u32], timeout: u64) -> Result<Answer, Errno> {
    const LIST: u64 = 0x5000;
    for (index, port) in ports.iter().enumerate() {
        world.put(1, LIST + 4 * index as u64, port);
    }
    let argument = sched::Poll {
        ports: xenvisor_abi::GuestHandle64(LIST),
        nr_ports: ports.len() as u32,
        padding: 0,
        timeout,
    };
    world.put(1, AT, &argument);
    world.call(1, SCHED, &[u64::from(sched::SCHEDOP_poll), AT])
}

#[test]
fn a_poll_returns_at_once_if_a_port_is_pending_and_else_sleeps() {
    let world = world();
    let port = bind_ipi(&world, 1, 0).unwrap();
    assert_eq!(poll(&world, &[port], 5_000), Ok(Answer::Then(0, After::Poll)));
    let vcpu = &world.domains[0].vcpus[0];
    assert_eq!(vcpu.timers.lock().poll, Some(Instant::from_ns(5_000)));
    send(&world, 1, port).unwrap();
    assert!(vcpu.mail.take().contains(xenvisor_core::vcpu::mail::News::POLL));
    assert_eq!(poll(&world, &[port], 5_000), Ok(Answer::OK));
    assert_eq!(vcpu.timers.lock().poll, None);
}

#[test]
fn a_poll_of_too_many_ports_or_of_ones_that_never_were_is_invalid() {
    let world = world();
    assert_eq!(poll(&world, &[0; 129], 0), Err(Errno::INVALID));
    assert_eq!(poll(&world, &[5000], 0), Err(Errno::INVALID));
    bind_ipi(&world, 1, 0).unwrap();
    assert_eq!(poll(&world, &[1; 128], 0), Ok(Answer::Then(0, After::Poll)));
    let argument = sched::Poll {
        ports: xenvisor_abi::GuestHandle64(NOWHERE),
        nr_ports: 1,
        padding: 0,
        timeout: 0,
    };
    world.put(1, AT, &argument);
    let served = world.call(1, SCHED, &[u64::from(sched::SCHEDOP_poll), AT]);
    assert_eq!(served, Err(Errno::FAULT));
}

#[test]
fn a_32_bit_guest_polls_with_its_own_layout() {
    let world = world();
    let port = bind_ipi(&world, 1, 0).unwrap();
    world.put(1, 0x5000, &port);
    let argument = sched::compat::Poll {
        ports: xenvisor_abi::GuestHandle32(0x5000),
        nr_ports: 1,
        timeout: xenvisor_abi::CompatU64 { low: 7, high: 1 },
    };
    world.put(1, AT, &argument);
    let command = u64::from(sched::SCHEDOP_poll);
    let served = world.call_from(1, 0, Width::Bits32, SCHED, &[command, AT]);
    assert_eq!(served, Ok(Answer::Then(0, After::Poll)));
    let deadline = world.domains[0].vcpus[0].timers.lock().poll;
    assert_eq!(deadline, Some(Instant::from_ns((1 << 32) + 7)));
}
