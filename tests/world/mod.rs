//! A world for tests of the whole: domains on the simulated machine, and two ways to make them speak.
//!
//! [`World`] has domains that do not run: a test plays their kernels, one hypercall at a time. [`run`] runs programs to
//! their end, from a seed.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared by tests, which may fail loudly and need not use all of it"
)]

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xenvisor::hypercalls::answer::{Answer, Served};
use xenvisor::hypercalls::context::Context;
use xenvisor::hypercalls::launch::{Finished, launch};
use xenvisor::hypercalls::table;
use xenvisor::model::domain::Domain;
use xenvisor::model::domain::create::{CreateError, create};
use xenvisor::model::domain::destroy::destroy;
use xenvisor::model::event::Binding;
use xenvisor::model::hypervisor::Hypervisor;
use xenvisor::model::machine::{Call, GuestRam, Machine, Width};
use xenvisor::model::number::{DomainId, GuestAddr, MIB, Port, VcpuId};
use xenvisor::prelude::*;
use xenvisor::sim::SimMachine;
use xenvisor::sim::kernel;
use xenvisor::sim::programs::Programs;
use xenvisor::sim::schedule::ByChance;
use xenvisor::sim::stall::StallWatch;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where arguments are put.
pub const ARGUMENTS: u64 = kernel::SCRATCH;
/// The first of the guest frames that a test may use as it likes.
pub const FREE: u64 = kernel::PAGES >> 12;
/// A guest frame far behind the memory, where nothing is: mapping there takes tables.
pub const FAR: u64 = 1 << 24;
/// Ports that are looked at when two states are compared.
const PORTS: u32 = 200;

/// Domains that do not run.
pub struct World {
    pub machine: SimMachine,
    pub hypervisor: Hypervisor,
    guests: Vec<Guest>,
    free: u64,
}

impl State {
    /// All there is to see of one domain.
    pub fn of(&self, n: u16) -> &[String] {
        &self.domains[&DomainId::new(n)]
    }

    /// What is in one and not in the other, line by line; empty where they are equal.
    pub fn difference(&self, other: &Self) -> String {
        let mut lines = Vec::new();
        if self.frames != other.frames {
            lines.push(format!("{} frames instead of {}", self.frames, other.frames));
        }
        for (mark, one, two) in [("there is", self, other), ("there is no", other, self)] {
            for (id, sight) in &one.domains {
                let there = two.domains.get(id);
                let missing = |line: &&String| there.is_none_or(|there| !there.contains(line));
                lines.extend(
                    sight
                        .iter()
                        .filter(missing)
                        .map(|line| format!("{id}: {mark} {line}")),
                );
            }
        }
        lines.join("\n")
    }

    /// What of it a guest could not tell from a growth of its books: frames for records, and the size of grant tables,
    /// which grow by being looked at.
    pub fn without_books(mut self) -> Self {
        self.frames = 0;
        for sight in self.domains.values_mut() {
            sight.retain(|line| !line.starts_with("grants:"));
        }
        self
    }
}

impl World {
    /// So many domains, numbered from 1, under a policy.
    pub fn new(domains: u16, policy: impl Policy + 'static) -> Self {
        let world = Self::empty(domains, policy);
        for n in 1..=domains {
            world.create(n).unwrap();
        }
        world
    }

    /// As [`World::new`], with so many bytes of memory each.
    pub fn with_memory(domains: u16, bytes: u64, policy: impl Policy + 'static) -> Self {
        Self::of_guests(domains, policy, |guest| guest.memory(bytes))
    }

    /// As [`World::new`], of guests that are described otherwise.
    pub fn of_guests(domains: u16, policy: impl Policy + 'static, describe: impl Fn(Guest) -> Guest) -> Self {
        let mut world = Self::empty(domains, policy);
        for guest in &mut world.guests {
            *guest = describe(guest.clone());
        }
        for n in 1..=domains {
            world.create(n).unwrap();
        }
        world
    }

