//! Who may be bound to whom, and what a port says about it.

use std::vec;

use super::world::{World, anybody, v};
use crate::event::{
    BindInterdomainError, BindIpiError, BindVcpuError, Binding, Endpoint, NoPort, SendError, Sent, Status,
    allocate_service, allocate_unbound, bind_interdomain, bind_ipi, bind_vcpu, bind_virq, raise, send,
};
use crate::machine::Width;
use crate::number::{DomainId, Port};
use crate::service::ServiceId;

#[test]
fn port_0_is_never_given_and_the_lowest_free_port_is() {
    let (world, a) = World::alone();
    let ports: vec::Vec<_> = (0..5)
        .map(|_| allocate_unbound(&*a, a.id).unwrap().raw())
        .collect();
    assert_eq!(ports, [1, 2, 3, 4, 5]);
    world.close(&a, Port::new(4)).unwrap();
    world.close(&a, Port::new(2)).unwrap();
    let ports: vec::Vec<_> = (0..3)
        .map(|_| allocate_unbound(&*a, a.id).unwrap().raw())
        .collect();
    assert_eq!(ports, [2, 4, 6]);
}

#[test]
fn a_domain_has_as_many_ports_as_it_may() {
    let world = World::with_limit(1, 1, Width::Bits64, 200);
    let a = &*world.domains[0];
    for _ in 1..200 {
        allocate_unbound(a, a.id).unwrap();
    }
    assert_eq!(allocate_unbound(a, a.id), Err(NoPort::OutOfPorts));
    assert_eq!(bind_ipi(a, v(0)), Err(BindIpiError::NoPort(NoPort::OutOfPorts)));
    world.close(a, Port::new(77)).unwrap();
    assert_eq!(allocate_unbound(a, a.id), Ok(Port::new(77)));
}

#[test]
fn only_the_domain_named_may_bind_to_an_unbound_port() {
    let world = World::new(3, 1, Width::Bits64);
    let [a, b, c] = [0, 1, 2].map(|n| &*world.domains[n]);
    let offered = allocate_unbound(a, b.id).unwrap();
    let refused = Err(BindInterdomainError::NotOffered(offered));
    assert_eq!(bind_interdomain(c, a, offered, anybody), refused);
    assert_eq!(bind_interdomain(a, a, offered, anybody), refused);
    assert!(bind_interdomain(b, a, offered, anybody).is_ok());
    assert_eq!(bind_interdomain(b, a, offered, anybody), refused, "it is taken");
    let never = Port::new(9999);
    assert_eq!(
        bind_interdomain(b, a, never, anybody),
        Err(BindInterdomainError::NotOffered(never))
    );
    assert_eq!(c.ports().lock().open(), 0);
}

#[test]
fn binding_makes_the_new_port_pending_and_not_the_old_one() {
    let (_world, a, b) = World::pair();
    let offered = allocate_unbound(&*a, b.id).unwrap();
    let bound = bind_interdomain(&*b, &*a, offered, anybody).unwrap();
    assert!(b.pending(bound) && !a.pending(offered));
}

#[test]
fn both_ends_say_what_they_are_bound_to() {
    let (world, a, b) = World::pair();
    let offered = allocate_unbound(&*a, b.id).unwrap();
    let status = |domain: &super::world::Domain, port| domain.ports().lock().status(port);
    let on = |binding, vcpu| {
        Ok(Status {
            binding,
            vcpu: v(vcpu),
        })
    };
    assert_eq!(status(&a, offered), on(Binding::Unbound { remote: b.id }, 0));
    let bound = bind_interdomain(&*b, &*a, offered, anybody).unwrap();
    bind_vcpu(&*a, offered, v(1)).unwrap();
    let end = |remote, port| Binding::Interdomain { remote, port };
    assert_eq!(status(&a, offered), on(end(b.id, bound), 1));
    assert_eq!(status(&b, bound), on(end(a.id, offered), 0));
    world.close(&a, offered).unwrap();
    assert_eq!(status(&a, offered), on(Binding::Free, 0));
    assert_eq!(status(&b, bound), on(Binding::Unbound { remote: a.id }, 0));
    assert_eq!(status(&a, Port::new(0)), on(Binding::Reserved, 0));
    assert!(status(&a, Port::new(128)).is_err());
}

