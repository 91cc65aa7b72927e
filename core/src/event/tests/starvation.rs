//! No heap: whatever is refused in between, a verb that fails has changed nothing, and then succeeds.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::world::{World, anybody, v};
use crate::event::table::BUCKET;
use crate::event::{
    BindInterdomainError, BindIpiError, BindPirqError, BindVirqError, Endpoint, InitControlError, NoPort,
    Ports, allocate_unbound, bind_interdomain, bind_ipi, bind_pirq, bind_virq, init_control,
};
use crate::machine::Width;
use crate::memory::room::starve;
use crate::number::Port;

/// Everything there is to see about the domains of a world.
fn state(world: &World) -> String {
    let mut all = String::new();
    for domain in &world.domains {
        let ports = domain.ports().lock();
        let channels: Vec<_> = (0..300).map(|port| ports.status(Port::new(port))).collect();
        all += &format!("{} {} {channels:?}\n", ports.open(), ports.is_fifo());
    }
    all + &format!("{}", world.frames.free())
}

/// Refuses the n-th request for heap, for each n until the verb succeeds; how many times it was refused.
fn starved<R, X>(
    make: impl Fn() -> World,
    verb: impl Fn(&World) -> Result<R, X>,
    refusal: impl Fn(&X) -> bool,
) -> u32 {
    let mut granted = 0;
    loop {
        let world = make();
        let before = state(&world);
        starve::after(granted);
        let result = verb(&world);
        starve::feed();
        match result {
            Ok(_) => return granted,
            Err(why) => {
                assert!(refusal(&why));
                assert_eq!(state(&world), before);
            }
        }
        granted += 1;
    }
}

fn pair() -> World {
    World::new(2, 2, Width::Bits64)
}

/// Two domains whose next port needs heap.
fn full_buckets() -> World {
    let world = pair();
    for domain in &world.domains {
        for _ in 1..BUCKET {
            allocate_unbound(&**domain, world.domains[1].id).unwrap();
        }
    }
    world
}

#[test]
fn opening_a_port_starves_cleanly() {
    let full = |why: &NoPort| *why == NoPort::OutOfMemory;
    let verb = |world: &World| allocate_unbound(&*world.domains[0], world.domains[1].id);
    assert_eq!(starved(full_buckets, verb, full), 1);
    assert_eq!(
        starved(pair, verb, full),
        0,
        "a port within a bucket needs no heap"
    );
}

#[test]
fn binding_starves_cleanly() {
    let refusals = starved(
        full_buckets,
        |world| bind_interdomain(&*world.domains[1], &*world.domains[0], Port::new(1), anybody),
        |why| *why == BindInterdomainError::NoPort(NoPort::OutOfMemory),
    );
    assert_eq!(refusals, 1);
    let refusals = starved(
        full_buckets,
        |world| bind_pirq(&*world.domains[0], 3),
        |why| *why == BindPirqError::NoPort(NoPort::OutOfMemory),
    );
    assert_eq!(refusals, 1);
    let refusals = starved(
        full_buckets,
        |world| bind_virq(&*world.domains[0], 0, v(1)),
        |why| *why == BindVirqError::NoPort(NoPort::OutOfMemory),
    );
    assert_eq!(refusals, 1);
    let refusals = starved(
        full_buckets,
        |world| bind_ipi(&*world.domains[0], v(1)),
        |why| *why == BindIpiError::NoPort(NoPort::OutOfMemory),
    );
    assert_eq!(refusals, 1);
}

#[test]
fn turning_to_the_fifo_way_starves_cleanly() {
    let refusals = starved(
        pair,
        |world| {
            let domain = &*world.domains[0];
            init_control::<_, ()>(domain, v(1), 0, || Ok(domain.page()))
        },
        |why| *why == InitControlError::OutOfMemory,
    );
    assert_eq!(refusals, 2);
}

#[test]
fn a_new_domain_starves_cleanly() {
    for granted in 0..3 {
        starve::after(granted);
        assert!(Ports::new(1024, 4).is_err());
        assert!(starve::feed());
    }
}