    /// As [`World::new`], but nothing is built yet.
    pub fn empty(domains: u16, policy: impl Policy + 'static) -> Self {
        let machine = SimMachine::new(1, Programs::standard());
        let hypervisor = Hypervisor::new(
            Arc::new(machine.clone()),
            machine.frames().unwrap(),
            Box::new(policy),
            Box::new(RoundRobin::new()),
            xenvisor::standard_services(),
        );
        let guests = (1..=domains)
            .map(|n| guest(&format!("guest{n}"), "linux"))
            .collect();
        let free = hypervisor.frames.free();
        Self {
            machine,
            hypervisor,
            guests,
            free,
        }
    }

    /// How many frames were free before there was any domain.
    pub fn free_before(&self) -> u64 {
        self.free
    }

    /// Builds a domain.
    pub fn create(&self, n: u16) -> Result<Arc<Domain>, CreateError<'_>> {
        create(
            &self.hypervisor,
            DomainId::new(n),
            &self.guests[usize::from(n) - 1],
        )
    }

    /// A domain.
    pub fn domain(&self, n: u16) -> Arc<Domain> {
        self.hypervisor.domain(DomainId::new(n)).unwrap()
    }

    /// Takes a domain apart.
    pub fn destroy(&self, n: u16) {
        destroy(&self.hypervisor, &self.domain(n));
    }

    /// Vcpu 0 of a domain makes a hypercall, again and again until it is done. The result as a guest sees it.
    pub fn call(&self, n: u16, number: u32, arguments: &[u64]) -> i64 {
        self.call_in_turns(n, number, arguments).0
    }

    /// As [`World::call`], with the number of turns it took.
    pub fn call_in_turns(&self, n: u16, number: u32, arguments: &[u64]) -> (i64, u32) {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let mut turns = 0;
        loop {
            turns += 1;
            let call = Call {
                number: number.into(),
                arguments: all,
                width: Width::Bits64,
                privileged: true,
            };
            match self.serve(n, &call) {
                Ok(Answer::Done(value) | Answer::Then(value, _)) => return (value.cast_signed(), turns),
                Ok(Answer::Again(arguments) | Answer::AgainAfter(arguments, _)) => all = arguments,
                Err(errno) => return (errno.result().cast_signed(), turns),
            }
        }
    }

    /// Vcpu 0 of a domain makes this hypercall, in one turn.
    pub fn serve(&self, n: u16, call: &Call) -> Served {
        let caller = self.domain(n);
        let vcpu = caller.vcpu(VcpuId::new(0)).unwrap();
        let processor = vcpu.cpu.lock();
        let cx = Context {
            hypervisor: &self.hypervisor,
            caller: &caller,
            vcpu,
            cpu: processor.cpu.as_ref(),
            width: call.width,
            now: self.machine.now(),
        };
        table::serve(&cx, call)
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
        let domain = self.domain(n);
        domain
            .guest_memory()
            .write_value(GuestAddr::new(at), value)
            .unwrap();
    }

    /// A value in a domain's memory.
    pub fn get<T: FromBytes + IntoBytes>(&self, n: u16, at: u64) -> T {
        let domain = self.domain(n);
        domain.guest_memory().read_value(GuestAddr::new(at)).unwrap()
    }

    /// The last line of the log.
    pub fn last_line(&self) -> String {
        let record = self.machine.record();
        record
            .lines
            .last()
            .map(|line| line.text.clone())
            .unwrap_or_default()
    }

    /// All there is to see of the domains, to compare.
    pub fn state(&self) -> State {
        let domains = self.hypervisor.domains();
        let tables: u64 = domains
            .iter()
            .map(|domain| domain.memory.stage().lock().table_frames())
            .sum();
        State {
            // Tables that were made for a change that failed stay, and are used later.
            frames: self.hypervisor.frames.free() + tables,
            domains: domains.iter().map(|domain| (domain.id, sight(domain))).collect(),
        }
    }
}

/// All there is to see of a world.
#[derive(PartialEq, Eq, Debug)]
pub struct State {
    frames: u64,
    domains: BTreeMap<DomainId, Vec<String>>,
}

