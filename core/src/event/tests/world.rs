//! Domains without a hypervisor: memory, ports, and a record of what they are told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec::Vec;

use alloc::sync::Arc;

use crate::event::{Endpoint, Ports, Upcalls};
use crate::lock::Ranked;
use crate::machine::{MachineMemory, Width};
use crate::memory::frames::{Frames, Owner};
use crate::memory::guest_page::GuestPage;
use crate::number::{DomainId, MachineAddr, Mfn, Order, Port, VcpuId};
use crate::testing::FlatMemory;

/// A policy that lets everybody bind.
pub(super) fn anybody() -> Result<(), ()> {
    Ok(())
}

/// What a domain was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    Upcall(u32),
    PollEnded(u32),
}

/// A domain as event delivery sees it.
pub(super) struct Domain {
    pub(super) id: DomainId,
    pub(super) memory: Arc<dyn MachineMemory>,
    pub(super) frames: Arc<Frames>,
    pub(super) width: Width,
    pub(super) shared_info: Mfn,
    pub(super) infos: Vec<AtomicU64>,
    pub(super) told: Mutex<Vec<Told>>,
    /// Called before the lock of its ports is taken: where others may come in between.
    pause: fn(),
    ports: Ranked<Ports>,
}

impl Upcalls for Domain {
    fn id(&self) -> DomainId {
        self.id
    }

    fn memory(&self) -> &dyn MachineMemory {
        &*self.memory
    }

    fn width(&self) -> Width {
        self.width
    }

    fn shared_info(&self) -> MachineAddr {
        self.shared_info.address().unwrap()
    }

    fn vcpu_info(&self, vcpu: VcpuId) -> Option<MachineAddr> {
        let at = self.infos[vcpu.raw() as usize].load(Ordering::SeqCst);
        (at != 0).then(|| MachineAddr::new(at))
    }

    fn notify(&self, vcpu: VcpuId) {
        self.told.lock().unwrap().push(Told::Upcall(vcpu.raw()));
    }

    fn end_poll(&self, vcpu: VcpuId) {
        self.told.lock().unwrap().push(Told::PollEnded(vcpu.raw()));
    }
}

impl Endpoint for Domain {
    fn ports(&self) -> &Ranked<Ports> {
        (self.pause)();
        &self.ports
    }
}

impl Domain {
    /// What the domain has been told since the last time.
    pub(super) fn told(&self) -> Vec<Told> {
        core::mem::take(&mut self.told.lock().unwrap())
    }

    /// A new page of the domain's memory, zeros in it, with no reference but what is held through it.
    pub(super) fn page(&self) -> GuestPage {
        let owner = Owner::Domain(self.id);
        let block = self.frames.allocate_zeroed(owner, Order::FRAME).unwrap();
        GuestPage::of_frame(&self.frames, self.id, block.mfn()).unwrap()
    }

    pub(super) fn pending(&self, port: Port) -> bool {
        self.ports().lock().is_pending(self, port)
    }
}

/// Some domains in one machine's memory.
pub(super) struct World {
    pub(super) domains: Vec<Arc<Domain>>,
    pub(super) frames: Arc<Frames>,
}

impl World {
    /// Domains 1, 2, ..., each with this many vcpus, told of events in this layout.
    pub(super) fn new(domains: u16, vcpus: u32, width: Width) -> Self {
        Self::with_limit(domains, vcpus, width, 1024)
    }

    pub(super) fn with_limit(domains: u16, vcpus: u32, width: Width, limit: u32) -> Self {
        Self::in_memory(Arc::new(FlatMemory::new(4 << 20)), domains, vcpus, width, limit)
    }

    /// The same, in a memory of 4 MiB that the test has made.
    pub(super) fn in_memory(
        memory: Arc<dyn MachineMemory>,
        domains: u16,
        vcpus: u32,
        width: Width,
        limit: u32,
    ) -> Self {
        Self::with_pauses(memory, domains, vcpus, width, limit, || {})
    }

    /// The same, with something that is called whenever nobody holds the lock of any ports.
    pub(super) fn with_pauses(
        memory: Arc<dyn MachineMemory>,
        domains: u16,
        vcpus: u32,
        width: Width,
        limit: u32,
        pause: fn(),
    ) -> Self {
        let frames = Arc::new(Frames::new(memory.clone(), &[Mfn::new(16)..Mfn::new(1024)]).unwrap());
        let domains = (1..=domains)
            .map(|id| {
                let id = DomainId::new(id);
                let shared_info = frames
                    .allocate_zeroed(Owner::Domain(id), Order::FRAME)
                    .unwrap()
                    .keep();
                let base = shared_info.address().unwrap().raw();
                let infos = (0..vcpus)
                    .map(|vcpu| AtomicU64::new(if vcpu < 32 { base + u64::from(vcpu) * 64 } else { 0 }))
                    .collect();
                Arc::new(Domain {
                    id,
                    memory: memory.clone(),
                    frames: frames.clone(),
                    width,
                    shared_info,
                    infos,
                    told: Mutex::default(),
                    pause,
                    ports: Ports::new(limit, vcpus).unwrap(),
                })
            })
            .collect();
        Self { domains, frames }
    }

    /// One domain with one vcpu, 64-bit.
    pub(super) fn alone() -> (Self, Arc<Domain>) {
        let world = Self::new(1, 1, Width::Bits64);
        let domain = world.domains[0].clone();
        (world, domain)
    }

    /// Two domains with two vcpus each, 64-bit.
    pub(super) fn pair() -> (Self, Arc<Domain>, Arc<Domain>) {
        let world = Self::new(2, 2, Width::Bits64);
        let (a, b) = (world.domains[0].clone(), world.domains[1].clone());
        (world, a, b)
    }

    pub(super) fn find(&self) -> impl Fn(DomainId) -> Option<Arc<Domain>> + '_ {
        |id| self.domains.iter().find(|domain| domain.id == id).cloned()
    }

    /// Sends, with nobody to forbid it.
    pub(super) fn send(
        &self,
        from: &Domain,
        port: Port,
    ) -> Result<crate::event::Sent, crate::event::SendError<()>> {
        crate::event::send(from, port, self.find(), |_| Ok(()))
    }

    pub(super) fn close(&self, of: &Domain, port: Port) -> Result<(), crate::event::NotOpen> {
        crate::event::close(of, port, self.find())
    }

    /// Resets all ports of a domain, in small slices.
    pub(super) fn reset(&self, of: &Domain) -> Result<(), crate::event::ResetError> {
        use crate::event::{Progress, Turn, reset};
        let mut turn = Turn::First;
        while reset(of, turn, 50, self.find())? != Progress::Done {
            turn = Turn::Next;
        }
        Ok(())
    }

    /// A channel between two domains, its first event taken.
    pub(super) fn channel(&self, a: &Domain, b: &Domain) -> (Port, Port) {
        let offered = crate::event::allocate_unbound(a, b.id).unwrap();
        let bound = crate::event::bind_interdomain(b, a, offered, anybody).unwrap();
        b.ports().lock().clear_pending(b, bound);
        (offered, bound)
    }
}

/// `VcpuId` by number.
pub(super) const fn v(vcpu: u32) -> VcpuId {
    VcpuId::new(vcpu)
}
