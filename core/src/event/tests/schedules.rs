//! Every order in which verbs of several processors can come, by depth-first search; some of them where they are too
//! many.
//!
//! All that verbs share is behind the locks of ports, and none is held where one is about to be taken; so every order
//! of processors is an order of the parts between two such places. There [`Endpoint::ports`] gives way to the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec;
use std::vec::Vec;

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::guest::{FifoKernel, TwoLevelKernel};
use super::world::{Told, World, anybody, v};
use crate::event::{
    Binding, Endpoint, Progress, ResetError, Sent, Turn, allocate_unbound, bind_interdomain, bind_ipi,
    bind_vcpu, bind_virq, close_some, init_control, raise_virq, reset, unmask,
};
use crate::machine::{MachineMemory, Width};
use crate::number::Port;
use crate::testing::FlatMemory;

/// What one processor does.
type Part = Box<dyn FnOnce(&World) + Send>;

/// How the orders are chosen.
#[derive(Clone, Copy)]
enum Orders {
    /// Each there is.
    Every,
    /// So many, by chance: where there are too many.
    Some(usize),
}

/// Makes a world of two domains with two vcpus, lets all parts run in one order after the other, and looks at the end
/// of each. How many orders there were.
fn in_orders<S: Copy + Send + 'static>(
    orders: Orders,
    prepare: impl Fn(&World) -> S + Send + Sync + 'static,
    parts: impl Fn(S) -> Vec<Part> + Send + Sync + 'static,
    look: impl Fn(&World, S) + Send + Sync + 'static,
) -> usize {
    let memory: Arc<dyn MachineMemory> = Arc::new(FlatMemory::new(4 << 20));
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let run = move || {
        count.fetch_add(1, Ordering::Relaxed);
        let pause = shuttle::thread::yield_now;
        let world = World::with_pauses(memory.clone(), 2, 2, Width::Bits64, 64, pause);
        let world = Arc::new(world);
        let start = prepare(&world);
        let running: Vec<_> = parts(start)
            .into_iter()
            .map(|part| {
                let world = world.clone();
                shuttle::thread::spawn(move || part(&world))
            })
            .collect();
        running.into_iter().for_each(|part| part.join().unwrap());
        look(&world, start);
    };
    match orders {
        Orders::Every => shuttle::check_dfs(run, None),
        Orders::Some(number) => shuttle::check_random_with_seed(run, 1, number),
    }
    seen.load(Ordering::Relaxed)
}

fn in_every_order<S: Copy + Send + 'static>(
    prepare: impl Fn(&World) -> S + Send + Sync + 'static,
    parts: impl Fn(S) -> Vec<Part> + Send + Sync + 'static,
    look: impl Fn(&World, S) + Send + Sync + 'static,
) -> usize {
    in_orders(Orders::Every, prepare, parts, look)
}

fn part(act: impl FnOnce(&World) + Send + 'static) -> Part {
    Box::new(act)
}

#[test]
fn a_send_a_close_and_an_unmask_leave_no_event_on_a_port_that_is_closed() {
    for fifo in [false, true] {
        let orders = in_every_order(
            move |world| {
                let [a, b] = [0, 1].map(|n| &*world.domains[n]);
                let ends = world.channel(a, b);
                if fifo {
                    drop(FifoKernel::start(b));
                } else {
                    TwoLevelKernel(b).mask().set(ends.1.raw());
                }
                b.told();
                ends
            },
            |(from, to)| {
                vec![
                    part(move |world| {
                        let sent = world.send(&world.domains[0], from).unwrap();
                        assert!(matches!(sent, Sent::Delivered | Sent::Nowhere));
                    }),
                    part(move |world| world.close(&world.domains[1], to).unwrap()),
                    part(move |world| unmask(&*world.domains[1], to).unwrap()),
                ]
            },
            |world, (from, to)| {
                let [a, b] = [0, 1].map(|n| &*world.domains[n]);
                assert_eq!(b.ports().lock().open(), 0);
                assert_eq!(
                    a.ports().lock().status(from).unwrap().binding,
                    Binding::Unbound { remote: b.id }
                );
                let next = bind_ipi(b, v(0)).unwrap();
                assert!(!b.pending(to) && !b.pending(next), "an event of another life");
            },
        );
        assert!(orders >= 30, "{orders} orders");
    }
}

#[test]
fn a_send_arrives_on_its_channel_or_nowhere_though_the_port_has_a_new_life() {
    in_every_order(
        |world| world.channel(&world.domains[0], &world.domains[1]),
        |(from, to)| {
            vec![
                part(move |world| {
                    world.send(&world.domains[0], from).unwrap();
                }),
                part(move |world| {
                    let b = &*world.domains[1];
                    world.close(b, to).unwrap();
                    assert_eq!(bind_ipi(b, v(1)).unwrap(), to);
                }),
            ]
        },
        |world, (_, to)| assert!(!world.domains[1].pending(to)),
    );
}

#[test]
fn a_send_and_an_unmask_tell_the_guest_once_in_every_order() {
    in_every_order(
        |world| {
            let [a, b] = [0, 1].map(|n| &*world.domains[n]);
            let ends = world.channel(a, b);
            let kernel = TwoLevelKernel(b);
            kernel.upcall(v(0));
            kernel.mask().set(ends.1.raw());
            b.told();
            ends
        },
        |(from, to)| {
            vec![
                part(move |world| {
                    assert_eq!(world.send(&world.domains[0], from), Ok(Sent::Delivered));
                }),
                part(move |world| unmask(&*world.domains[1], to).unwrap()),
            ]
        },
        |world, (_, to)| {
            let b = &*world.domains[1];
            assert_eq!(b.told(), [Told::Upcall(0)]);
            assert_eq!(TwoLevelKernel(b).upcall(v(0)), [to]);
        },
    );
}

