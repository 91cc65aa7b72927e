//! Sequences of `event_channel_op`.

use xenvisor::abi::event_channel as abi;
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op};
use xenvisor::model::testing::Random;

use super::runner::{self, Area};
use super::world::World;

struct Events;

#[derive(Clone, Debug)]
enum Call {
    Offer { n: u16, to: u16 },
    Close { n: u16, port: u32 },
}

impl Area for Events {
    type Call = Call;

    fn new(_: &World) -> Self {
        Self
    }

    fn invent(random: &mut Random) -> Call {
        let n = *random.pick(&[1, 2, 3]);
        match random.below(2) {
            0 => Call::Offer {
                n,
                to: *random.pick(&[1, 2, 3]),
            },
            _ => Call::Close {
                n,
                port: u32::try_from(random.below(8)).unwrap(),
            },
        }
    }

    fn caller(call: &Call) -> u16 {
        match call {
            Call::Offer { n, .. } | Call::Close { n, .. } => *n,
        }
    }

    fn perform(&mut self, world: &World, call: &Call) {
        match call {
            Call::Offer { n, to } => {
                let mut argument = abi::AllocUnbound {
                    dom: DOMID_SELF,
                    remote_dom: *to,
                    port: 0,
                };
                let command = abi::EVTCHNOP_alloc_unbound;
                let result = world.call_with(*n, HYPERVISOR_event_channel_op, command, &mut argument);
                assert_eq!(result, 0);
            }
            Call::Close { n, port } => {
                let mut argument = abi::Close { port: *port };
                let command = abi::EVTCHNOP_close;
                let result = world.call_with(*n, HYPERVISOR_event_channel_op, command, &mut argument);
                assert!(result == 0 || result == -22);
            }
        }
    }

    fn destroyed(&mut self, _: &World, _: u16) {}

    fn created(&mut self, _: &World, _: u16) {}

    fn finish(&mut self, _: &World) {}
}

#[test]
fn ports_do_what_the_model_says_whatever_happens_to_domains() {
    runner::run::<Events>();
}
