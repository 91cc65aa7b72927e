//! Virtual interrupts.

use super::world::{Told, World, v};
use crate::event::{BindVirqError, Virq, bind_vcpu, bind_virq, raise_virq};
use crate::event::{Binding, Endpoint};

#[test]
fn each_vcpu_binds_and_hears_its_own_timer() {
    let (_world, a, _) = World::pair();
    let one = bind_virq(&*a, 0, v(0)).unwrap();
    let two = bind_virq(&*a, 0, v(1)).unwrap();
    assert!(raise_virq(&*a, Virq::TIMER, v(1)));
    assert_eq!((a.pending(one), a.pending(two)), (false, true));
    assert_eq!(a.told(), [Told::Upcall(1)]);
}

#[test]
fn a_global_interrupt_is_bound_once_on_vcpu_0_and_may_move() {
    let (_world, a, _) = World::pair();
    assert_eq!(bind_virq(&*a, 3, v(1)), Err(BindVirqError::GlobalElsewhere(v(1))));
    let port = bind_virq(&*a, 3, v(0)).unwrap();
    bind_vcpu(&*a, port, v(1)).unwrap();
    assert!(raise_virq(&*a, Virq::DOMAIN_EXCEPTION, v(1)));
    assert_eq!(a.told(), [Told::Upcall(1)]);
    assert_eq!(bind_virq(&*a, 3, v(0)), Err(BindVirqError::AlreadyBound(port)));
}

#[test]
fn a_moved_global_interrupt_is_free_again_once_its_port_is_closed() {
    let (world, a, _) = World::pair();
    let port = bind_virq(&*a, 3, v(0)).unwrap();
    bind_vcpu(&*a, port, v(1)).unwrap();
    world.close(&a, port).unwrap();
    assert!(!raise_virq(&*a, Virq::DOMAIN_EXCEPTION, v(0)));
    assert!(bind_virq(&*a, 3, v(0)).is_ok());
}

#[test]
fn an_interrupt_is_bound_once_and_refusing_the_second_time_opens_no_port() {
    let (_world, a, _) = World::pair();
    let port = bind_virq(&*a, 1, v(1)).unwrap();
    assert_eq!(bind_virq(&*a, 1, v(1)), Err(BindVirqError::AlreadyBound(port)));
    assert_eq!(a.ports().lock().open(), 1);
    assert_eq!(
        a.ports().lock().status(port).unwrap().binding,
        Binding::Virq(Virq::DEBUG)
    );
}

#[test]
fn there_are_24_interrupts_and_they_need_a_vcpu() {
    let (_world, a, _) = World::pair();
    assert_eq!(bind_virq(&*a, 24, v(0)), Err(BindVirqError::NoSuchVirq(24)));
    assert_eq!(bind_virq(&*a, 0, v(2)), Err(BindVirqError::NoSuchVcpu(v(2))));
    assert_eq!(
        bind_virq(&*a, 0, v(u32::MAX)),
        Err(BindVirqError::NoSuchVcpu(v(u32::MAX)))
    );
}

#[test]
fn an_interrupt_nobody_has_bound_is_lost() {
    let (_world, a, _) = World::pair();
    assert!(!raise_virq(&*a, Virq::TIMER, v(0)));
    assert!(!raise_virq(&*a, Virq::TIMER, v(7)));
    let port = bind_virq(&*a, 0, v(0)).unwrap();
    assert!(!a.pending(port));
}
