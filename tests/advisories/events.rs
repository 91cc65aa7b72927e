//! Event channels.
//!
//! Most of Xen's mistakes here were about what one processor sees while another changes it. A domain's ports are one
//! table behind one lock, so a look and an act are one step; these tests would notice if they were not any more. Every
//! order of the steps of sends, closes, resets and so on is tried beside the ports themselves
//! (`core/src/event/tests/schedules.rs`).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::{EEXIST, EINVAL, ENOMEM, ENOSPC, EPERM};
use xenvisor::abi::event_channel as abi;
use xenvisor::abi::sched;
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, HYPERVISOR_sched_op, VIRQ_TIMER};
use xenvisor::model::domain::Domain;
use xenvisor::model::event::{self, Binding, ExpandArrayError, Upcalls, Virq};
use xenvisor::model::machine::Width;
use xenvisor::model::memory::guest_page::{GuestPage, NotOwnRam};
use xenvisor::model::number::{Gfn, Port, VcpuId};
use xenvisor::prelude::XenDefault;
use xenvisor::sim::starve;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::world::{ARGUMENTS as AT, FREE, World};

/// Ports of a bucket.
const BUCKET: u32 = 64;

fn worlds(domains: u16, vcpus: u32, event_channels: u32) -> World {
    World::of_guests(domains, XenDefault::default(), |guest| {
        guest.vcpus(vcpus).event_channels(event_channels)
    })
}

fn op<T>(world: &World, n: u16, command: u32, mut argument: T) -> Result<T, i32>
where
    T: FromBytes + IntoBytes + Immutable,
{
    match world.call_with(n, HYPERVISOR_event_channel_op, command, &mut argument) {
        0 => Ok(argument),
        error => Err(i32::try_from(-error).unwrap()),
    }
}

fn offer_of(world: &World, n: u16, owner: u16, remote: u16) -> Result<u32, i32> {
    let argument = abi::AllocUnbound {
        dom: owner,
        remote_dom: remote,
        port: 0,
    };
    op(world, n, abi::EVTCHNOP_alloc_unbound, argument).map(|argument| argument.port)
}

fn offer(world: &World, n: u16, remote: u16) -> Result<u32, i32> {
    offer_of(world, n, DOMID_SELF, remote)
}

fn bind(world: &World, n: u16, remote: u16, port: u32) -> Result<u32, i32> {
    let argument = abi::BindInterdomain {
        remote_dom: remote,
        remote_port: port,
        ..Default::default()
    };
    op(world, n, abi::EVTCHNOP_bind_interdomain, argument).map(|argument| argument.local_port)
}

fn close(world: &World, n: u16, port: u32) -> Result<(), i32> {
    op(world, n, abi::EVTCHNOP_close, abi::Close { port }).map(drop)
}

fn send(world: &World, n: u16, port: u32) -> Result<(), i32> {
    op(world, n, abi::EVTCHNOP_send, abi::Send { port }).map(drop)
}

fn unmask(world: &World, n: u16, port: u32) -> Result<(), i32> {
    op(world, n, abi::EVTCHNOP_unmask, abi::Unmask { port }).map(drop)
}

fn reset(world: &World, n: u16) -> Result<(), i32> {
    op(world, n, abi::EVTCHNOP_reset, abi::Reset { dom: DOMID_SELF }).map(drop)
}

fn bind_virq(world: &World, virq: u32, vcpu: u32) -> Result<u32, i32> {
    op(
        world,
        1,
        abi::EVTCHNOP_bind_virq,
        abi::BindVirq { virq, vcpu, port: 0 },
    )
    .map(|argument| argument.port)
}

fn init_control(world: &World, control_gfn: u64, vcpu: u32) -> Result<(), i32> {
    let argument = abi::InitControl {
        control_gfn,
        vcpu,
        ..Default::default()
    };
    op(world, 1, abi::EVTCHNOP_init_control, argument).map(drop)
}

fn expand_array(world: &World, array_gfn: u64) -> Result<(), i32> {
    op(
        world,
        1,
        abi::EVTCHNOP_expand_array,
        abi::ExpandArray { array_gfn },
    )
    .map(drop)
}

fn pending(domain: &Domain, port: u32) -> bool {
    domain.ports.lock().is_pending(domain, Port::new(port))
}

