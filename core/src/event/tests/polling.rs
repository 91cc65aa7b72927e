//! Waiting for ports.

use super::guest::{FifoKernel, TwoLevelKernel};
use super::world::{Told, World, v};
use crate::event::{NoSuchPort, PollStart, bind_ipi, start_poll, stop_poll};
use crate::machine::Width;
use crate::number::Port;

#[test]
fn a_pending_port_need_not_be_waited_for_even_if_it_is_masked() {
    let (world, a) = World::alone();
    let port = bind_ipi(&*a, v(0)).unwrap();
    TwoLevelKernel(&a).mask().set(port.raw());
    world.send(&a, port).unwrap();
    assert_eq!(start_poll(&*a, v(0), &[port]), Ok(PollStart::Ready));
}

#[test]
fn a_masked_port_ends_the_wait_for_it_once_and_raises_no_upcall() {
    let (world, a) = World::alone();
    let port = bind_ipi(&*a, v(0)).unwrap();
    let kernel = TwoLevelKernel(&a);
    kernel.mask().set(port.raw());
    assert_eq!(start_poll(&*a, v(0), &[port]), Ok(PollStart::Waiting));
    world.send(&a, port).unwrap();
    assert_eq!(a.told(), [Told::PollEnded(0)]);
    kernel.pending().clear(port.raw());
    world.send(&a, port).unwrap();
    assert_eq!(a.told(), []);
}

#[test]
fn in_the_fifo_way_too() {
    let (world, a) = World::alone();
    let kernel = FifoKernel::start(&a);
    let port = bind_ipi(&*a, v(0)).unwrap();
    kernel.mask(port);
    assert_eq!(start_poll(&*a, v(0), &[port]), Ok(PollStart::Waiting));
    world.send(&a, port).unwrap();
    assert_eq!(a.told(), [Told::PollEnded(0)]);
    assert_eq!(start_poll(&*a, v(0), &[port]), Ok(PollStart::Ready));
}

#[test]
fn one_port_is_waited_for_alone_and_several_are_waited_for_with_all_others() {
    let world = World::new(1, 3, Width::Bits64);
    let a = &*world.domains[0];
    let [x, y, z] = [(); 3].map(|()| bind_ipi(a, v(0)).unwrap());
    for port in [x, y, z] {
        TwoLevelKernel(a).mask().set(port.raw());
    }
    assert_eq!(start_poll(a, v(0), &[x]), Ok(PollStart::Waiting));
    assert_eq!(start_poll(a, v(1), &[x, y]), Ok(PollStart::Waiting));
    assert_eq!(start_poll(a, v(2), &[]), Ok(PollStart::Waiting));
    world.send(a, z).unwrap();
    assert_eq!(a.told(), [Told::PollEnded(1), Told::PollEnded(2)]);
    world.send(a, x).unwrap();
    assert_eq!(a.told(), [Told::PollEnded(0)]);
}

#[test]
fn a_wait_that_was_stopped_is_not_ended() {
    let (world, a) = World::alone();
    let port = bind_ipi(&*a, v(0)).unwrap();
    TwoLevelKernel(&a).mask().set(port.raw());
    start_poll(&*a, v(0), &[port]).unwrap();
    stop_poll(&*a, v(0));
    world.send(&a, port).unwrap();
    assert_eq!(a.told(), []);
}

#[test]
fn ports_that_are_not_allocated_cannot_be_waited_for_unless_one_before_them_is_pending() {
    for raw in [2, 32, 128, 1 << 17] {
        let (world, a) = World::alone();
        let port = bind_ipi(&*a, v(0)).unwrap();
        let never = Port::new(raw);
        TwoLevelKernel(&a).mask().set(port.raw());
        assert_eq!(start_poll(&*a, v(0), &[port, never]), Err(NoSuchPort(never)));
        world.send(&a, port).unwrap();
        assert_eq!(a.told(), [], "a refused wait is none");
        assert_eq!(start_poll(&*a, v(0), &[port, never]), Ok(PollStart::Ready));
    }
    let (_world, a) = World::alone();
    let reserved = Port::new(0);
    assert_eq!(start_poll(&*a, v(0), &[reserved]), Err(NoSuchPort(reserved)));
}
