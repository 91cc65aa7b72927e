//! A `vcpu_info` that moves, and one that comes late.

use std::sync::atomic::Ordering;

use super::guest::TwoLevelKernel;
use super::world::{Domain, Told, World, v};
use crate::event::{Endpoint, Upcalls, bind_ipi, is_marked};
use crate::machine::Width;
use crate::number::{MachineAddr, VcpuId};

fn move_to(domain: &Domain, vcpu: VcpuId, to: MachineAddr) -> bool {
    domain.ports().lock().move_vcpu_info(domain, vcpu, || {
        domain.infos[vcpu.raw() as usize].store(to.raw(), Ordering::SeqCst);
        true
    })
}

#[test]
fn an_event_before_the_move_is_found_after_it() {
    let (world, a) = World::alone();
    let port = bind_ipi(&*a, v(0)).unwrap();
    world.send(&a, port).unwrap();
    a.told();
    let page = a.page();
    assert!(move_to(&a, v(0), page.address(64)));
    assert_eq!(a.told(), [Told::Upcall(0)]);
    assert!(is_marked(&*a.memory, page.address(64)));
    assert_eq!(TwoLevelKernel(&a).upcall(v(0)), [port]);
    world.send(&a, port).unwrap();
    assert_eq!(a.told(), [Told::Upcall(0)]);
    assert!(is_marked(&*a.memory, page.address(64)));
}

#[test]
fn a_vcpu_without_one_finds_its_events_once_it_has_one() {
    let world = World::new(1, 40, Width::Bits64);
    let a = &*world.domains[0];
    assert_eq!(a.vcpu_info(v(33)), None);
    let port = bind_ipi(a, v(33)).unwrap();
    world.send(a, port).unwrap();
    assert_eq!(a.told(), []);
    assert!(a.pending(port));
    let page = a.page();
    assert!(move_to(a, v(33), page.address(0)));
    assert_eq!(a.told(), [Told::Upcall(33)]);
    assert_eq!(TwoLevelKernel(a).upcall(v(33)), [port]);
}

#[test]
fn a_move_that_is_declined_changes_nothing() {
    let (_world, a) = World::alone();
    let before = a.vcpu_info(v(0));
    assert!(!a.ports().lock().move_vcpu_info(&*a, v(0), || false));
    assert_eq!((a.vcpu_info(v(0)), a.told()), (before, [].into()));
    assert!(!is_marked(&*a.memory, before.unwrap()));
}

#[test]
fn a_32_bit_place_aligned_to_4_bytes_is_filled_and_its_neighbours_are_not() {
    let world = World::new(1, 1, Width::Bits32);
    let a = &*world.domains[0];
    let page = a.page();
    assert!(move_to(a, v(0), page.address(68)));
    let mut bytes = [0; 16];
    a.memory.read(page.address(64), &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]);
}