#[test]
fn a_send_and_a_move_to_another_vcpu_tell_one_of_the_two() {
    in_every_order(
        |world| {
            let ends = world.channel(&world.domains[0], &world.domains[1]);
            TwoLevelKernel(&world.domains[1]).upcall(v(0));
            world.domains[1].told();
            ends
        },
        |(from, to)| {
            vec![
                part(move |world| {
                    world.send(&world.domains[0], from).unwrap();
                }),
                part(move |world| bind_vcpu(&*world.domains[1], to, v(1)).unwrap()),
            ]
        },
        |world, (_, to)| {
            let b = &*world.domains[1];
            let told = b.told();
            let [Told::Upcall(vcpu)] = told[..] else {
                panic!("told {told:?}")
            };
            assert_eq!(TwoLevelKernel(b).upcall(v(vcpu)), [to]);
        },
    );
}

#[test]
fn both_ends_close_while_an_event_is_under_way() {
    in_every_order(
        |world| world.channel(&world.domains[0], &world.domains[1]),
        |(one, two)| {
            vec![
                part(move |world| world.close(&world.domains[0], one).unwrap()),
                part(move |world| world.close(&world.domains[1], two).unwrap()),
                part(move |world| {
                    // Too late is an error, and as good.
                    let _ = world.send(&world.domains[0], one);
                }),
            ]
        },
        |world, (one, two)| {
            for (n, port) in [(0, one), (1, two)] {
                let domain = &*world.domains[n];
                assert_eq!(domain.ports().lock().open(), 0);
                assert!(!domain.pending(port));
            }
        },
    );
}

#[test]
fn one_of_two_who_bind_to_the_same_port_gets_it() {
    in_every_order(
        |world| allocate_unbound(&*world.domains[0], world.domains[1].id).unwrap(),
        |offered| {
            let bind = move || {
                part(move |world: &World| {
                    let _ = bind_interdomain(&*world.domains[1], &*world.domains[0], offered, anybody);
                })
            };
            vec![bind(), bind()]
        },
        |world, offered| {
            let b = &*world.domains[1];
            assert_eq!(b.ports().lock().open(), 1);
            let peer = world.domains[0].ports().lock().status(offered).unwrap().binding;
            assert_eq!(
                peer,
                Binding::Interdomain {
                    remote: b.id,
                    port: Port::new(1)
                }
            );
        },
    );
}

#[test]
fn a_domain_that_ends_leaves_nobody_bound_to_it_however_late_one_binds() {
    in_every_order(
        |world| allocate_unbound(&*world.domains[0], world.domains[1].id).unwrap(),
        |offered| {
            vec![
                part(move |world| {
                    let a = &*world.domains[0];
                    a.ports().lock().retire();
                    let end = close_some(a, Port::new(0), 4, world.find());
                    assert_eq!(end, Progress::Continue(Port::new(4)));
                }),
                part(move |world| {
                    let _ = bind_interdomain(&*world.domains[1], &*world.domains[0], offered, anybody);
                }),
            ]
        },
        |world, _| {
            assert_eq!(world.domains[0].ports().lock().open(), 0);
            let b = world.domains[1].ports().lock();
            if b.open() > 0 {
                let binding = b.status(Port::new(1)).unwrap().binding;
                assert_eq!(
                    binding,
                    Binding::Unbound {
                        remote: world.domains[0].id
                    }
                );
            }
        },
    );
}

#[test]
fn a_reset_in_slices_closes_what_was_open_and_says_so_if_more_was_opened() {
    // A reset gives way at each of its ports.
    in_orders(
        Orders::Some(3000),
        |world| world.channel(&world.domains[0], &world.domains[1]),
        |(from, _)| {
            vec![
                part(move |world| {
                    let b = &*world.domains[1];
                    let mut progress = reset(b, Turn::First, 40, world.find());
                    while let Ok(Progress::Continue(_)) = progress {
                        progress = reset(b, Turn::Next, 40, world.find());
                    }
                    assert!(matches!(
                        progress,
                        Ok(Progress::Done) | Err(ResetError::OpenedMeanwhile)
                    ));
                }),
                part(move |world| {
                    let _ = world.send(&world.domains[0], from);
                }),
                part(move |world| {
                    // Where the reset has been already, a port stays open.
                    let _ = bind_ipi(&*world.domains[1], v(0));
                }),
            ]
        },
        |world, (from, to)| {
            let [a, b] = [0, 1].map(|n| &*world.domains[n]);
            let open = b.ports().lock().open();
            assert!(open <= 1, "the new one at most");
            assert!(open == 1 || !b.pending(to));
            let peer = a.ports().lock().status(from).unwrap().binding;
            assert_eq!(peer, Binding::Unbound { remote: b.id });
        },
    );
}

#[test]
fn an_event_while_the_way_changes_is_carried_over_in_every_order() {
    in_every_order(
        |world| {
            let timer = bind_virq(&*world.domains[1], 0, v(0)).unwrap();
            assert_eq!(timer, Port::new(1));
            timer
        },
        |_| {
            vec![
                part(|world| {
                    let b = &*world.domains[1];
                    init_control::<_, ()>(b, v(0), 0, || Ok(b.page())).unwrap();
                    crate::event::expand_array::<_, ()>(b, || Ok(b.page())).unwrap();
                }),
                part(|world| {
                    raise_virq(&*world.domains[1], crate::event::Virq::TIMER, v(0));
                }),
            ]
        },
        |world, timer| assert!(world.domains[1].pending(timer)),
    );
}
