//! The FIFO way: order, queues, and moving between them.

use std::vec;
use std::vec::Vec;

use super::guest::{FifoKernel, TwoLevelKernel};
use super::world::{Domain, Told, World, v};
use crate::event::{
    BindIpiError, ExpandArrayError, InitControlError, NoPort, SetPriorityError, bind_ipi, bind_vcpu,
    expand_array, init_control, is_marked, set_priority, unmask,
};
use crate::event::{Endpoint, Upcalls};
use crate::machine::Width;
use crate::number::Port;

fn ipis(domain: &Domain, count: usize) -> Vec<Port> {
    (0..count).map(|_| bind_ipi(domain, v(0)).unwrap()).collect()
}

#[test]
fn events_of_one_priority_come_in_the_order_in_which_they_were_sent() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::start(&a);
    let ports = ipis(&a, 4);
    for sent in [2, 0, 3, 1] {
        world.send(&a, ports[sent]).unwrap();
    }
    assert_eq!(a.told(), [Told::Upcall(0)]);
    assert_eq!(kernel.upcall(v(0)), [ports[2], ports[0], ports[3], ports[1]]);
    assert_eq!(kernel.upcall(v(0)), []);
}

#[test]
fn events_of_a_higher_priority_come_first() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::start(&a);
    let ports = ipis(&a, 3);
    set_priority(&*a, ports[1], 0).unwrap();
    set_priority(&*a, ports[0], 15).unwrap();
    for port in &ports {
        world.send(&a, *port).unwrap();
    }
    assert_eq!(a.told(), [Told::Upcall(0)], "three queues, one upcall");
    assert_eq!(kernel.upcall(v(0)), [ports[1], ports[2], ports[0]]);
}

#[test]
fn several_sends_before_the_guest_looks_are_one_event() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::start(&a);
    let port = ipis(&a, 1)[0];
    for _ in 0..3 {
        world.send(&a, port).unwrap();
    }
    assert_eq!(a.told(), [Told::Upcall(0)]);
    assert_eq!(kernel.upcall(v(0)), [port]);
    assert_eq!(kernel.upcall(v(0)), []);
}

#[test]
fn a_queue_that_was_emptied_starts_anew() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::start(&a);
    let ports = ipis(&a, 2);
    for _ in 0..3 {
        for order in [[0, 1], [1, 0]] {
            for index in order {
                world.send(&a, ports[index]).unwrap();
            }
            assert_eq!(kernel.upcall(v(0)), order.map(|index| ports[index]));
        }
    }
}

#[test]
fn a_masked_port_stays_off_the_queue_until_it_is_unmasked() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::start(&a);
    let port = ipis(&a, 1)[0];
    kernel.mask(port);
    world.send(&a, port).unwrap();
    assert!(a.pending(port) && !kernel.is_linked(port));
    assert_eq!(a.told(), []);
    unmask(&*a, port).unwrap();
    assert!(!kernel.is_masked(port));
    assert_eq!(a.told(), [Told::Upcall(0)]);
    assert_eq!(kernel.upcall(v(0)), [port]);
}

#[test]
fn a_linked_port_that_changes_its_vcpu_goes_there_with_its_next_event() {
    let world = World::new(1, 2, Width::Bits64);
    let (a, b) = (&world.domains[0], &world.domains[0]);
    let mut kernel = FifoKernel::start(a);
    let (from, to) = world.channel(a, b);
    kernel.upcall(v(0));
    world.send(a, from).unwrap();
    bind_vcpu(&**b, to, v(1)).unwrap();
    // It is on the old queue; that is where this event is found.
    world.send(a, from).unwrap();
    assert_eq!((kernel.upcall(v(1)), kernel.upcall(v(0))), (vec![], vec![to]));
    world.send(a, from).unwrap();
    assert_eq!((kernel.upcall(v(0)), kernel.upcall(v(1))), (vec![], vec![to]));
}

#[test]
fn a_port_that_was_the_tail_of_its_old_queue_leaves_no_trace_there() {
    let world = World::new(1, 2, Width::Bits64);
    let a = &world.domains[0];
    let mut kernel = FifoKernel::start(a);
    let (stays, other) = world.channel(a, a);
    let (from, moves) = world.channel(a, a);
    kernel.upcall(v(0));
    let _ = other;
    world.send(a, from).unwrap();
    assert_eq!(kernel.upcall(v(0)), [moves]);
    // Now it is the tail that is remembered for vcpu 0. It is linked on vcpu 1 ...
    bind_vcpu(&**a, moves, v(1)).unwrap();
    world.send(a, from).unwrap();
    // ... and what comes next for vcpu 0 must not be linked behind it.
    world.send(a, other).unwrap();
    assert_eq!(kernel.upcall(v(0)), [stays]);
    assert_eq!(kernel.upcall(v(1)), [moves]);
}