/// All there is to see of a domain.
fn sight(domain: &Arc<Domain>) -> Vec<String> {
    let mut all = Vec::new();
    {
        let ports = domain.ports.lock();
        all.push(format!("{} ports, FIFO {}", ports.open(), ports.is_fifo()));
        for port in 0..PORTS {
            if let Ok(status) = ports.status(Port::new(port))
                && status.binding != Binding::Free
            {
                all.push(format!("port {port}: {status:?}"));
            }
        }
    }
    {
        let grants = domain.grants.lock();
        all.push(format!(
            "grants: {:?}, {} frames",
            grants.version(),
            grants.size()
        ));
    }
    all.push(format!("{} receipts", domain.handles.lock().used()));
    all.push(format!("{:?}", *domain.settings.lock()));
    // One lock a sentence: their ranks do not allow two.
    all.push(format!("{:?}", *domain.life.lock()));
    all.push(format!("{:?}", domain.memory.account()));
    for vcpu in &domain.vcpus {
        all.push(format!("{:?} {:?}", vcpu.info.get(), vcpu.activity.get()));
        all.push(format!("{:?}", *vcpu.areas.lock()));
        all.push(format!("{:?}", *vcpu.timers.lock()));
    }
    let mut mapped = Vec::new();
    domain
        .memory
        .stage()
        .lock()
        .leaves(Default::default(), &mut |first, leaf| {
            for further in 0..leaf.order.frames() {
                let target = leaf.target;
                let mfn = target.mfn.checked_add(further).unwrap();
                mapped.push((
                    first.checked_add(further).unwrap(),
                    mfn,
                    target.rights,
                    target.kind,
                ));
            }
            true
        });
    let mut bytes = [0; 4096];
    let memory = domain.guest_memory();
    for (gfn, mfn, rights, kind) in mapped {
        memory.read(gfn.address().unwrap(), &mut bytes).unwrap();
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        all.push(format!("{gfn}: {mfn} {rights:?} {kind:?} {:x}", hasher.finish()));
    }
    all
}

/// A guest that runs a program, with 4 MiB.
pub fn guest(name: &str, program: &'static str) -> Guest {
    let module = Module {
        name: program,
        bytes: kernel::file(program).leak(),
    };
    Guest::pvh(name, module).memory(4 * MIB)
}

/// How a run went.
pub struct Run {
    pub machine: SimMachine,
    pub finished: Finished,
    free_before: u64,
}

impl Run {
    /// What the guests wrote.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.machine.record().console).into_owned()
    }

    /// The log.
    pub fn log(&self) -> String {
        let lines = self
            .machine
            .record()
            .lines
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        lines.join("\n")
    }

    /// Fails with all that happened.
    pub fn fail(&self, seed: u64, what: &str) -> ! {
        panic!(
            "seed {seed}: {what}\n--- log\n{}\n--- console\n{}",
            self.log(),
            self.console()
        );
    }

    /// Whether every frame is free again.
    pub fn all_frames_are_back(&self) -> bool {
        self.finished.hypervisor.frames.free() == self.free_before
    }
}

/// Runs guests to their end.
pub fn run(seed: u64, programs: Programs, mut system: System) -> Run {
    let machine = SimMachine::new(seed, programs);
    run_on(seed, machine, &mut system)
}

/// As [`run`], on a machine that has been prepared.
pub fn run_on(seed: u64, machine: SimMachine, system: &mut System) -> Run {
    let mut system = std::mem::take(system);
    system.schedule(ByChance::new(seed));
    run_as_described(machine, system)
}

/// Runs guests to their end, with the scheduler that the description has.
pub fn run_as_described(machine: SimMachine, system: System) -> Run {
    let frames = machine.frames().unwrap();
    let free_before = frames.free();
    let mut services = xenvisor::standard_services();
    services.push(Box::new(StallWatch::new(machine.clone())));
    let finished = launch(Arc::new(machine.clone()), frames, system, "", services).unwrap();
    Run {
        machine,
        finished,
        free_before,
    }
}
