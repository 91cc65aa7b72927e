//! Several processors at once: senders against a domain that closes and binds again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::guest::TwoLevelKernel;
use super::world::{World, anybody, v};
use crate::event::{Binding, Endpoint, Sent, allocate_unbound, bind_interdomain, bind_ipi};
use crate::number::Port;

/// Sets the flag at the end of a scope, so that a test that fails does not leave threads running.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn sends_race_with_closes_and_no_port_of_another_is_ever_touched() {
    let (world, a, b) = World::pair();
    let offered = allocate_unbound(&*a, b.id).unwrap();
    let stop = AtomicBool::new(false);
    let delivered = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if world.send(&a, offered) == Ok(Sent::Delivered) {
                        delivered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _end = StopAtEnd(&stop);
        for _ in 0..300 {
            let bound = bind_interdomain(&*b, &*a, offered, anybody).unwrap();
            while delivered.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            world.close(&b, bound).unwrap();
            // The same number, another life: nothing sent to the channel may arrive here.
            let other = bind_ipi(&*b, v(1)).unwrap();
            assert_eq!(other, bound);
            thread::yield_now();
            assert!(!b.pending(other));
            world.close(&b, other).unwrap();
        }
    });
    assert_eq!(
        a.ports().lock().status(offered).unwrap().binding,
        Binding::Unbound { remote: b.id }
    );
    assert_eq!(b.ports().lock().open(), 0);
}

#[test]
fn both_ends_close_at_once_and_both_are_closed() {
    let (world, a, b) = World::pair();
    for _ in 0..300 {
        let (one, two) = world.channel(&a, &b);
        thread::scope(|scope| {
            scope.spawn(|| world.close(&a, one).unwrap());
            scope.spawn(|| world.close(&b, two).unwrap());
        });
        assert_eq!(a.ports().lock().open(), 0);
        assert_eq!(b.ports().lock().open(), 0);
    }
}

#[test]
fn no_event_is_lost_between_a_sender_and_a_guest_that_handles_upcalls() {
    let (world, a, b) = World::pair();
    let (from, to) = world.channel(&a, &b);
    let sent = AtomicU32::new(0);
    let handled = AtomicU32::new(0);
    const ROUNDS: u32 = 2000;
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                sent.store(round, Ordering::SeqCst);
                world.send(&a, from).unwrap();
                // Every send is followed by a look of the guest that sees it.
                while handled.load(Ordering::SeqCst) < round {
                    thread::yield_now();
                }
            }
        });
        let kernel = TwoLevelKernel(&b);
        while handled.load(Ordering::SeqCst) < ROUNDS {
            if crate::event::is_marked(&*b.memory, crate::event::Upcalls::vcpu_info(&*b, v(0)).unwrap())
                && kernel.upcall(v(0)) == [to]
            {
                handled.store(sent.load(Ordering::SeqCst), Ordering::SeqCst);
            }
            thread::yield_now();
        }
    });
}

#[test]
fn ports_are_opened_from_several_processors_without_one_being_given_twice() {
    let (_world, a, _) = World::pair();
    let mut all: std::vec::Vec<Port> = thread::scope(|scope| {
        let workers: std::vec::Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..200)
                        .map(|_| bind_ipi(&*a, v(0)).unwrap())
                        .collect::<std::vec::Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    assert_eq!(all, (1..=800).map(Port::new).collect::<std::vec::Vec<_>>());
}