#[test]
fn a_changed_priority_counts_from_the_next_event_on() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::start(&a);
    let ports = ipis(&a, 2);
    for port in &ports {
        world.send(&a, *port).unwrap();
    }
    set_priority(&*a, ports[1], 0).unwrap();
    assert_eq!(kernel.upcall(v(0)), [ports[0], ports[1]]);
    for port in &ports {
        world.send(&a, *port).unwrap();
    }
    assert_eq!(kernel.upcall(v(0)), [ports[1], ports[0]]);
}

#[test]
fn events_that_are_pending_when_the_way_changes_are_carried_over() {
    let (world, a) = World::alone();
    let ports = ipis(&a, 3);
    TwoLevelKernel(&a).mask().set(ports[1].raw());
    world.send(&a, ports[0]).unwrap();
    world.send(&a, ports[1]).unwrap();
    let mut kernel = FifoKernel::without_words(&a);
    a.told();
    kernel.expand();
    // The mask of the 2-level way says nothing about the event words, which are the guest's to prepare.
    assert_eq!(kernel.upcall(v(0)), [ports[0], ports[1]]);
    assert!(!TwoLevelKernel(&a).pending().test(ports[0].raw()));
}

#[test]
fn an_event_before_there_is_a_word_for_it_shows_when_there_is_one() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::without_words(&a);
    let port = ipis(&a, 1)[0];
    world.send(&a, port).unwrap();
    assert_eq!(a.told(), []);
    kernel.expand();
    assert_eq!(a.told(), [Told::Upcall(0)]);
    assert_eq!(kernel.upcall(v(0)), [port]);
}

#[test]
fn an_event_for_a_vcpu_without_a_control_block_leaves_the_port_pending_and_off_any_queue() {
    let world = World::new(1, 2, Width::Bits64);
    let a = &world.domains[0];
    assert_eq!(init_control::<_, ()>(&**a, v(0), 0, || Ok(a.page())), Ok(17));
    assert_eq!(expand_array::<_, ()>(&**a, || Ok(a.page())), Ok(()));
    let port = bind_ipi(&**a, v(1)).unwrap();
    world.send(a, port).unwrap();
    assert!(a.pending(port));
    assert_eq!(a.told(), []);
    // Once it has one, unmasking shows what is pending.
    assert_eq!(init_control::<_, ()>(&**a, v(1), 8, || Ok(a.page())), Ok(17));
    unmask(&**a, port).unwrap();
    assert_eq!(a.told(), [Told::Upcall(1)]);
}

#[test]
fn a_control_block_is_given_once_aligned_within_its_page_and_to_a_vcpu() {
    let (_world, a) = World::alone();
    let page = || Ok::<_, ()>(a.page());
    let bad = |offset| InitControlError::BadOffset(offset);
    assert_eq!(init_control(&*a, v(0), 4, page), Err(bad(4)));
    assert_eq!(init_control(&*a, v(0), 4096 - 64, page), Err(bad(4096 - 64)));
    assert_eq!(
        init_control(&*a, v(0), u32::MAX - 7, page),
        Err(bad(u32::MAX - 7))
    );
    assert_eq!(
        init_control(&*a, v(1), 0, page),
        Err(InitControlError::NoSuchVcpu(v(1)))
    );
    assert!(!a.ports().lock().is_fifo());
    assert_eq!(init_control(&*a, v(0), 4096 - 72, page), Ok(17));
    assert_eq!(
        init_control(&*a, v(0), 0, page),
        Err(InitControlError::AlreadyHasOne(v(0)))
    );
    assert_eq!(
        init_control(&*a, v(0), 0, || Err("no memory there")),
        Err(InitControlError::BadPage("no memory there"))
    );
}

