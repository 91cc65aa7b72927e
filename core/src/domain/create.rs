//! From a guest's description to a domain that is ready to run.
//!
//! Everything is made first and shown last: a domain that cannot be finished was never on the list, and what had been
//! made for it is given back as its parts are dropped.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::destroy::destroy;
use super::params::Index;
use super::settings::{MapEntry, Settings};
use super::{Domain, Parts};
use crate::build::{self, BuildError, Layout, Plan, RamFault};
use crate::event::Ports;
use crate::grant::handles::{self, Handles};
use crate::grant::table::{self, GrantTable};
use crate::hypervisor::Hypervisor;
use crate::machine::{GuestRam, VcpuSetup};
use crate::memory::domain_memory::{DomainMemory, PopulateError};
use crate::memory::frames::{Frames, OutOfFrames, Owner};
use crate::memory::leaving::Leaving;
use crate::number::{DomainId, GuestAddr, Mfn, Order, VcpuId};
use crate::sched::{Share, VcpuKey};
use crate::service::ServiceId;
use crate::system::Guest;
use crate::vcpu::{Vcpu, time};

/// Frames a domain may have beyond those it begins with, as Xen's tools allow: 1 MiB.
const SLACK: u64 = 256;

/// Why a guest did not become a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateError<'a> {
    /// Its description or its modules are wrong.
    Build(BuildError<'a>),
    /// The machine has not the memory for it.
    Memory {
        /// Frames it needs.
        wanted: u64,
        /// Frames that were free before.
        free: u64,
    },
    /// The hypervisor has not the memory to keep its books, or its number is taken.
    Books,
    /// A service could not take it on.
    Service {
        /// Which one.
        name: &'static str,
    },
}

impl fmt::Display for CreateError<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => write!(out, "{error}"),
            Self::Memory { wanted, free } => write!(
                out,
                "it needs {} MiB with all that belongs to it, and {} MiB are free: give it less memory, or the machine more",
                wanted.div_ceil(256),
                free / 256
            ),
            Self::Books => {
                out.write_str("the hypervisor has no memory left to keep books of one more domain")
            }
            Self::Service { name } => write!(out, "the {name} service has no room for it"),
        }
    }
}

impl core::error::Error for CreateError<'_> {}

impl<'a> From<BuildError<'a>> for CreateError<'a> {
    fn from(error: BuildError<'a>) -> Self {
        Self::Build(error)
    }
}

/// Makes a domain of a guest, lists it, and lets it begin.
///
/// # Errors
/// [`CreateError`]; then nothing of it is left.
pub fn create<'a>(
    hypervisor: &Hypervisor,
    id: DomainId,
    guest: &'a Guest,
) -> Result<Arc<Domain>, CreateError<'a>> {
    let layout = Layout::new(guest.memory).map_err(BuildError::from)?;
    let plan = Plan {
        kernel: module(guest.kernel),
        initrd: guest.initrd.map(module),
        command_line: &guest.cmdline,
        vcpus: guest.vcpus,
    };
    // A plan that cannot be is refused before seconds go into making its memory.
    build::examine(&plan, &layout)?;
    let domain = Arc::new(assemble(hypervisor, id, guest, &layout)?);
    populate(hypervisor, &domain, &layout)?;
    let built = build::build(&plan, &layout, &mut FreshRam(&domain))?;
    tell_time(hypervisor, &domain);
    if let Some(vcpu) = domain.vcpus.first() {
        *vcpu.begin.lock() = Some(built.start);
    }
    attach(hypervisor, &domain)?;
    for (n, vcpu) in domain.vcpus.iter().enumerate() {
        if hypervisor.queues.add(vcpu).is_err() {
            domain
                .vcpus
                .iter()
                .take(n)
                .for_each(|vcpu| hypervisor.queues.remove(vcpu));
            detach(hypervisor, &domain, hypervisor.services.len());
            return Err(CreateError::Books);
        }
    }
    let alarmed = hypervisor.queues.add_watchdogs(id).is_ok();
    if !alarmed || hypervisor.list(domain.clone()).is_err() {
        destroy(hypervisor, &domain);
        return Err(CreateError::Books);
    }
    domain.begin();
    Ok(domain)
}

fn module(module: crate::system::Module) -> build::Module<'static> {
    build::Module {
        name: module.name,
        bytes: module.bytes,
    }
}

/// Puts the parts together: second stage, vcpus, shared info page, ports. No memory yet.
fn assemble<'a>(
    hypervisor: &Hypervisor,
    id: DomainId,
    guest: &'a Guest,
    layout: &Layout,
) -> Result<Domain, CreateError<'a>> {
    let (machine, frames) = (&hypervisor.machine, &hypervisor.frames);
    let wanted = wanted(layout);
    let no_memory = |_: OutOfFrames| CreateError::Memory {
        wanted,
        free: frames.free(),
    };
    let stage = machine.new_second_stage(frames).map_err(no_memory)?;
    let limit = wanted.saturating_add(SLACK);
    let memory = DomainMemory::new(id, limit, stage, frames.clone(), machine.memory().clone());
    let memory = memory.map_err(|_| CreateError::Books)?;
    let root = memory.root();
    let mut vcpus = Vec::new();
    vcpus
        .try_reserve(usize::try_from(guest.vcpus).unwrap_or(usize::MAX))
        .map_err(|_| CreateError::Books)?;
    for vcpu in (0..guest.vcpus).map(VcpuId::new) {
        let cpu = machine
            .new_vcpu(&VcpuSetup {
                domain: id,
                vcpu,
                vcpus: guest.vcpus,
                root,
                frames,
            })
            .map_err(no_memory)?;
        let vcpu = Vcpu::new(VcpuKey { domain: id, vcpu }, cpu, machine.now());
        vcpu.seat.set_share(Share {
            weight: guest.weight,
            cap: guest.cap,
        });
        vcpu.seat.set_affinity(guest.pcpus, guest.prefers);
        vcpus.push(vcpu);
    }
    let shared_info = SharedInfo::allocate(frames).map_err(no_memory)?;
    let limit = guest.event_channels.saturating_add(1);
    let ports = Ports::new(limit, guest.vcpus).map_err(|_| CreateError::Books)?;
    let grants = GrantTable::new(
        table::DEFAULT_LIMIT,
        hypervisor.edition(),
        machine.memory().clone(),
        frames.clone(),
    );
    Ok(Domain::new(Parts {
        id,
        name: guest.name.clone(),
        uuid: uuid(&guest.name, id),
        machine: machine.clone(),
        queues: hypervisor.queues.clone(),
        memory,
        shared_info,
        ports,
        grants: grants.map_err(|_| CreateError::Books)?,
        handles: Handles::new(handles::DEFAULT_LIMIT, machine.memory().clone(), frames.clone()),
        settings: settings(guest, layout),
        vcpus,
    }))
}