fn binding(domain: &Domain, port: u32) -> Option<Binding> {
    let status = domain.ports.lock().status(Port::new(port));
    status.ok().map(|status| status.binding)
}

fn open(world: &World, n: u16) -> u32 {
    world.domain(n).ports.lock().open()
}

/// Waits on a port of vcpu 0 with a timeout that has passed.
fn poll(world: &World, port: u32) -> i64 {
    world.put(1, AT + 512, &port);
    let poll = sched::Poll {
        ports: GuestHandle64(AT + 512),
        nr_ports: 1,
        timeout: 0,
        ..Default::default()
    };
    world.put(1, AT, &poll);
    world.call(1, HYPERVISOR_sched_op, &[sched::SCHEDOP_poll.into(), AT])
}

fn hold(domain: &Domain, gfn: u64) -> Result<GuestPage, NotOwnRam> {
    let memory = &domain.memory;
    GuestPage::hold(memory.frames(), memory.stage(), memory.owner(), Gfn::new(gfn))
}

/// Sets the flag at the end of a scope, so that a test that fails does not leave threads running.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn xsa_047_a_port_that_is_refused_leaves_no_trace_in_the_other_domain() {
    let world = worlds(2, 1, 1023);
    while open(&world, 2) < BUCKET - 1 {
        offer(&world, 2, 1).unwrap();
    }
    assert_eq!(offer_of(&world, 1, 2, 1), Err(EPERM));
    assert_eq!(open(&world, 2), BUCKET - 1);
    assert_eq!(binding(&world.domain(2), BUCKET), None, "the table has not grown");
}

#[test]
fn xsa_107_an_event_for_a_vcpu_without_a_control_block_is_kept_and_harms_nobody() {
    let world = worlds(1, 2, 1023);
    let timer = bind_virq(&world, VIRQ_TIMER, 1).unwrap();
    init_control(&world, FREE, 0).unwrap();
    expand_array(&world, FREE + 1).unwrap();
    let domain = world.domain(1);
    domain.raise_virq(domain.vcpu(VcpuId::new(1)).unwrap(), Virq::TIMER);
    assert!(pending(&domain, timer));
    init_control(&world, FREE + 2, 1).unwrap();
    unmask(&world, 1, timer).unwrap();
    let ready: u32 = world.get(1, (FREE + 2) << 12);
    assert_eq!(ready, 1 << abi::EVTCHN_FIFO_PRIORITY_DEFAULT);
}

#[test]
fn xsa_188_a_control_block_that_is_refused_leaves_the_way_of_delivery_and_what_there_was() {
    let world = worlds(1, 2, 1023);
    let domain = world.domain(1);
    let nowhere = 1 << 30;
    let frame = |gfn: u64| domain.memory.stage().lock().translate(Gfn::new(gfn));
    let references = |gfn| {
        domain
            .memory
            .frames()
            .usage(frame(gfn).unwrap().target.mfn)
            .unwrap()
            .1
    };
    let before = references(FREE);
    for _ in 0..3 {
        assert_eq!(init_control(&world, nowhere, 0), Err(EINVAL));
        assert!(!domain.ports.lock().is_fifo());
    }
    starve::after(0, || assert_eq!(init_control(&world, FREE, 0), Err(ENOMEM)));
    assert!(!domain.ports.lock().is_fifo());
    assert_eq!(references(FREE), before);
    init_control(&world, FREE, 0).unwrap();
    assert_eq!(init_control(&world, FREE + 1, 0), Err(EINVAL), "one is enough");
    assert_eq!(expand_array(&world, nowhere), Err(EINVAL));
    assert_eq!((references(FREE), references(FREE + 1)), (before + 1, before));
    expand_array(&world, FREE + 1).unwrap();
    let timer = bind_virq(&world, VIRQ_TIMER, 0).unwrap();
    domain.raise_virq(domain.vcpu(VcpuId::new(0)).unwrap(), Virq::TIMER);
    assert!(pending(&domain, timer));
    reset(&world, 1).unwrap();
    assert_eq!((references(FREE), references(FREE + 1)), (before, before));
}