#[test]
fn a_domain_may_talk_to_itself() {
    let (world, a) = World::alone();
    let (one, two) = world.channel(&a, &a);
    assert_eq!(world.send(&a, one), Ok(Sent::Delivered));
    assert!(a.pending(two) && !a.pending(one));
    assert_eq!(world.send(&a, two), Ok(Sent::Delivered));
    assert!(a.pending(one));
}

#[test]
fn a_send_on_an_unbound_port_goes_nowhere_and_is_no_error() {
    let (world, a, b) = World::pair();
    let port = allocate_unbound(&*a, b.id).unwrap();
    assert_eq!(world.send(&a, port), Ok(Sent::Nowhere));
}

#[test]
fn one_cannot_send_on_a_closed_port_on_port_0_or_on_a_virtual_interrupt() {
    let (world, a) = World::alone();
    let virq = bind_virq(&*a, 0, v(0)).unwrap();
    for port in [virq, Port::new(0), Port::new(7), Port::new(u32::MAX)] {
        assert_eq!(world.send(&a, port), Err(SendError::NotSendable(port)));
    }
}

#[test]
fn a_send_that_is_refused_arrives_nowhere() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    let asked = send(&*a, from, world.find(), Err);
    assert_eq!(asked, Err(SendError::Refused(b.id)));
    assert!(!b.pending(to));
}

#[test]
fn what_is_sent_to_a_service_is_for_the_caller_to_tell() {
    let (world, a) = World::alone();
    let service = ServiceId(3);
    let port = allocate_service(&*a, service, DomainId::new(0)).unwrap();
    assert_eq!(world.send(&a, port), Ok(Sent::ToService(service)));
    assert!(!a.pending(port));
    assert_eq!(raise(&*a, port, service), Sent::Delivered);
    assert!(a.pending(port));
}

#[test]
fn a_service_reaches_only_ports_that_are_bound_to_it() {
    let (world, a) = World::alone();
    let port = allocate_service(&*a, ServiceId(3), DomainId::new(0)).unwrap();
    assert_eq!(raise(&*a, port, ServiceId(4)), Sent::Nowhere);
    world.close(&a, port).unwrap();
    assert_eq!(raise(&*a, port, ServiceId(3)), Sent::Nowhere);
    let again = bind_ipi(&*a, v(0)).unwrap();
    assert_eq!(again, port);
    assert_eq!(raise(&*a, port, ServiceId(3)), Sent::Nowhere);
    assert!(!a.pending(port));
}

#[test]
fn a_vcpu_must_exist_to_be_notified() {
    let (_world, a, b) = World::pair();
    assert_eq!(bind_ipi(&*a, v(2)), Err(BindIpiError::NoSuchVcpu(v(2))));
    let port = allocate_unbound(&*a, b.id).unwrap();
    assert_eq!(bind_vcpu(&*a, port, v(2)), Err(BindVcpuError::NoSuchVcpu(v(2))));
    assert_eq!(bind_vcpu(&*a, port, v(1)), Ok(()));
}

#[test]
fn ipis_and_interrupts_of_a_vcpu_stay_with_their_vcpu() {
    let (_world, a, _) = World::pair();
    let ipi = bind_ipi(&*a, v(0)).unwrap();
    let timer = bind_virq(&*a, 0, v(0)).unwrap();
    let global = bind_virq(&*a, 3, v(0)).unwrap();
    assert_eq!(bind_vcpu(&*a, ipi, v(1)), Err(BindVcpuError::Fixed(ipi)));
    assert_eq!(bind_vcpu(&*a, timer, v(1)), Err(BindVcpuError::Fixed(timer)));
    assert_eq!(bind_vcpu(&*a, global, v(1)), Ok(()));
    let closed = Port::new(50);
    assert_eq!(bind_vcpu(&*a, closed, v(1)), Err(BindVcpuError::NotOpen(closed)));
}

#[test]
fn a_reused_port_notifies_vcpu_0_again() {
    let (world, a, b) = World::pair();
    let port = allocate_unbound(&*a, b.id).unwrap();
    bind_vcpu(&*a, port, v(1)).unwrap();
    world.close(&a, port).unwrap();
    assert_eq!(allocate_unbound(&*a, b.id), Ok(port));
    assert_eq!(a.ports().lock().status(port).unwrap().vcpu, v(0));
}
