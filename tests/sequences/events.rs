//! Sequences of `event_channel_op`, with what kernels do to the words they share with the hypervisor in between: mask
//! ports, and handle what they are called up for. Domain 3 has the 32-bit layout.

mod guest;
mod model;
mod queues;

use xenvisor::abi::event_channel as abi;
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op, VIRQ_TIMER};
use xenvisor::model::event::{self, Binding, Pirq, Virq};
use xenvisor::model::machine::Width;
use xenvisor::model::number::{DomainId, Port, VcpuId};
use xenvisor::model::service::ServiceId;
use xenvisor::model::testing::Random;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::runner::{self, Area};
use super::world::{DOMAINS, RAM_FRAMES, SERVICE_PORT, VCPUS, World};
use guest::{CONTROL, WORDS};
use model::{Answer, Model, Open, To};

/// `EVTCHNOP_reset_cont`: what the hypervisor turns a reset into that is not done.
const RESET_GO_ON: u32 = 14;
/// Nobody.
const NO_DOMAIN: u16 = 9;
/// A page of the guest that is not memory.
const NO_PAGE: u64 = RAM_FRAMES + 5;
/// More pages of event words than one sequence asks for.
const MOST_PAGES: u64 = 16;

#[derive(Clone, Debug)]
enum Act {
    Offer { owner: u16, remote: u16 },
    Bind { remote: u16, port: u32 },
    Virq { virq: u32, vcpu: u32 },
    Ipi { vcpu: u32 },
    Pirq { pirq: u32 },
    Close { port: u32 },
    Send { port: u32 },
    Status { of: u16, port: u32 },
    BindVcpu { port: u32, vcpu: u32 },
    Unmask { port: u32 },
    Reset { of: u16 },
    GoOn { of: u16 },
    InitControl { vcpu: u32, gfn: u64, offset: u32 },
    Expand { good: bool },
    SetPriority { port: u32, priority: u32 },
    Timer { vcpu: u32 },
    ServiceRaises,
    Mask { port: u32 },
    Handle { vcpu: u32 },
}

#[derive(Clone, Debug)]
struct Call {
    n: u16,
    act: Act,
}

fn small(random: &mut Random, limit: u64) -> u32 {
    u32::try_from(random.below(limit)).unwrap()
}

fn domain(random: &mut Random) -> u16 {
    *random.pick(&[1, 1, 2, 2, 3, 3, DOMID_SELF, NO_DOMAIN])
}

/// Mostly one of the first ports, since few are open.
fn port(random: &mut Random) -> u32 {
    match random.below(20) {
        0 => *random.pick(&[0, 63, 64, 127, 128, 1023, 1024, 4096, 131_072, u32::MAX]),
        _ => 1 + small(random, 7),
    }
}

/// One of the two, mostly.
fn vcpu(random: &mut Random) -> u32 {
    *random.pick(&[0, 0, 0, 1, 1, 1, 2, u32::MAX])
}

fn invent(random: &mut Random) -> Act {
    match random.below(34) {
        0..4 => Act::Offer {
            owner: *random.pick(&[DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_SELF, 1, 2, 3, NO_DOMAIN]),
            remote: domain(random),
        },
        4..9 => Act::Bind {
            remote: domain(random),
            port: port(random),
        },
        9..11 => Act::Virq {
            virq: *random.pick(&[0, 0, 0, 1, 2, 3, 7, 11, 13, 16, 23, 24, u32::MAX]),
            vcpu: vcpu(random),
        },
        11 => Act::Ipi { vcpu: vcpu(random) },
        12 => Act::Pirq {
            pirq: *random.pick(&[0, 5, 55, 56, u32::MAX]),
        },
        13..15 => Act::Close { port: port(random) },
        15..20 => Act::Send { port: port(random) },
        20 => Act::Status {
            of: domain(random),
            port: port(random),
        },
        21..23 => Act::BindVcpu {
            port: port(random),
            vcpu: vcpu(random),
        },
        23 => Act::Unmask { port: port(random) },
        24 => match random.below(4) {
            0 => Act::GoOn { of: domain(random) },
            1 => Act::Reset { of: domain(random) },
            _ => Act::Reset { of: DOMID_SELF },
        },
        25..27 => {
            let vcpu = vcpu(random);
            Act::InitControl {
                vcpu,
                gfn: if random.below(8) > 0 {
                    CONTROL + u64::from(vcpu % VCPUS)
                } else {
                    NO_PAGE
                },
                offset: *random.pick(&[0, 0, 0, 0, 0, 0, 4, 4096 - 64, u32::MAX]),
            }
        }
        27 => Act::Expand {
            good: random.below(8) > 0,
        },
        28..30 => Act::SetPriority {
            port: port(random),
            priority: *random.pick(&[0, 1, 7, 15, 15, 16, u32::MAX]),
        },
        30 => match random.below(3) {
            0 => Act::ServiceRaises,
            _ => Act::Timer {
                vcpu: small(random, VCPUS.into()),
            },
        },
        31 => Act::Mask {
            port: 1 + small(random, 7),
        },
        _ => Act::Handle {
            vcpu: small(random, VCPUS.into()),
        },
    }
}

