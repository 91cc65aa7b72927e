//! Sequences in the FIFO way: domains that are set up for it, with channels to themselves, and mostly what makes ports
//! go from queue to queue.

use xenvisor::abi::xen::{DOMID_SELF, VIRQ_CONSOLE};
use xenvisor::model::testing::Random;

use super::guest::CONTROL;
use super::{Act, Call, Events, invent, small};
use crate::runner::{self, Area};
use crate::world::{DOMAINS, VCPUS, World};

/// Ports that each domain begins with: a service's, two of its own, an interrupt that can be moved, and the two ends of
/// a channel to itself.
const PORTS: u64 = 6;

struct Queues(Events);

impl Queues {
    fn set_up(&mut self, world: &World, n: u16) {
        let control = |vcpu| Act::InitControl {
            vcpu,
            gfn: CONTROL + u64::from(vcpu),
            offset: 0,
        };
        let loops = Act::Offer {
            owner: DOMID_SELF,
            remote: n,
        };
        let acts = [
            control(0),
            control(1),
            Act::Expand { good: true },
            Act::Ipi { vcpu: 0 },
            Act::Ipi { vcpu: 1 },
            Act::Virq {
                virq: VIRQ_CONSOLE,
                vcpu: 0,
            },
            loops,
            Act::Bind { remote: n, port: 5 },
        ];
        for act in acts {
            self.0.perform(world, &Call { n, act });
        }
    }
}

impl Area for Queues {
    type Call = Call;

    fn new(world: &World) -> Self {
        let mut all = Self(Events::new(world));
        (1..=DOMAINS).for_each(|n| all.set_up(world, n));
        all
    }

    fn invent(random: &mut Random) -> Call {
        let port = 1 + small(random, PORTS);
        let vcpu = small(random, VCPUS.into());
        let act = match random.below(32) {
            0..12 => Act::Send { port },
            12..17 => Act::SetPriority {
                port,
                priority: *random.pick(&[7, 7, 0, 15]),
            },
            17..19 => Act::BindVcpu { port, vcpu },
            19..26 => Act::Handle { vcpu },
            26 => Act::Mask { port },
            27 => Act::Unmask { port },
            28..30 => Act::Close { port },
            30 => Act::Ipi { vcpu },
            _ => invent(random),
        };
        Call {
            n: *random.pick(&[1, 1, 1, 2, 3]),
            act,
        }
    }

    fn caller(call: &Call) -> u16 {
        call.n
    }

    fn perform(&mut self, world: &World, call: &Call) {
        self.0.perform(world, call);
    }

    fn destroyed(&mut self, world: &World, n: u16) {
        self.0.destroyed(world, n);
    }

    fn created(&mut self, world: &World, n: u16) {
        self.0.created(world, n);
        self.set_up(world, n);
    }

    fn finish(&mut self, world: &World) {
        self.0.finish(world);
    }
}

#[test]
fn queues_hold_what_the_model_says_whatever_happens_to_ports() {
    runner::run::<Queues>();
}
