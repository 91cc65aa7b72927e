//! Three small domains, whose kernels the test plays, on a machine that is only memory.
//!
//! Each has [`VCPUS`] vcpus, [`RAM_FRAMES`] frames of RAM from guest frame 0 on, and one port, the first, whose other
//! end is a service. Linear addresses are guest addresses.
#![allow(dead_code, reason = "shared by the areas, which need not use all of it each")]

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use xenvisor::hypercalls::answer::Answer;
use xenvisor::hypercalls::context::Context;
use xenvisor::hypercalls::table;
use xenvisor::model::clock::{Instant, TimeScale};
use xenvisor::model::domain::create::SharedInfo;
use xenvisor::model::domain::destroy::destroy;
use xenvisor::model::domain::settings::Settings;
use xenvisor::model::domain::{Domain, Parts};
use xenvisor::model::event::{self, Binding, DEFAULT_LIMIT, Ports};
use xenvisor::model::grant::handles::Handles;
use xenvisor::model::grant::table::GrantTable;
use xenvisor::model::hypervisor::Hypervisor;
use xenvisor::model::machine::{Call, Level, Machine, MachineMemory, VcpuSetup, VirtCpu, Width};
use xenvisor::model::memory::domain_memory::DomainMemory;
use xenvisor::model::memory::frames::{Frames, OutOfFrames};
use xenvisor::model::memory::leaving::Leaving;
use xenvisor::model::number::{DomainId, FRAME_SIZE, Gfn, GrantRef, GuestAddr, Mfn, PcpuId, Port, VcpuId};
use xenvisor::model::p2m::Level as TableLevel;
use xenvisor::model::p2m::SecondStage;
use xenvisor::model::p2m::plain::Plain;
use xenvisor::model::p2m::walker::P2m;
use xenvisor::model::sched::{OutOfMemory, VcpuKey};
use xenvisor::model::service::{Service, ServiceId};
use xenvisor::model::testing::FlatMemory;
use xenvisor::model::vcpu::Vcpu;
use xenvisor::prelude::*;
use xenvisor::sim::SimMachine;
use xenvisor::sim::programs::Programs;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// How many domains there are: 1, 2 and 3.
pub const DOMAINS: u16 = 3;
/// Vcpus of each.
pub const VCPUS: u32 = 2;
/// Guest frames of RAM of each, from frame 0 on.
pub const RAM_FRAMES: u64 = 32;
/// Frames each may have.
pub const LIMIT: u64 = 64;
/// Where arguments are put: the first guest frame is theirs.
pub const ARGUMENTS: u64 = 0;
/// Nothing is here.
pub const NOWHERE: u64 = 1 << 30;
/// The port of each domain whose other end is a service.
pub const SERVICE_PORT: u32 = 1;

/// Frames of the machine.
const MACHINE: Range<Mfn> = Mfn::new(16)..Mfn::new(2048);

/// The three domains, as far as they are there.
pub struct World {
    pub hypervisor: Hypervisor,
    free: u64,
    /// What tells a grant table from that of an earlier domain with the same number.
    editions: AtomicU64,
}

impl World {
    /// Without domains.
    pub fn new() -> Self {
        let memory: Arc<dyn MachineMemory> = Arc::new(FlatMemory::new(MACHINE.end.raw() * FRAME_SIZE));
        let frames = Arc::new(Frames::new(memory.clone(), &[MACHINE]).unwrap());
        let board = Board {
            memory,
            processors: SimMachine::with_memory(1, Programs::standard(), 1 << 20),
        };
        let free = frames.free();
        let hypervisor = Hypervisor::new(
            Arc::new(board),
            frames,
            Box::new(XenDefault::default()),
            Box::new(RoundRobin::new()),
            vec![Box::new(Ear::default())],
        );
        Self {
            hypervisor,
            free,
            editions: AtomicU64::new(1),
        }
    }

    /// Makes a domain that is not there.
    pub fn create(&self, n: u16) {
        let domain = Arc::new(self.domain_of(DomainId::new(n)));
        for (place, service) in (0..).zip(&self.hypervisor.services) {
            service
                .attach(&self.hypervisor, &domain, ServiceId(place))
                .unwrap();
        }
        for vcpu in &domain.vcpus {
            self.hypervisor.queues.add(vcpu).unwrap();
        }
        self.hypervisor.list(domain).unwrap();
    }