#[test]
fn pages_of_event_words_are_taken_only_in_the_fifo_way_and_up_to_128() {
    let (world, a) = World::alone();
    let page = || Ok::<_, ()>(a.page());
    assert_eq!(expand_array(&*a, page), Err(ExpandArrayError::NotFifo));
    assert_eq!(init_control(&*a, v(0), 0, page), Ok(17));
    let free = world.frames.free();
    for _ in 0..128 {
        assert_eq!(expand_array(&*a, page), Ok(()));
    }
    assert_eq!(expand_array(&*a, page), Err(ExpandArrayError::Full));
    assert_eq!(world.frames.free(), free - 128);
}

#[test]
fn priorities_exist_only_in_the_fifo_way_and_only_for_open_ports() {
    let (world, a) = World::alone();
    let port = ipis(&a, 1)[0];
    assert_eq!(set_priority(&*a, port, 0), Err(SetPriorityError::NotFifo));
    FifoKernel::start(&a);
    assert_eq!(
        set_priority(&*a, port, 16),
        Err(SetPriorityError::BadPriority(16))
    );
    assert_eq!(set_priority(&*a, port, 15), Ok(()));
    world.close(&a, port).unwrap();
    assert_eq!(set_priority(&*a, port, 0), Err(SetPriorityError::NotOpen(port)));
    let never = Port::new(1 << 20);
    assert_eq!(
        set_priority(&*a, never, 0),
        Err(SetPriorityError::NoSuchPort(never))
    );
}

#[test]
fn a_port_closed_while_on_a_queue_is_not_used_again_before_the_guest_has_taken_it_off() {
    let (world, a) = World::alone();
    let mut kernel = FifoKernel::start(&a);
    let port = ipis(&a, 1)[0];
    world.send(&a, port).unwrap();
    world.close(&a, port).unwrap();
    let other = ipis(&a, 1)[0];
    assert_ne!(other, port);
    assert_eq!(kernel.upcall(v(0)), [], "the event was forgotten with the port");
    assert_eq!(ipis(&a, 1)[0], port);
}

#[test]
fn more_ports_than_the_2_level_way_can_name_are_delivered() {
    let world = World::with_limit(1, 1, Width::Bits64, u32::MAX);
    let a = &*world.domains[0];
    let mut kernel = FifoKernel::start(a);
    for _ in 0..4 {
        kernel.expand();
    }
    let ports = ipis(a, 5000);
    world.send(a, ports[4999]).unwrap();
    assert_eq!(ports[4999], Port::new(5000));
    assert_eq!(kernel.upcall(v(0)), [ports[4999]]);
}

#[test]
fn there_are_131_072_ports_with_port_0_and_the_last_is_linked_as_any() {
    let world = World::with_limit(1, 1, Width::Bits64, u32::MAX);
    let a = &*world.domains[0];
    let mut kernel = FifoKernel::start(a);
    for _ in 1..128 {
        kernel.expand();
    }
    let ports = ipis(a, 131_071);
    assert_eq!(ports.last(), Some(&Port::new(131_071)));
    assert_eq!(bind_ipi(a, v(0)), Err(BindIpiError::NoPort(NoPort::OutOfPorts)));
    let sent = [131_071, 1, 65_536, 131_070].map(Port::new);
    for port in sent {
        world.send(a, port).unwrap();
    }
    assert_eq!(kernel.upcall(v(0)), sent);
    world.close(a, Port::new(131_071)).unwrap();
    assert_eq!(bind_ipi(a, v(0)), Ok(Port::new(131_071)));
    world.reset(a).unwrap();
    assert_eq!(a.ports().lock().open(), 0);
}

#[test]
fn a_reset_returns_to_the_2_level_way_and_gives_every_page_back() {
    let (world, a) = World::alone();
    let free = world.frames.free();
    let kernel = FifoKernel::start(&a);
    let port = ipis(&a, 1)[0];
    world.send(&a, port).unwrap();
    // Left behind in bits that nobody looked at, it would swallow the first event after the reset.
    TwoLevelKernel(&a).pending().set(port.raw());
    drop(kernel);
    assert_eq!(world.frames.free(), free - 2);
    world.reset(&a).unwrap();
    assert!(!a.ports().lock().is_fifo());
    assert_eq!(world.frames.free(), free);
    let port = ipis(&a, 1)[0];
    a.told();
    a.memory.write(a.vcpu_info(v(0)).unwrap(), &[0]);
    world.send(&a, port).unwrap();
    assert!(is_marked(&*a.memory, a.vcpu_info(v(0)).unwrap()));
    assert_eq!(TwoLevelKernel(&a).upcall(v(0)), [port]);
}
