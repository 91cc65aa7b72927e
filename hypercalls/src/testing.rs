//! A world for tests of hypercalls: domains on a machine that is only memory, and calls as guests make them.
//!
//! No guest code runs here. A test plays the guest: it puts arguments into the domain's memory, where linear addresses
//! are guest addresses, and makes the call.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::sync::Mutex;

use xenvisor_core::clock::{Instant, TimeScale};
use xenvisor_core::domain::create::SharedInfo;
use xenvisor_core::domain::settings::Settings;
use xenvisor_core::domain::{Domain, Parts};
use xenvisor_core::event::{DEFAULT_LIMIT, Ports};
use xenvisor_core::grant::handles::Handles;
use xenvisor_core::grant::table::GrantTable;
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::machine::{
    Access, BadAddress, Call, Exit, GuestRam, Ipi, Level, Machine, MachineMemory, Outcome, Registers,
    VcpuSetup, VirtCpu, Width,
};
use xenvisor_core::memory::domain_memory::DomainMemory;
use xenvisor_core::memory::frames::{Frames, OutOfFrames};
use xenvisor_core::memory::leaving::Leaving;
use xenvisor_core::number::{DomainId, Gfn, GuestAddr, LinearAddr, Mfn, PcpuId, VcpuId, Vector};
use xenvisor_core::p2m::plain::Plain;
use xenvisor_core::p2m::walker::P2m;
use xenvisor_core::p2m::{self, SecondStage};
use xenvisor_core::policy::Policy;
use xenvisor_core::sched::{RoundRobin, VcpuKey};
use xenvisor_core::service::Service;
use xenvisor_core::testing::FlatMemory;
use xenvisor_core::vcpu::Vcpu;
use xenvisor_core::vcpu::start::StartState;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::answer::{Answer, Served};
use crate::context::Context;
use crate::table;

/// Guest frames of RAM that each domain begins with, from frame 0 on.
pub(crate) const RAM_FRAMES: u64 = 64;
/// An address nothing is mapped at.
pub(crate) const NOWHERE: u64 = RAM_FRAMES << 12;

/// A machine that is only memory. Nobody kicks or sleeps; what is logged is kept.
pub(crate) struct Board {
    memory: Arc<dyn MachineMemory>,
    pub(crate) log: Mutex<Vec<String>>,
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
            highest_leaf: p2m::Level(2),
        };
        Ok(Box::new(P2m::new(format, self.memory.clone(), frames.clone())?))
    }
    fn new_vcpu(&self, _: &VcpuSetup<'_>) -> Result<Box<dyn VirtCpu>, OutOfFrames> {
        Ok(Box::new(Cpu::default()))
    }
    fn console_read(&self) -> Option<u8> {
        None
    }
    fn console_write(&self, _: &[u8]) {}
    fn log(&self, _: Level, _: Option<DomainId>, line: fmt::Arguments<'_>) {
        self.log.lock().unwrap().push(line.to_string());
    }
}

/// A processor that runs nothing, without paging.
#[derive(Default)]
struct Cpu(Registers);

impl VirtCpu for Cpu {
    fn start(&mut self, _: &StartState) {}
    fn run(&mut self, _: &dyn GuestRam, _: Instant) -> Exit {
        Exit::Preempted
    }
    fn complete_hypercall(&mut self, outcome: Outcome) {
        if let Outcome::Return(value) = outcome {
            self.0.rax = value;
        }
    }
    fn complete_port(&mut self, _: u32) {}
    fn complete_unbacked(&mut self, _: &dyn GuestRam) -> Result<(), Exit> {
        Ok(())
    }
    fn registers(&mut self) -> &mut Registers {
        &mut self.0
    }
    fn width(&self) -> Width {
        Width::Bits64
    }
    fn translate(&self, _: &dyn GuestRam, at: LinearAddr, _: Access) -> Result<GuestAddr, BadAddress> {
        Ok(GuestAddr::new(at.raw()))
    }
    fn raise(&mut self, _: Vector) {}
    fn set_upcall_line(&mut self, _: Option<Vector>) {}
    fn raise_nmi(&mut self) {}
    fn receive_ipi(&mut self, _: &Ipi) -> bool {
        false
    }
    fn interruptible_and_pending(&self) -> bool {
        false
    }
    fn interrupts_enabled(&self) -> bool {
        true
    }
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
    fn tick(&mut self, _: Instant) {}
    fn flush(&mut self) {}
}

/// A hypervisor with domains 1, 2, ...
pub(crate) struct World {
    pub(crate) hypervisor: Hypervisor,
    pub(crate) board: Arc<Board>,
    pub(crate) domains: Vec<Arc<Domain>>,
}

impl World {
    /// Domains with this many vcpus each, under a policy, with services that know nothing of them yet.
    pub(crate) fn new(
        domains: u16,
        vcpus: u32,
        policy: impl Policy + 'static,
        services: Vec<Box<dyn Service>>,
    ) -> Self {
        Self::with_ports(domains, vcpus, policy, services, DEFAULT_LIMIT)
    }