    fn domain_of(&self, id: DomainId) -> Domain {
        let (machine, frames) = (&self.hypervisor.machine, &self.hypervisor.frames);
        let stage = machine.new_second_stage(frames).unwrap();
        let memory = machine.memory();
        let owned = DomainMemory::new(id, LIMIT, stage, frames.clone(), memory.clone()).unwrap();
        let flush = |_| {};
        let mut leaving = Leaving::new(frames, &flush);
        owned
            .populate_range(Gfn::new(0)..Gfn::new(RAM_FRAMES), &mut leaving)
            .unwrap();
        let root = owned.root();
        let vcpu = |vcpu| {
            let setup = VcpuSetup {
                domain: id,
                vcpu,
                vcpus: 1,
                root,
                frames,
            };
            let cpu = machine.new_vcpu(&setup).unwrap();
            Vcpu::new(VcpuKey { domain: id, vcpu }, cpu, machine.now())
        };
        let edition = self.editions.fetch_add(1, Ordering::Relaxed);
        Domain::new(Parts {
            id,
            name: format!("small{id}"),
            uuid: [0; 16],
            machine: machine.clone(),
            queues: self.hypervisor.queues.clone(),
            memory: owned,
            shared_info: SharedInfo::allocate(frames).unwrap(),
            ports: Ports::new(DEFAULT_LIMIT, VCPUS).unwrap(),
            grants: GrantTable::new(8, edition, memory.clone(), frames.clone()).unwrap(),
            handles: Handles::new(100, memory.clone(), frames.clone()),
            settings: Settings::default(),
            vcpus: (0..VCPUS).map(VcpuId::new).map(vcpu).collect(),
        })
    }

    /// A domain, if it is there.
    pub fn domain(&self, n: u16) -> Option<Arc<Domain>> {
        self.hypervisor.domain(DomainId::new(n))
    }

    /// Takes a domain apart; how to see that it is gone.
    pub fn destroy(&self, n: u16) -> Weak<Domain> {
        let domain = self.domain(n).unwrap();
        destroy(&self.hypervisor, &domain);
        Arc::downgrade(&domain)
    }

    /// Vcpu 0 of a domain that is there makes a hypercall in 64-bit code, again and again until it is done. The result
    /// as a guest sees it.
    pub fn call(&self, n: u16, number: u32, arguments: &[u64]) -> i64 {
        self.call_from(n, 0, Width::Bits64, number, arguments)
    }