#[test]
fn xsa_221_waiting_for_a_port_that_never_was_is_refused() {
    let world = worlds(1, 1, 1023);
    let open = offer(&world, 1, 1).unwrap();
    assert_eq!(poll(&world, open), 0);
    // The first bucket of ports is there, the second is not; the last numbers are no ports in any layout.
    for port in [BUCKET - 1, BUCKET, 1023, 1024, 4095, 4096, 1 << 17, u32::MAX] {
        assert_eq!(poll(&world, port), -i64::from(EINVAL), "port {port}");
    }
}

#[test]
fn xsa_317_a_port_that_cannot_be_had_is_an_error_of_its_own_kind_and_no_port() {
    let world = worlds(2, 1, 100);
    while open(&world, 1) < BUCKET - 1 {
        offer(&world, 1, 2).unwrap();
    }
    starve::after(0, || assert_eq!(offer(&world, 1, 2), Err(ENOMEM)));
    assert_eq!(open(&world, 1), BUCKET - 1);
    while open(&world, 1) < 100 {
        assert_eq!(offer(&world, 1, 2), Ok(open(&world, 1)));
    }
    let offered = offer(&world, 2, 1).unwrap();
    assert_eq!(offer(&world, 1, 2), Err(ENOSPC), "as many as it may have");
    assert_eq!(bind(&world, 1, 2, offered), Err(ENOSPC));
    assert_eq!(bind_virq(&world, VIRQ_TIMER, 0), Err(ENOSPC));
    let world = worlds(2, 1, 10_000);
    let last = (0..).map_while(|_| offer(&world, 1, 2).ok()).last();
    assert_eq!(last, Some(4095), "as many as the 2-level way can name");
    assert_eq!(offer(&world, 1, 2), Err(ENOSPC));
}

#[test]
fn xsa_338_a_port_that_was_valid_once_stays_valid() {
    let world = worlds(2, 1, 1023);
    let port = (0..150).map(|_| offer(&world, 1, 2).unwrap()).last().unwrap();
    let bound = bind(&world, 2, 1, port).unwrap();
    reset(&world, 1).unwrap();
    assert_eq!(unmask(&world, 1, port), Ok(()));
    assert_eq!(binding(&world.domain(1), port), Some(Binding::Free));
    assert_eq!(send(&world, 2, bound), Ok(()), "the other end waits");
    assert_eq!(send(&world, 1, port), Err(EINVAL));
}

#[test]
fn xsa_340_a_table_that_grows_is_read_by_others_meanwhile() {
    let world = worlds(2, 1, 1023);
    let last = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(port) = offer(&world, 1, 2) {
                last.store(port, Ordering::Release);
            }
        });
        for port in 2..=1023 {
            while last.load(Ordering::Acquire) < port {
                // The next one may be there or not; if it is, it is whole.
                let early = bind(&world, 2, 1, port);
                if early.is_ok() {
                    break;
                }
                assert!([EINVAL, ENOSPC].contains(&early.unwrap_err()));
                thread::yield_now();
            }
        }
    });
    assert_eq!(open(&world, 1), 1023);
}

#[test]
fn xsa_342_a_32_bit_domain_has_no_event_on_a_port_beyond_its_bits() {
    let world = worlds(1, 1, 4095);
    let domain = world.domain(1);
    while open(&world, 1) < 2000 {
        op(
            &world,
            1,
            abi::EVTCHNOP_bind_ipi,
            abi::BindIpi { vcpu: 0, port: 0 },
        )
        .unwrap();
    }
    domain.latch_width(Width::Bits32);
    let page = || {
        let mut bytes = vec![0; 4096];
        domain.memory().read(domain.shared_info(), &mut bytes);
        bytes
    };
    let before = page();
    for port in [1024, 1500, 2000] {
        assert_eq!(send(&world, 1, port), Ok(()));
        assert_eq!(unmask(&world, 1, port), Ok(()));
    }
    assert!(page() == before);
    assert_eq!(offer(&world, 1, 1), Err(ENOSPC));
    close(&world, 1, 1500).unwrap();
    assert_eq!(offer(&world, 1, 1), Err(ENOSPC), "free, but not for 32-bit code");
    assert!(page() == before);
}

