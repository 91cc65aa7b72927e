//! Closing one port, resetting all, and the end of a domain.

use super::world::{World, anybody, v};
use crate::event::{
    Binding, Endpoint, NoPort, NotOpen, Progress, ResetError, Sent, Turn, allocate_unbound, bind_interdomain,
    bind_ipi, bind_virq, close, close_some, reset,
};
use crate::number::Port;

#[test]
fn what_is_not_open_cannot_be_closed() {
    let (world, a) = World::alone();
    let port = bind_ipi(&*a, v(0)).unwrap();
    assert_eq!(world.close(&a, port), Ok(()));
    for port in [port, Port::new(0), Port::new(u32::MAX)] {
        assert_eq!(world.close(&a, port), Err(NotOpen(port)));
    }
}

#[test]
fn closing_one_end_leaves_the_other_waiting_for_the_same_domain() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    world.close(&a, from).unwrap();
    assert_eq!(world.send(&b, to), Ok(Sent::Nowhere));
    let again = bind_interdomain(&*a, &*b, to, anybody).unwrap();
    assert_eq!(world.send(&b, to), Ok(Sent::Delivered));
    assert!(a.pending(again));
}

#[test]
fn closing_one_end_of_a_loop_leaves_the_other_waiting() {
    let (world, a) = World::alone();
    let (one, two) = world.channel(&a, &a);
    world.close(&a, one).unwrap();
    assert_eq!(
        a.ports().lock().status(two).unwrap().binding,
        Binding::Unbound { remote: a.id }
    );
    assert_eq!(a.ports().lock().open(), 1);
    world.close(&a, two).unwrap();
    assert_eq!(a.ports().lock().open(), 0);
}

#[test]
fn closing_forgets_the_event() {
    let (world, a) = World::alone();
    let port = bind_ipi(&*a, v(0)).unwrap();
    world.send(&a, port).unwrap();
    world.close(&a, port).unwrap();
    assert_eq!(bind_ipi(&*a, v(0)), Ok(port));
    assert!(!a.pending(port));
}

#[test]
fn closing_the_port_of_an_interrupt_lets_it_be_bound_again() {
    let (world, a) = World::alone();
    let port = bind_virq(&*a, 0, v(0)).unwrap();
    world.close(&a, port).unwrap();
    assert_eq!(bind_virq(&*a, 0, v(0)), Ok(port));
}

#[test]
fn a_port_whose_peer_domain_is_gone_can_be_closed() {
    let (world, a, b) = World::pair();
    let (from, _) = world.channel(&a, &b);
    assert_eq!(close(&*a, from, |_| None), Ok(()));
    assert_eq!(a.ports().lock().open(), 0);
}

#[test]
fn a_domain_that_ends_after_its_peer_has_closed_leaves_the_reused_port_alone() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    // The peer is no longer found, but has not closed its own end yet.
    close(&*a, from, |_| None).unwrap();
    assert_eq!(bind_ipi(&*a, v(0)), Ok(from));
    world.close(&b, to).unwrap();
    assert_eq!(a.ports().lock().status(from).unwrap().binding, Binding::Ipi);
}

#[test]
fn a_domain_that_ends_leaves_no_open_port_and_nobody_bound_to_it() {
    let (world, a, b) = World::pair();
    let mut ends = std::vec::Vec::new();
    for _ in 0..200 {
        ends.push(world.channel(&a, &b).0);
    }
    bind_virq(&*b, 0, v(1)).unwrap();
    b.ports().lock().retire();
    let mut at = Port::new(0);
    let mut slices = 0;
    while let Progress::Continue(next) = close_some(&*b, at, 64, world.find()) {
        at = next;
        slices += 1;
    }
    assert!(slices > 2);
    assert_eq!(b.ports().lock().open(), 0);
    for port in ends {
        let binding = a.ports().lock().status(port).unwrap().binding;
        assert_eq!(binding, Binding::Unbound { remote: b.id });
    }
    assert_eq!(allocate_unbound(&*b, a.id), Err(NoPort::Dying));
}

#[test]
fn a_reset_closes_all_and_keeps_ports_valid() {
    let (world, a, b) = World::pair();
    let (_, to) = world.channel(&a, &b);
    for _ in 0..300 {
        bind_ipi(&*a, v(1)).unwrap();
    }
    world.reset(&a).unwrap();
    assert_eq!(a.ports().lock().open(), 0);
    assert!(a.ports().lock().is_valid(Port::new(300)));
    assert_eq!(
        b.ports().lock().status(to).unwrap().binding,
        Binding::Unbound { remote: a.id }
    );
}

#[test]
fn a_reset_begins_once_and_goes_on_only_after_that() {
    let (world, a) = World::alone();
    for _ in 0..200 {
        bind_ipi(&*a, v(0)).unwrap();
    }
    let turn = |turn| reset(&*a, turn, 64, world.find());
    assert_eq!(turn(Turn::Next), Err(ResetError::OutOfTurn));
    assert_eq!(turn(Turn::First), Ok(Progress::Continue(Port::new(65))));
    assert_eq!(turn(Turn::First), Err(ResetError::OutOfTurn));
    while turn(Turn::Next) != Ok(Progress::Done) {}
    assert_eq!(turn(Turn::Next), Err(ResetError::OutOfTurn));
    assert!(world.reset(&a).is_ok());
}

#[test]
fn a_port_opened_behind_the_reset_makes_it_fail_and_stays_open() {
    let (world, a) = World::alone();
    for _ in 0..200 {
        bind_ipi(&*a, v(0)).unwrap();
    }
    assert!(matches!(
        reset(&*a, Turn::First, 64, world.find()),
        Ok(Progress::Continue(_))
    ));
    let port = bind_ipi(&*a, v(0)).unwrap();
    let end = loop {
        match reset(&*a, Turn::Next, 64, world.find()) {
            Ok(Progress::Continue(_)) => {}
            end => break end,
        }
    };
    assert_eq!(end, Err(ResetError::OpenedMeanwhile));
    assert_eq!(a.ports().lock().status(port).unwrap().binding, Binding::Ipi);
    assert_eq!(world.reset(&a), Ok(()), "the failed one is over");
}