/// A call with an argument; what came back, or which error.
fn op<T>(world: &World, n: u16, command: u32, mut argument: T) -> Answer<T>
where
    T: FromBytes + IntoBytes + Immutable,
{
    match world.call_with(n, HYPERVISOR_event_channel_op, command, &mut argument) {
        0 => Ok(argument),
        error => Err(i32::try_from(-error).unwrap()),
    }
}

fn nothing<T>(answer: Answer<T>) -> Answer<()> {
    answer.map(|_| ())
}

struct Events(Model);

impl Events {
    fn create(&mut self, world: &World, n: u16) {
        let narrow = n == DOMAINS;
        let width = if narrow { Width::Bits32 } else { Width::Bits64 };
        world.domain(n).unwrap().latch_width(width);
        self.0.create(n, if narrow { 32 } else { 64 });
    }

    fn compare(&mut self, world: &World) {
        for (n, domain) in self.0.all() {
            guest::compare(world, domain, n);
            for (port, open) in &domain.open {
                let status = world
                    .domain(n)
                    .unwrap()
                    .ports
                    .lock()
                    .status(Port::new(*port))
                    .unwrap();
                assert_eq!(status.vcpu, VcpuId::new(open.vcpu), "port {port} of domain {n}");
                assert!(
                    is_bound(&status.binding, &open.to),
                    "port {port} of domain {n}: {status:?}"
                );
            }
        }
    }
}

fn is_bound(binding: &Binding, to: &To) -> bool {
    *binding
        == match *to {
            To::Unbound(remote) => Binding::Unbound {
                remote: DomainId::new(remote),
            },
            To::Peer(remote, port) => Binding::Interdomain {
                remote: DomainId::new(remote),
                port: Port::new(port),
            },
            To::Virq(virq) => Binding::Virq(Virq::new(virq).unwrap()),
            To::Pirq(pirq) => Binding::Pirq(Pirq::new(pirq).unwrap()),
            To::Ipi => Binding::Ipi,
            To::Service => Binding::Service {
                service: ServiceId(0),
                domain: DomainId::new(0),
            },
        }
}

/// What a guest is told of a port.
fn told(open: Option<Open>, port: u32) -> (u32, u32, [u32; 2]) {
    let Some(open) = open else {
        return (abi::EVTCHNSTAT_closed, 0, [0; 2]);
    };
    let (status, u) = match open.to {
        To::Unbound(remote) => (abi::EVTCHNSTAT_unbound, [remote.into(), 0]),
        To::Peer(remote, port) => (abi::EVTCHNSTAT_interdomain, [remote.into(), port]),
        To::Service => (abi::EVTCHNSTAT_interdomain, [0, port]),
        To::Virq(virq) => (abi::EVTCHNSTAT_virq, [virq, 0]),
        To::Pirq(pirq) => (abi::EVTCHNSTAT_pirq, [pirq, 0]),
        To::Ipi => (abi::EVTCHNSTAT_ipi, [0; 2]),
    };
    (status, open.vcpu, u)
}

impl Area for Events {
    type Call = Call;

    fn new(world: &World) -> Self {
        let mut all = Self(Model::default());
        (1..=DOMAINS).for_each(|n| all.create(world, n));
        all
    }

    fn invent(random: &mut Random) -> Call {
        Call {
            n: *random.pick(&[1, 1, 2, 2, 3]),
            act: invent(random),
        }
    }

    fn caller(call: &Call) -> u16 {
        call.n
    }

