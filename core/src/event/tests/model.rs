//! Chance against a model: three domains do anything, and after each step the ports are as a much simpler description
//! says: bindings by table, events by sets, and FIFO queues by lists.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::guest::{FifoKernel, TwoLevelKernel};
use super::world::{World, anybody, v};
use crate::event::{
    Binding, Endpoint, Sent, Virq, allocate_unbound, bind_interdomain, bind_ipi, bind_vcpu, bind_virq,
    raise_virq, set_priority, unmask,
};
use crate::machine::Width;
use crate::number::{DomainId, Port};
use crate::testing::Random;

type Name = (usize, u32);

/// An open port as the model knows it.
#[derive(Clone, Copy, Debug)]
struct Channel {
    binding: Binding,
    vcpu: u32,
    priority: u32,
}

/// Three domains, described simply.
#[derive(Default)]
struct Model {
    open: BTreeMap<Name, Channel>,
    pending: BTreeSet<Name>,
    masked: BTreeSet<Name>,
    /// For domains in the FIFO way: what is queued where, oldest first.
    queues: BTreeMap<(usize, u32, u32), Vec<u32>>,
}

impl Model {
    fn number(domain: usize) -> DomainId {
        DomainId::new(domain as u16 + 1)
    }

    fn is_queued(&self, name: Name) -> bool {
        self.queues
            .iter()
            .any(|(queue, ports)| queue.0 == name.0 && ports.contains(&name.1))
    }

    /// The port a domain would get next.
    fn next_port(&self, domain: usize, fifo: bool) -> u32 {
        (1..)
            .find(|port| {
                let name = (domain, *port);
                !(self.open.contains_key(&name) || fifo && self.is_queued(name))
            })
            .unwrap()
    }

    fn open(&mut self, domain: usize, port: u32, binding: Binding, vcpu: u32) {
        let channel = Channel {
            binding,
            vcpu,
            priority: 7,
        };
        self.open.insert((domain, port), channel);
    }

    fn set_pending(&mut self, name: Name) {
        self.pending.insert(name);
        self.queue(name);
    }

    fn queue(&mut self, name: Name) {
        if self.pending.contains(&name) && !self.masked.contains(&name) && !self.is_queued(name) {
            let channel = self.open[&name];
            self.queues
                .entry((name.0, channel.vcpu, channel.priority))
                .or_default()
                .push(name.1);
        }
    }

    fn close(&mut self, name: Name) {
        if let Some(Channel {
            binding: Binding::Interdomain { remote, port },
            ..
        }) = self.open.remove(&name)
        {
            let other = (usize::from(remote.raw()) - 1, port.raw());
            if let Some(channel) = self.open.get_mut(&other) {
                channel.binding = Binding::Unbound {
                    remote: Self::number(name.0),
                };
            }
        }
        self.pending.remove(&name);
    }

    /// What a kernel takes when it handles an upcall.
    fn upcall(&mut self, domain: usize, vcpu: u32) -> Vec<Port> {
        let mut taken = Vec::new();
        for priority in 0..16 {
            for port in self.queues.remove(&(domain, vcpu, priority)).unwrap_or_default() {
                if !self.masked.contains(&(domain, port)) && self.pending.remove(&(domain, port)) {
                    taken.push(Port::new(port));
                }
            }
        }
        taken
    }
}

fn compare(world: &World, model: &Model, context: &str) {
    for (index, domain) in world.domains.iter().enumerate() {
        let ports = domain.ports().lock();
        for port in 1..128 {
            let Ok(status) = ports.status(Port::new(port)) else {
                assert!(!model.open.contains_key(&(index, port)), "{context}");
                continue;
            };
            let expected = model.open.get(&(index, port));
            let binding = expected.map_or(Binding::Free, |channel| channel.binding);
            assert_eq!(status.binding, binding, "{context}: d{index} port {port}");
            assert_eq!(
                status.vcpu.raw(),
                expected.map_or(0, |channel| channel.vcpu),
                "{context}"
            );
            let pending = ports.is_pending(&**domain, Port::new(port));
            assert_eq!(
                pending,
                model.pending.contains(&(index, port)),
                "{context}: d{index} port {port} pending"
            );
        }
    }
}

