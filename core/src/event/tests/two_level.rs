//! The 2-level way: which bits are set, and when a vcpu is told.

use super::guest::TwoLevelKernel;
use super::world::{Told, World, anybody, v};
use crate::event::{Sent, allocate_unbound, bind_ipi, bind_vcpu, is_marked, unmask};
use crate::event::{Upcalls, bind_interdomain};
use crate::machine::Width;
use crate::number::Port;

#[test]
fn a_send_sets_pending_then_selector_then_upcall() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    let kernel = TwoLevelKernel(&b);
    kernel.upcall(v(0));
    b.told();
    assert_eq!(world.send(&a, from), Ok(Sent::Delivered));
    assert!(kernel.pending().test(to.raw()));
    assert_eq!(kernel.selector(v(0)), 1 << (to.raw() / 64));
    assert!(is_marked(&*b.memory, b.vcpu_info(v(0)).unwrap()));
    assert_eq!(b.told(), [Told::Upcall(0)]);
    assert_eq!(kernel.upcall(v(0)), [to]);
}

#[test]
fn several_sends_before_the_guest_looks_are_one_event() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    let kernel = TwoLevelKernel(&b);
    kernel.upcall(v(0));
    b.told();
    for _ in 0..3 {
        world.send(&a, from).unwrap();
    }
    assert_eq!(b.told(), [Told::Upcall(0)]);
    assert_eq!(kernel.upcall(v(0)), [to]);
    assert_eq!(kernel.upcall(v(0)), []);
}

#[test]
fn no_other_port_notifies_while_the_upcall_flag_is_set() {
    let (world, a, _) = World::pair();
    let ports: std::vec::Vec<_> = (0..70).map(|_| bind_ipi(&*a, v(0)).unwrap()).collect();
    // One in the same word of pending bits, one in the next.
    let [first, same_word, next_word] = [ports[0], ports[1], ports[69]];
    for port in [first, same_word, next_word] {
        world.send(&a, port).unwrap();
    }
    assert_eq!(a.told(), [Told::Upcall(0)]);
    assert_eq!(TwoLevelKernel(&a).selector(v(0)), 0b11);
    assert_eq!(TwoLevelKernel(&a).upcall(v(0)), [first, same_word, next_word]);
}

#[test]
fn a_selector_bit_that_is_set_already_does_not_notify_again() {
    let (world, a, _) = World::pair();
    let (one, two) = (bind_ipi(&*a, v(0)).unwrap(), bind_ipi(&*a, v(0)).unwrap());
    world.send(&a, one).unwrap();
    a.told();
    // The guest has cleared the flag and not yet taken the selector: it will find both.
    a.memory.write(a.vcpu_info(v(0)).unwrap(), &[0]);
    world.send(&a, two).unwrap();
    assert_eq!(a.told(), []);
    assert_eq!(TwoLevelKernel(&a).upcall(v(0)), [one, two]);
}

#[test]
fn a_masked_port_becomes_pending_without_telling_anybody() {
    let (world, a, _) = World::pair();
    let port = bind_ipi(&*a, v(0)).unwrap();
    let kernel = TwoLevelKernel(&a);
    kernel.mask().set(port.raw());
    world.send(&a, port).unwrap();
    assert!(a.pending(port));
    assert_eq!((kernel.selector(v(0)), a.told()), (0, [].into()));
}

#[test]
fn unmasking_a_pending_port_tells_its_vcpu() {
    let (world, a, _) = World::pair();
    let port = bind_ipi(&*a, v(1)).unwrap();
    let kernel = TwoLevelKernel(&a);
    kernel.mask().set(port.raw());
    world.send(&a, port).unwrap();
    assert_eq!(unmask(&*a, port), Ok(()));
    assert_eq!(a.told(), [Told::Upcall(1)]);
    assert_eq!(kernel.upcall(v(1)), [port]);
}

#[test]
fn unmasking_a_port_that_is_not_masked_tells_nobody() {
    let (world, a, _) = World::pair();
    let port = bind_ipi(&*a, v(0)).unwrap();
    world.send(&a, port).unwrap();
    a.memory.write(a.vcpu_info(v(0)).unwrap(), &[0]);
    a.told();
    assert_eq!(unmask(&*a, port), Ok(()));
    assert_eq!(a.told(), []);
}

#[test]
fn a_closed_port_can_be_unmasked_and_nothing_happens_but_one_that_never_was_can_not() {
    let (world, a, _) = World::pair();
    let port = bind_ipi(&*a, v(0)).unwrap();
    world.close(&a, port).unwrap();
    let kernel = TwoLevelKernel(&a);
    kernel.mask().set(port.raw());
    assert_eq!(unmask(&*a, port), Ok(()));
    assert!(kernel.mask().test(port.raw()));
    assert!(unmask(&*a, Port::new(5000)).is_err());
}

#[test]
fn an_event_goes_to_the_vcpu_that_the_port_notifies_now() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    bind_vcpu(&*b, to, v(1)).unwrap();
    TwoLevelKernel(&b).upcall(v(0));
    b.told();
    world.send(&a, from).unwrap();
    assert_eq!(b.told(), [Told::Upcall(1)]);
    assert_eq!(TwoLevelKernel(&b).upcall(v(0)), []);
    assert_eq!(TwoLevelKernel(&b).upcall(v(1)), [to]);
}

#[test]
fn a_32_bit_guest_has_its_bits_elsewhere() {
    let world = World::new(1, 2, Width::Bits32);
    let a = &world.domains[0];
    let ports: std::vec::Vec<_> = (0..40).map(|_| bind_ipi(&**a, v(1)).unwrap()).collect();
    let kernel = TwoLevelKernel(a);
    kernel.mask().set(ports[1].raw());
    for port in &ports {
        world.send(a, *port).unwrap();
    }
    assert_eq!(kernel.selector(v(1)), 0b11);
    let unmasked: std::vec::Vec<_> = ports.iter().copied().filter(|p| *p != ports[1]).collect();
    assert_eq!(kernel.upcall(v(1)), unmasked);
}

#[test]
fn a_32_bit_guest_has_1024_ports_and_a_64_bit_one_4096() {
    for (width, count) in [(Width::Bits32, 1024), (Width::Bits64, 4096)] {
        let world = World::with_limit(1, 1, width, u32::MAX);
        let a = &*world.domains[0];
        // Port 0 is nobody's.
        for expected in 1..count {
            assert_eq!(allocate_unbound(a, a.id), Ok(Port::new(expected)));
        }
        assert!(allocate_unbound(a, a.id).is_err());
    }
}

#[test]
fn the_last_port_is_delivered_inside_the_page() {
    let world = World::with_limit(1, 1, Width::Bits64, u32::MAX);
    let a = &*world.domains[0];
    let mut last = Port::new(0);
    while let Ok(port) = allocate_unbound(a, a.id) {
        last = port;
    }
    world.close(a, last).unwrap();
    let loops = allocate_unbound(a, a.id).unwrap();
    assert_eq!(loops, last);
    world.close(a, Port::new(1)).unwrap();
    let one = bind_interdomain(a, a, loops, anybody).unwrap();
    world.send(a, one).unwrap();
    assert!(a.pending(last));
    assert_eq!(TwoLevelKernel(a).upcall(v(0)), [one, last]);
}