    fn perform(&mut self, world: &World, call: &Call) {
        let model = &mut self.0;
        let n = call.n;
        match call.act {
            Act::Offer { owner, remote } => {
                let argument = abi::AllocUnbound {
                    dom: owner,
                    remote_dom: remote,
                    port: 0,
                };
                let is = op(world, n, abi::EVTCHNOP_alloc_unbound, argument);
                assert_eq!(is.map(|is| is.port), model.offer(n, owner, remote));
            }
            Act::Bind { remote, port } => {
                let argument = abi::BindInterdomain {
                    remote_dom: remote,
                    remote_port: port,
                    ..Default::default()
                };
                let is = op(world, n, abi::EVTCHNOP_bind_interdomain, argument);
                assert_eq!(is.map(|is| is.local_port), model.bind(n, remote, port));
            }
            Act::Virq { virq, vcpu } => {
                let argument = abi::BindVirq { virq, vcpu, port: 0 };
                let is = op(world, n, abi::EVTCHNOP_bind_virq, argument);
                assert_eq!(is.map(|is| is.port), model.get(n).virq(virq, vcpu));
            }
            Act::Ipi { vcpu } => {
                let is = op(world, n, abi::EVTCHNOP_bind_ipi, abi::BindIpi { vcpu, port: 0 });
                assert_eq!(is.map(|is| is.port), model.get(n).ipi(vcpu));
            }
            Act::Pirq { pirq } => {
                let argument = abi::BindPirq {
                    pirq,
                    flags: 0,
                    port: 0,
                };
                let is = op(world, n, abi::EVTCHNOP_bind_pirq, argument);
                assert_eq!(is.map(|is| is.port), model.get(n).pirq(pirq));
            }
            Act::Close { port } => {
                let is = op(world, n, abi::EVTCHNOP_close, abi::Close { port });
                assert_eq!(nothing(is), model.close(n, port));
            }
            Act::Send { port } => {
                let is = op(world, n, abi::EVTCHNOP_send, abi::Send { port });
                assert_eq!(nothing(is), model.send(n, port));
            }
            Act::Status { of, port } => {
                let argument = abi::Status {
                    dom: of,
                    port,
                    ..Default::default()
                };
                let is = op(world, n, abi::EVTCHNOP_status, argument);
                let should = model.status(n, of, port).map(|open| told(open, port));
                assert_eq!(is.map(|is| (is.status, is.vcpu, is.u)), should);
            }
            Act::BindVcpu { port, vcpu } => {
                let is = op(world, n, abi::EVTCHNOP_bind_vcpu, abi::BindVcpu { port, vcpu });
                assert_eq!(nothing(is), model.get(n).bind_vcpu(port, vcpu));
            }
            Act::Unmask { port } => {
                let is = op(world, n, abi::EVTCHNOP_unmask, abi::Unmask { port });
                assert_eq!(nothing(is), model.get(n).unmask(port));
            }
            Act::Reset { of } => {
                let is = op(world, n, abi::EVTCHNOP_reset, abi::Reset { dom: of });
                assert_eq!(nothing(is), model.reset(n, of));
            }
            Act::GoOn { of } => {
                let is = op(world, n, RESET_GO_ON, abi::Reset { dom: of });
                assert_eq!(nothing(is), model.go_on(n, of));
            }
            Act::InitControl { vcpu, gfn, offset } => {
                let should = model.get(n).init_control(vcpu, gfn, offset);
                if should.is_ok() {
                    guest::clear_page(world, n, gfn);
                }
                let argument = abi::InitControl {
                    control_gfn: gfn,
                    offset,
                    vcpu,
                    ..Default::default()
                };
                let is = op(world, n, abi::EVTCHNOP_init_control, argument);
                assert_eq!(is.map(|is| is.link_bits), should.map(|()| 17));
            }
            Act::Expand { good } => {
                let pages = model.get(n).fifo.as_ref().map_or(0, |fifo| fifo.pages);
                let gfn = if good { WORDS + pages } else { NO_PAGE };
                if pages >= MOST_PAGES {
                    return;
                }
                if good && model.get(n).fifo.is_some() {
                    guest::clear_page(world, n, gfn);
                }
                let is = op(
                    world,
                    n,
                    abi::EVTCHNOP_expand_array,
                    abi::ExpandArray { array_gfn: gfn },
                );
                assert_eq!(nothing(is), model.get(n).expand(gfn));
            }
            Act::SetPriority { port, priority } => {
                let argument = abi::SetPriority { port, priority };
                let is = op(world, n, abi::EVTCHNOP_set_priority, argument);
                assert_eq!(nothing(is), model.get(n).set_priority(port, priority));
            }
            Act::Timer { vcpu } => {
                let domain = world.domain(n).unwrap();
                domain.raise_virq(domain.vcpu(VcpuId::new(vcpu)).unwrap(), Virq::TIMER);
                if let Some(port) = model.get(n).virq_port(VIRQ_TIMER, vcpu) {
                    model.get(n).set_pending(port);
                }
            }
            Act::ServiceRaises => {
                let domain = world.domain(n).unwrap();
                event::raise(&*domain, Port::new(SERVICE_PORT), ServiceId(0));
                let bound = model.get(n).open.get(&SERVICE_PORT).map(|open| open.to);
                if bound == Some(To::Service) {
                    model.get(n).set_pending(SERVICE_PORT);
                }
            }
            Act::Mask { port } => guest::mask(world, model.get(n), n, port),
            Act::Handle { vcpu } => guest::handle(world, model.get(n), n, vcpu),
        }
        self.compare(world);
    }

    fn destroyed(&mut self, world: &World, n: u16) {
        self.0.destroy(n);
        self.compare(world);
    }

    fn created(&mut self, world: &World, n: u16) {
        self.create(world, n);
        self.compare(world);
    }

    fn finish(&mut self, world: &World) {
        for (n, model) in self.0.all() {
            // The guests handle what there is, one after the other, and nothing that waits on a queue is forgotten.
            for vcpu in 0..VCPUS {
                for _ in 0..model::PORTS {
                    guest::handle(world, model, n, vcpu);
                }
            }
            guest::compare(world, model, n);
            let waiting = |fifo: &model::Fifo| fifo.queues.values().any(|queue| !queue.is_empty());
            assert!(
                model
                    .fifo
                    .as_ref()
                    .is_none_or(|fifo| fifo.pages == 0 || !waiting(fifo)),
                "a queue of domain {n} is never ready"
            );
        }
    }
}

#[test]
fn ports_do_what_the_model_says_whatever_happens_to_domains() {
    runner::run::<Events>();
}