    /// As [`World::call`], from any vcpu and in code of any width.
    pub fn call_from(&self, n: u16, vcpu: u32, width: Width, number: u32, arguments: &[u64]) -> i64 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let caller = self.domain(n).unwrap();
        let vcpu = caller.vcpu(VcpuId::new(vcpu)).unwrap();
        let processor = vcpu.cpu.lock();
        let cx = Context {
            hypervisor: &self.hypervisor,
            caller: &caller,
            vcpu,
            cpu: processor.cpu.as_ref(),
            width,
            now: self.hypervisor.machine.now(),
        };
        loop {
            let call = Call {
                number: number.into(),
                arguments: all,
                width,
                privileged: true,
            };
            match table::serve(&cx, &call) {
                Ok(Answer::Done(value) | Answer::Then(value, _)) => return value.cast_signed(),
                Ok(Answer::Again(arguments) | Answer::AgainAfter(arguments, _)) => all = arguments,
                Err(errno) => return errno.result().cast_signed(),
            }
        }
    }

    /// A hypercall with a command and a structure, which comes back as the hypervisor left it.
    pub fn call_with<T>(&self, n: u16, number: u32, command: u32, argument: &mut T) -> i64
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        self.put(n, ARGUMENTS, argument);
        let result = self.call(n, number, &[command.into(), ARGUMENTS, 1]);
        *argument = self.get(n, ARGUMENTS);
        result
    }

    /// Puts a value into a domain's memory.
    pub fn put<T: IntoBytes + Immutable>(&self, n: u16, at: u64, value: &T) {
        let domain = self.domain(n).unwrap();
        domain
            .guest_memory()
            .write_value(GuestAddr::new(at), value)
            .unwrap();
    }

    /// A value in a domain's memory.
    pub fn get<T: FromBytes + IntoBytes>(&self, n: u16, at: u64) -> T {
        let domain = self.domain(n).unwrap();
        domain.guest_memory().read_value(GuestAddr::new(at)).unwrap()
    }

    /// Takes all domains apart, in this order, and fails unless everything is back.
    pub fn end(&self, order: &[u16]) {
        let mut gone = Vec::new();
        let mut left: Vec<u16> = order
            .iter()
            .copied()
            .filter(|n| self.domain(*n).is_some())
            .collect();
        while let Some(n) = left.first().copied() {
            if left.len() == 1 {
                self.nobody_holds_anything_of(n);
            }
            gone.push((n, self.destroy(n)));
            left.remove(0);
            self.nobody_is_bound_to(n, &left);
        }
        for (n, domain) in gone {
            assert!(domain.upgrade().is_none(), "somebody still has domain {n}");
        }
        assert!(self.hypervisor.domains().is_empty());
        let free = self.hypervisor.frames.free();
        assert_eq!(free, self.free, "frames that are free at the end");
    }

    /// No port of those left is bound to a domain that is gone.
    fn nobody_is_bound_to(&self, gone: u16, left: &[u16]) {
        for domain in left.iter().filter_map(|n| self.domain(*n)) {
            let ports = domain.ports.lock();
            for port in 0.. {
                let Ok(status) = ports.status(Port::new(port)) else {
                    break;
                };
                let bound = matches!(status.binding,
                    Binding::Interdomain { remote, .. } if remote == DomainId::new(gone));
                assert!(!bound, "port {port} of domain {} is {status:?}", domain.id);
            }
        }
    }

    /// No offer of the last domain is in use, unless by itself.
    fn nobody_holds_anything_of(&self, n: u16) {
        let domain = self.domain(n).unwrap();
        if domain.handles.lock().used() > 0 {
            return;
        }
        let grants = domain.grants.lock();
        for reference in 0..grants.entries() {
            let pinned = grants.is_pinned(GrantRef::new(reference));
            assert!(!pinned, "grant {reference} of domain {n} is in use by nobody");
        }
    }
}

/// A machine that is only memory: nobody kicks or sleeps, and what is logged is forgotten.
struct Board {
    memory: Arc<dyn MachineMemory>,
    /// Where processors come from.
    processors: SimMachine,
}

impl Machine for Board {
    fn memory(&self) -> &Arc<dyn MachineMemory> {
        &self.memory
    }
    fn now(&self) -> Instant {
        Instant::from_ns(1_000)
    }
    fn time_scale(&self) -> TimeScale {
        TimeScale::from_hz(1_000_000_000, 0, Instant::from_ns(0)).unwrap()
    }
    fn wall_clock_at_zero_ns(&self) -> u64 {
        0
    }
    fn kick(&self, _: PcpuId) {}
    fn sleep(&self, _: PcpuId, _: Instant) {}
    fn new_second_stage(&self, frames: &Arc<Frames>) -> Result<Box<dyn SecondStage>, OutOfFrames> {
        let format = Plain {
            highest_leaf: TableLevel(2),
        };
        Ok(Box::new(P2m::new(format, self.memory.clone(), frames.clone())?))
    }
    fn new_vcpu(&self, setup: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        self.processors.new_vcpu(setup)
    }
    fn console_read(&self) -> Option<u8> {
        None
    }
    fn console_write(&self, _: &[u8]) {}
    fn log(&self, _: Level, _: Option<DomainId>, _: fmt::Arguments<'_>) {}
}

/// A service that counts what it hears.
#[derive(Default)]
struct Ear {
    heard: AtomicU64,
}

impl Service for Ear {
    fn name(&self) -> &'static str {
        "ear"
    }
    fn attach(&self, _: &Hypervisor, domain: &Arc<Domain>, me: ServiceId) -> Result<(), OutOfMemory> {
        let port = event::allocate_service(&**domain, me, DomainId::new(0)).map_err(|_| OutOfMemory)?;
        assert_eq!(port, Port::new(SERVICE_PORT));
        Ok(())
    }
    fn notified(&self, _: &Hypervisor, _: &Arc<Domain>, port: Port) {
        assert_eq!(port, Port::new(SERVICE_PORT));
        self.heard.fetch_add(1, Ordering::Relaxed);
    }
    fn poll(&self, _: &Hypervisor) {}
    fn detach(&self, _: &Hypervisor, _: &Arc<Domain>) {}
}