    /// As [`World::new`], with so many ports at most.
    pub(crate) fn with_ports(
        domains: u16,
        vcpus: u32,
        policy: impl Policy + 'static,
        services: Vec<Box<dyn Service>>,
        ports: u32,
    ) -> Self {
        let memory: Arc<dyn MachineMemory> = Arc::new(FlatMemory::new(16 << 20));
        let board = Arc::new(Board {
            memory: memory.clone(),
            log: Mutex::default(),
        });
        let frames = Arc::new(Frames::new(memory, &[Mfn::new(16)..Mfn::new(4096)]).unwrap());
        let hypervisor = Hypervisor::new(
            board.clone(),
            frames,
            Box::new(policy),
            Box::new(RoundRobin::new()),
            services,
        );
        let domains: Vec<_> = (1..=domains)
            .map(|id| Arc::new(domain(&hypervisor, DomainId::new(id), vcpus, ports)))
            .collect();
        for domain in &domains {
            hypervisor.list(domain.clone()).unwrap();
        }
        Self {
            hypervisor,
            board,
            domains,
        }
    }

    /// Vcpu 0 of domain `n` (counted from 1) makes a hypercall in 64-bit code.
    pub(crate) fn call(&self, n: usize, number: u32, arguments: &[u64]) -> Served {
        self.call_from(n, 0, Width::Bits64, number, arguments)
    }

    /// A vcpu of domain `n` (counted from 1) makes a hypercall.
    pub(crate) fn call_from(
        &self,
        n: usize,
        vcpu: u32,
        width: Width,
        number: u32,
        arguments: &[u64],
    ) -> Served {
        let caller = &self.domains[n - 1];
        let vcpu = caller.vcpu(VcpuId::new(vcpu)).unwrap();
        let processor = vcpu.cpu.lock();
        let cx = Context {
            hypervisor: &self.hypervisor,
            caller,
            vcpu,
            cpu: processor.cpu.as_ref(),
            width,
            now: Instant::from_ns(1_000),
        };
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let call = Call {
            number: u64::from(number),
            arguments: all,
            width,
            privileged: true,
        };
        table::serve(&cx, &call)
    }

    /// As [`World::call`], going on until it is done, as a guest does.
    pub(crate) fn call_to_the_end(&self, n: usize, number: u32, arguments: &[u64]) -> Served {
        let mut answer = self.call(n, number, arguments);
        while let Ok(Answer::Again(arguments) | Answer::AgainAfter(arguments, _)) = answer {
            answer = self.call(n, number, &arguments);
        }
        answer
    }

    /// Puts a value into the memory of domain `n`.
    pub(crate) fn put<T: IntoBytes + Immutable + ?Sized>(&self, n: usize, at: u64, value: &T) {
        let memory = self.domains[n - 1].guest_memory();
        memory.write(GuestAddr::new(at), value.as_bytes()).unwrap();
    }

    /// A value in the memory of domain `n`.
    pub(crate) fn get<T: FromBytes + IntoBytes>(&self, n: usize, at: u64) -> T {
        let memory = self.domains[n - 1].guest_memory();
        memory.read_value(GuestAddr::new(at)).unwrap()
    }
}

fn domain(hypervisor: &Hypervisor, id: DomainId, vcpus: u32, ports: u32) -> Domain {
    let (machine, frames) = (&hypervisor.machine, &hypervisor.frames);
    let stage = machine.new_second_stage(frames).unwrap();
    let limit = RAM_FRAMES * 2;
    let memory = DomainMemory::new(id, limit, stage, frames.clone(), machine.memory().clone()).unwrap();
    let flush = |_| {};
    let mut leaving = Leaving::new(frames, &flush);
    let ram = Gfn::new(0)..Gfn::new(RAM_FRAMES);
    memory.populate_range(ram, &mut leaving).unwrap();
    let root = memory.root();
    let vcpus: Vec<_> = (0..vcpus)
        .map(VcpuId::new)
        .map(|vcpu| {
            let setup = VcpuSetup {
                domain: id,
                vcpu,
                vcpus: 1,
                root,
                frames,
            };
            let cpu = machine.new_vcpu(&setup).unwrap();
            Vcpu::new(VcpuKey { domain: id, vcpu }, cpu, machine.now())
        })
        .collect();
    let grants = GrantTable::new(4, 1, machine.memory().clone(), frames.clone()).unwrap();
    Domain::new(Parts {
        id,
        name: String::from("test"),
        uuid: [0; 16],
        machine: machine.clone(),
        queues: hypervisor.queues.clone(),
        memory,
        shared_info: SharedInfo::allocate(frames).unwrap(),
        ports: Ports::new(ports, vcpus.len() as u32).unwrap(),
        grants,
        handles: Handles::new(100, machine.memory().clone(), frames.clone()),
        settings: Settings::default(),
        vcpus,
    })
}
