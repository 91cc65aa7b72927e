//! Who calls, and the doors to the caller's memory.
//!
//! Arguments are linear addresses in what the caller's page tables map now. Each access translates, reads or writes
//! once, and forgets; a [`Reply`] is a place for an answer that has been found and pinned beforehand.

use alloc::sync::Arc;

use xenvisor_core::clock::Instant;
use xenvisor_core::domain::Domain;
use xenvisor_core::hypervisor::Hypervisor;
use xenvisor_core::machine::{Access, GuestRam, VirtCpu, Width};
use xenvisor_core::memory::guest::{GuestMemory, LONGEST_ANSWER, Reserved};
use xenvisor_core::number::{DomainId, FRAME_SIZE, GuestAddr, LinearAddr};
use xenvisor_core::policy::{Denied, Request};
use xenvisor_core::vcpu::Vcpu;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::errno::Errno;

/// `DOMID_SELF` of the public headers: whoever calls.
const SELF: u16 = xenvisor_abi::xen::DOMID_SELF;

/// The caller of a hypercall, and what its service may use.
pub struct Context<'a> {
    /// The whole.
    pub hypervisor: &'a Hypervisor,
    /// The domain that calls.
    pub caller: &'a Arc<Domain>,
    /// The vcpu that calls.
    pub vcpu: &'a Vcpu,
    /// Its processor, for translating addresses.
    pub cpu: &'a dyn VirtCpu,
    /// The layout of the arguments.
    pub width: Width,
    /// The time of the call.
    pub now: Instant,
}

impl<'a> Context<'a> {
    /// The caller's memory by guest-physical address.
    #[must_use]
    pub fn memory(&self) -> GuestMemory<'a> {
        self.caller.guest_memory()
    }

    /// Finds out which domain a number means; `DOMID_SELF` is the caller.
    ///
    /// # Errors
    /// When there is no such domain.
    pub fn domain(&self, raw: u16) -> Result<Arc<Domain>, Errno> {
        self.domain_by_id(self.domain_id(raw)).ok_or(Errno::NO_DOMAIN)
    }

    /// The domain with this number, if there is one; the caller is, even when it is no longer listed.
    #[must_use]
    pub fn domain_by_id(&self, id: DomainId) -> Option<Arc<Domain>> {
        if id == self.caller.id {
            return Some(self.caller.clone());
        }
        self.hypervisor.domain(id)
    }

    /// The number of the domain that a number means: `DOMID_SELF` is the caller, all else itself.
    #[must_use]
    pub fn domain_id(&self, raw: u16) -> DomainId {
        if raw == SELF {
            self.caller.id
        } else {
            DomainId::new(raw)
        }
    }

    /// Goes on only if the policy allows it.
    ///
    /// # Errors
    /// When it does not; its reason is in the log, and the denial is counted.
    pub fn authorise(&self, request: impl Into<Request>) -> Result<(), Denied> {
        self.hypervisor.authorise(self.caller, &request.into())
    }

    /// The guest-physical address behind one of the caller's own.
    ///
    /// # Errors
    /// When the caller's page tables do not allow the access.
    pub fn translate(&self, at: u64, access: Access) -> Result<GuestAddr, Errno> {
        Ok(self.cpu.translate(&self.memory(), LinearAddr::new(at), access)?)
    }

    /// Calls `each` with the guest-physical address and the range of each piece that lies in one page.
    fn pieces(
        &self,
        at: u64,
        bytes: usize,
        access: Access,
        mut each: impl FnMut(GuestAddr, core::ops::Range<usize>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut done = 0;
        while done < bytes {
            let here = at.checked_add(done as u64).ok_or(Errno::FAULT)?;
            let left = usize::try_from(FRAME_SIZE - here % FRAME_SIZE).unwrap_or(0);
            let end = bytes.min(done.saturating_add(left));
            each(self.translate(here, access)?, done..end)?;
            done = end;
        }
        Ok(())
    }

    /// Reads bytes, once.
    ///
    /// # Errors
    /// When they are not all readable memory.
    pub fn read_bytes(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        let memory = self.memory();
        self.pieces(at, into.len(), Access::Read, |gaddr, range| {
            let piece = into.get_mut(range).ok_or(Errno::FAULT)?;
            Ok(memory.read(gaddr, piece)?)
        })
    }

    /// Writes bytes. For answers that may fail without harm; otherwise [`Context::reserve`] first.
    ///
    /// # Errors
    /// When they are not all writable memory; some may have been written.
    pub fn write_bytes(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        let memory = self.memory();
        self.pieces(at, from.len(), Access::ReadWrite, |gaddr, range| {
            let piece = from.get(range).ok_or(Errno::FAULT)?;
            Ok(memory.write(gaddr, piece)?)
        })
    }

    /// Reads an argument, once.
    ///
    /// # Errors
    /// When it is not all readable memory.
    pub fn read<T: FromBytes + IntoBytes>(&self, at: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(at, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes an answer. For answers that may fail without harm; otherwise [`Context::reserve`] first.
    ///
    /// # Errors
    /// When it is not all writable memory.
    pub fn write<T: IntoBytes + Immutable>(&self, at: u64, value: &T) -> Result<(), Errno> {
        self.write_bytes(at, value.as_bytes())
    }

    /// Finds and pins the place for an answer of `T`'s size, before the work that it will report.
    ///
    /// # Errors
    /// When it is not all writable memory, or is longer than an answer can be.
    pub fn reserve<T: IntoBytes + Immutable>(&self, at: u64) -> Result<Reply<'a, T>, Errno> {
        if size_of::<T>() > LONGEST_ANSWER {
            return Err(Errno::TOO_LONG);
        }
        let memory = self.memory();
        let mut place = memory.nothing_reserved();
        self.pieces(at, size_of::<T>(), Access::ReadWrite, |gaddr, range| {
            Ok(memory.reserve_more(&mut place, gaddr, range.len())?)
        })?;
        Ok(Reply {
            place,
            answer: core::marker::PhantomData,
        })
    }
}

/// A reserved place for an answer. Sending it cannot fail.
#[must_use = "an answer that is not sent is lost"]
pub struct Reply<'a, T> {
    place: Reserved<'a>,
    answer: core::marker::PhantomData<fn(T)>,
}

impl<T: IntoBytes + Immutable> Reply<'_, T> {
    /// Puts the answer where the caller will find it.
    pub fn send(self, answer: &T) {
        self.place.send_value(answer);
    }
}