/// The frame of a shared info page, given back when dropped.
pub struct SharedInfo {
    frames: Arc<Frames>,
    mfn: Mfn,
}

impl SharedInfo {
    /// A new one, all zeros.
    ///
    /// # Errors
    /// When there is no frame.
    pub fn allocate(frames: &Arc<Frames>) -> Result<Self, OutOfFrames> {
        let block = frames.allocate_zeroed(Owner::Hypervisor, Order::FRAME)?;
        Ok(Self {
            frames: frames.clone(),
            mfn: block.keep(),
        })
    }

    /// The frame.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }
}

impl Drop for SharedInfo {
    fn drop(&mut self) {
        self.frames.release(self.mfn);
    }
}

/// Frames of RAM, tables and special pages.
fn wanted(layout: &Layout) -> u64 {
    layout
        .backed()
        .filter_map(build::Extent::frames)
        .fold(0, u64::saturating_add)
}

fn settings(guest: &Guest, layout: &Layout) -> Settings {
    let mut settings = Settings {
        memory_map: layout
            .map()
            .iter()
            .map(|entry| MapEntry {
                start: entry.extent.start().raw(),
                bytes: entry.extent.length(),
                kind: entry.kind.number(),
            })
            .collect(),
        ..Settings::default()
    };
    for (index, value) in build::special::PARAMETERS {
        if let Some(index) = Index::from_raw(index)
            // Where the store is, its service says: without one there is none.
            && index != Index::STORE_PFN
        {
            settings.params.set(index, value);
        }
    }
    settings
        .params
        .set(Index::TRIPLE_FAULT_REASON, u64::from(guest.triple_fault.raw()));
    settings
}

/// A name for machines out of the one for people: the same guest has the same one on each boot. FNV-1a of name and
/// number, marked as RFC 9562 marks identifiers of one's own making (version 8).
fn uuid(name: &str, id: DomainId) -> [u8; 16] {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in name.bytes().chain(id.raw().to_le_bytes()) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    let mut bytes = hash.to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// Puts frames behind everything the layout promises.
fn populate<'a>(
    hypervisor: &Hypervisor,
    domain: &Arc<Domain>,
    layout: &Layout,
) -> Result<(), CreateError<'a>> {
    let free = hypervisor.frames.free();
    let flush = |owed| domain.flush(owed);
    let mut leaving = Leaving::new(&hypervisor.frames, &flush);
    for extent in layout.backed() {
        let range = extent.start().frame()..extent.end().frame();
        domain
            .memory
            .populate_range(range, &mut leaving)
            .map_err(|error| match error {
                PopulateError::OutOfFrames => CreateError::Memory {
                    wanted: wanted(layout),
                    free,
                },
                _ => CreateError::Books,
            })?;
    }
    Ok(())
}

fn tell_time(hypervisor: &Hypervisor, domain: &Domain) {
    let machine = &hypervisor.machine;
    let memory = machine.memory().as_ref();
    for at in domain
        .vcpus
        .iter()
        .filter_map(|vcpu| vcpu.info.get()?.checked_add(time::OFFSET))
    {
        time::write(memory, at, &machine.time_scale());
    }
    if let Some(page) = domain.shared_info.mfn().address() {
        time::write_wall_clock(memory, page, domain.is_wide(), machine.wall_clock_at_zero_ns());
    }
}

fn attach<'a>(hypervisor: &Hypervisor, domain: &Arc<Domain>) -> Result<(), CreateError<'a>> {
    for (place, service) in (0..).zip(&hypervisor.services) {
        if service.attach(hypervisor, domain, ServiceId(place)).is_err() {
            detach(hypervisor, domain, usize::from(place));
            return Err(CreateError::Service { name: service.name() });
        }
    }
    Ok(())
}

/// Lets the first `count` services forget the domain.
pub(super) fn detach(hypervisor: &Hypervisor, domain: &Arc<Domain>, count: usize) {
    hypervisor
        .services
        .iter()
        .take(count)
        .for_each(|service| service.detach(hypervisor, domain));
}

/// A domain's memory before it runs: all zeros, with nobody else looking.
struct FreshRam<'a>(&'a Domain);

impl build::GuestRam for FreshRam<'_> {
    fn write(&mut self, at: GuestAddr, bytes: &[u8]) -> Result<(), RamFault> {
        self.0
            .guest_memory()
            .write(at, bytes)
            .map_err(|fault| RamFault { at: fault.0 })
    }

    fn zero(&mut self, _at: GuestAddr, _length: u64) -> Result<(), RamFault> {
        // Frames come zeroed, and no two parts of a guest overlap.
        Ok(())
    }
}