/// Runs one history. `fifo` says which domains are told in the FIFO way. How many events were taken.
fn run(seed: u64, fifo: [bool; 3]) -> usize {
    let mut events = 0;
    let world = World::new(3, 2, Width::Bits64);
    let mut kernels: Vec<_> = world
        .domains
        .iter()
        .zip(fifo)
        .map(|(domain, fifo)| fifo.then(|| FifoKernel::start(domain)))
        .collect();
    let mut model = Model::default();
    let mut random = Random::new(seed);
    for step in 0..400 {
        let context = std::format!("seed {seed} step {step}");
        let d = random.below(3) as usize;
        let o = random.below(3) as usize;
        let domain = &*world.domains[d];
        let vcpu = random.below(2) as u32;
        let raw = random.below(24) as u32;
        let (name, port) = ((d, raw), Port::new(raw));
        let known = model.open.get(&name).copied();
        match random.below(12) {
            0 => {
                let next = model.next_port(d, fifo[d]);
                let remote = Model::number(o);
                assert_eq!(allocate_unbound(domain, remote), Ok(Port::new(next)), "{context}");
                model.open(d, next, Binding::Unbound { remote }, 0);
            }
            1 | 2 => {
                let offered = Binding::Unbound {
                    remote: Model::number(d),
                };
                let there = (o, raw);
                let result = bind_interdomain(domain, &*world.domains[o], port, anybody);
                if model.open.get(&there).map(|channel| channel.binding) == Some(offered) {
                    let next = model.next_port(d, fifo[d]);
                    assert_eq!(result, Ok(Port::new(next)), "{context}");
                    let end = |domain, port| Binding::Interdomain {
                        remote: Model::number(domain),
                        port: Port::new(port),
                    };
                    model.open(d, next, end(o, raw), 0);
                    model.open.get_mut(&there).unwrap().binding = end(d, next);
                    model.set_pending((d, next));
                } else {
                    assert!(result.is_err(), "{context}");
                }
            }
            3 => {
                let next = model.next_port(d, fifo[d]);
                assert_eq!(bind_ipi(domain, v(vcpu)), Ok(Port::new(next)), "{context}");
                model.open(d, next, Binding::Ipi, vcpu);
            }
            4 => {
                let virq = Virq::TIMER;
                let bound = model.open.iter().any(|(name, channel)| {
                    name.0 == d && channel.vcpu == vcpu && channel.binding == Binding::Virq(virq)
                });
                let result = bind_virq(domain, 0, v(vcpu));
                if bound {
                    assert!(result.is_err(), "{context}");
                } else {
                    let next = model.next_port(d, fifo[d]);
                    assert_eq!(result, Ok(Port::new(next)), "{context}");
                    model.open(d, next, Binding::Virq(virq), vcpu);
                }
            }
            5 => {
                let timer = model
                    .open
                    .iter()
                    .find(|(name, channel)| {
                        name.0 == d && channel.vcpu == vcpu && channel.binding == Binding::Virq(Virq::TIMER)
                    })
                    .map(|(name, _)| *name);
                assert_eq!(raise_virq(domain, Virq::TIMER, v(vcpu)), timer.is_some());
                if let Some(timer) = timer {
                    model.set_pending(timer);
                }
            }
            6 => {
                assert_eq!(world.close(domain, port).is_ok(), known.is_some(), "{context}");
                model.close(name);
            }
            7 => {
                let result = bind_vcpu(domain, port, v(vcpu));
                let fixed = matches!(
                    known.map(|channel| channel.binding),
                    None | Some(Binding::Ipi | Binding::Virq(_))
                );
                assert_eq!(result.is_err(), fixed, "{context}");
                if !fixed {
                    model.open.get_mut(&name).unwrap().vcpu = vcpu;
                }
                let priority = random.below(16) as u32;
                if set_priority(domain, port, priority).is_ok() {
                    model.open.get_mut(&name).unwrap().priority = priority;
                }
            }
            8 => {
                if let Some(kernel) = &kernels[d] {
                    kernel.mask(port);
                } else {
                    TwoLevelKernel(domain).mask().set(raw);
                }
                model.masked.insert(name);
            }
            9 => {
                let _ = unmask(domain, port);
                if known.is_some() {
                    model.masked.remove(&name);
                    model.queue(name);
                }
            }
            10 => {
                let mut expected = model.upcall(d, vcpu);
                let taken = if let Some(kernel) = &mut kernels[d] {
                    kernel.upcall(v(vcpu))
                } else {
                    // The 2-level way has no order: by port number, and whichever vcpu looks at the word takes it.
                    expected.extend(model.upcall(d, 1 - vcpu));
                    expected.sort_unstable();
                    let mut taken = TwoLevelKernel(domain).upcall(v(vcpu));
                    taken.extend(TwoLevelKernel(domain).upcall(v(1 - vcpu)));
                    taken
                };
                assert_eq!(taken, expected, "{context}");
                events += taken.len();
            }
            _ => {
                let result = world.send(domain, port);
                match known.map(|channel| channel.binding) {
                    Some(Binding::Ipi) => {
                        assert_eq!(result, Ok(Sent::Delivered), "{context}");
                        model.set_pending(name);
                    }
                    Some(Binding::Interdomain { remote, port }) => {
                        assert_eq!(result, Ok(Sent::Delivered), "{context}");
                        model.set_pending((usize::from(remote.raw()) - 1, port.raw()));
                    }
                    Some(Binding::Unbound { .. }) => assert_eq!(result, Ok(Sent::Nowhere), "{context}"),
                    _ => assert!(result.is_err(), "{context}"),
                }
            }
        }
        compare(&world, &model, &context);
    }
    events
}

#[test]
fn three_domains_in_the_2_level_way_are_as_the_model_says() {
    let events: usize = (0..15).map(|seed| run(seed, [false; 3])).sum();
    assert!(events > 200, "only {events} events: the histories say nothing");
}

#[test]
fn three_domains_in_the_fifo_way_are_as_the_model_says() {
    let events: usize = (100..115).map(|seed| run(seed, [true; 3])).sum();
    assert!(events > 200, "only {events} events: the histories say nothing");
}

#[test]
fn domains_that_are_told_in_different_ways_are_as_the_model_says() {
    let events: usize = (200..215).map(|seed| run(seed, [true, false, true])).sum();
    assert!(events > 200, "only {events} events: the histories say nothing");
}