#[test]
fn xsa_343_a_reset_races_with_sends_and_closes_of_the_other_end() {
    let world = worlds(2, 1, 1023);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for port in 1..8 {
                    // All of it may be too early or too late.
                    if let Ok(bound) = bind(&world, 2, 1, port) {
                        let _ = send(&world, 2, bound);
                        let _ = close(&world, 2, bound);
                    }
                }
            }
        });
        let _end = StopAtEnd(&stop);
        for _ in 0..200 {
            for _ in 1..6 {
                offer(&world, 1, 2).unwrap();
            }
            thread::yield_now();
            reset(&world, 1).unwrap();
            assert_eq!(open(&world, 1), 0);
            for port in 1..8 {
                assert!(!pending(&world.domain(1), port));
            }
        }
    });
    let other = world.domain(2);
    for port in 1..BUCKET {
        assert!(!matches!(
            binding(&other, port),
            Some(Binding::Interdomain { .. })
        ));
    }
}

#[test]
fn xsa_344_a_reset_gives_way_in_between() {
    let world = worlds(2, 1, 4095);
    while offer(&world, 1, 2).is_ok() {}
    assert_eq!(open(&world, 1), 4095);
    world.put(1, AT, &abi::Reset { dom: DOMID_SELF });
    let command = abi::EVTCHNOP_reset.into();
    let (result, turns) = world.call_in_turns(1, HYPERVISOR_event_channel_op, &[command, AT]);
    assert_eq!((result, open(&world, 1)), (0, 0));
    assert!(turns >= 4096 / 64, "{turns} turns");
}

#[test]
fn xsa_358_359_an_event_meets_the_words_that_are_added_for_it_or_is_shown_then() {
    for _ in 0..50 {
        let world = worlds(2, 1, 8000);
        init_control(&world, FREE, 0).unwrap();
        expand_array(&world, FREE + 1).unwrap();
        while open(&world, 1) < 1500 {
            offer(&world, 1, 2).unwrap();
        }
        let far = bind(&world, 2, 1, 1500).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| send(&world, 2, far).unwrap());
            expand_array(&world, FREE + 2).unwrap();
        });
        assert!(pending(&world.domain(1), 1500));
        let block: [u32; 18] = world.get(1, FREE << 12);
        assert_eq!(block[2 + 7], 1500, "the head of its queue");
    }
}

#[test]
fn xsa_496_a_virtual_interrupt_that_cannot_be_bound_again_stays_bound_as_it_was() {
    let world = worlds(1, 2, 3);
    let domain = world.domain(1);
    let timer = bind_virq(&world, VIRQ_TIMER, 0).unwrap();
    assert_eq!(bind_virq(&world, VIRQ_TIMER, 0), Err(EEXIST));
    offer(&world, 1, 1).unwrap();
    assert_eq!(bind_virq(&world, VIRQ_TIMER, 1), Err(ENOSPC));
    domain.raise_virq(domain.vcpu(VcpuId::new(1)).unwrap(), Virq::TIMER);
    assert!(!pending(&domain, timer), "that of another vcpu");
    domain.raise_virq(domain.vcpu(VcpuId::new(0)).unwrap(), Virq::TIMER);
    assert!(pending(&domain, timer));
    close(&world, 1, timer).unwrap();
    assert_eq!(bind_virq(&world, VIRQ_TIMER, 1), Ok(timer));
}

#[test]
fn xsa_505_pages_of_event_words_added_at_once_are_never_more_than_there_can_be() {
    let world = worlds(1, 2, 1023);
    init_control(&world, FREE, 0).unwrap();
    let domain = world.domain(1);
    let added = AtomicU32::new(0);
    thread::scope(|scope| {
        for first in [1, 101] {
            let (domain, added) = (&domain, &added);
            scope.spawn(move || {
                for gfn in first..first + 100 {
                    let expanded: Result<(), ExpandArrayError<NotOwnRam>> =
                        event::expand_array(&**domain, || hold(domain, FREE + gfn));
                    match expanded {
                        Ok(()) => added.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert_eq!(error, ExpandArrayError::Full);
                            0
                        }
                    };
                }
            });
        }
    });
    assert_eq!(added.load(Ordering::Relaxed), 128);
    drop(domain);
    world.destroy(1);
    assert_eq!(world.hypervisor.frames.free(), world.free_before());
}
