//! A walk of a guest's own page tables in software: what the processor would do with a linear address.
//!
//! Use by a backend: fill a [`Paging`] from the guest's control registers at an exit, then [`translate`]
//! each address with the [`Access`] that the guest's action amounts to. A hypercall argument is a
//! supervisor access; a string instruction is whatever privilege the guest had. One call covers one page:
//! an object that crosses into the next page needs a call for each ([`Translation::left`] says how far one
//! reaches). A fault comes out as the guest would get it, ready to inject.
//!
//! All four modes are here: no paging, 32-bit, PAE and four-level. Accessed and Dirty bits are set as
//! hardware sets them, by compare-and-exchange, and only once the whole walk has succeeded.
//! Every entry is read once: what was checked is what is used. Invariant: no table content, however odd,
//! makes a walk longer than four reads (times a few attempts when another processor changes the tables).
//! SDM vol. 3 §4, APM vol. 2 §5.
//!
//! One tolerance: the Accessed bit of a PAE page-directory-pointer entry is reserved, yet QEMU's TCG sets
//! it under nested paging. It is not treated as reserved here.

use bitflags::bitflags;
use xenvisor_core::machine::GuestRam;
use xenvisor_core::number::{GuestAddr, LinearAddr, Order};

#[cfg(test)]
mod tests;
mod walk;

use walk::{Mode, Walk};

bitflags! {
    /// The bits of CR0 that change a walk.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Cr0: u64 {
        /// Supervisor writes respect read-only pages.
        const WRITE_PROTECT = 1 << 16;
        /// Paging is on.
        const PAGING = 1 << 31;
        const _ = !0;
    }

    /// The bits of CR4 that change a walk.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Cr4: u64 {
        /// 4 MiB pages in 32-bit paging.
        const PAGE_SIZE_EXTENSIONS = 1 << 4;
        /// 64-bit entries.
        const PHYSICAL_ADDRESS_EXTENSION = 1 << 5;
        /// The supervisor may not execute user pages.
        const SMEP = 1 << 20;
        /// The supervisor may not touch user pages unless EFLAGS.AC says so.
        const SMAP = 1 << 21;
        /// Protection keys for user pages.
        const PROTECTION_KEYS = 1 << 22;
        const _ = !0;
    }

    /// The bits of EFER that change a walk.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Efer: u64 {
        /// Long mode is active.
        const LONG_MODE_ACTIVE = 1 << 10;
        /// Bit 63 of an entry forbids execution.
        const NO_EXECUTE = 1 << 11;
        const _ = !0;
    }

    /// The error code of a page fault (SDM vol. 3 §4.7).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFaultCode: u32 {
        /// The page was present; its rights forbade the access.
        const PRESENT = 1;
        /// The access was a write.
        const WRITE = 1 << 1;
        /// The access was made in user mode.
        const USER = 1 << 2;
        /// An entry had a reserved bit set.
        const RESERVED = 1 << 3;
        /// The access was an instruction fetch.
        const FETCH = 1 << 4;
        /// A protection key forbade the access.
        const KEY = 1 << 5;
    }
}

/// What the guest's processor state says about its paging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paging {
    /// CR0.
    pub cr0: Cr0,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: Cr4,
    /// EFER.
    pub efer: Efer,
    /// The four PAE directory pointers where the processor holds them in registers (VMX). `None`: they
    /// are read from memory at each walk (SVM with nested paging, APM vol. 2 §15.25.10).
    pub pointers: Option<[u64; 4]>,
    /// PKRU, read only when CR4 turns protection keys on.
    pub protection_keys: u32,
    /// Physical address bits that the guest's CPUID shows (leaf 0x80000008): the bits above are reserved.
    pub address_bits: u8,
    /// Whether the guest's CPUID offers 1 GiB pages.
    pub huge_pages: bool,
}

/// On whose behalf memory is touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privilege {
    /// Code at privilege level 3.
    User,
    /// Code at levels 0 to 2.
    Supervisor {
        /// EFLAGS.AC: lifts SMAP.
        alignment_check: bool,
    },
    /// The processor itself at any level: descriptor tables, task state. SMAP always holds.
    Implicit,
}

/// What is done with memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A data read.
    Read,
    /// A data write, or a read that will be followed by one.
    Write,
    /// An instruction fetch.
    Execute,
}

/// One access: what, on whose behalf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// What is done.
    pub kind: Kind,
    /// On whose behalf.
    pub privilege: Privilege,
}

/// Where a linear address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The guest-physical address.
    pub at: GuestAddr,
    /// The size of the page around it (order 10 is 32-bit paging's 4 MiB).
    pub page: Order,
}

impl Translation {
    /// Bytes from the address to the end of its page, at least 1.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.page.bytes() - (self.at.raw() & (self.page.bytes() - 1))
    }
}

/// A page fault as the guest gets it: CR2 and the error code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFault {
    /// The address that faulted.
    pub address: LinearAddr,
    /// Why.
    pub code: PageFaultCode,
}

/// Why an address leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkError {
    /// The guest gets this page fault.
    Fault(PageFault),
    /// The address is not canonical: the guest gets #GP(0), or #SS(0) for a stack reference.
    NonCanonical(LinearAddr),
    /// The guest keeps a page table where it has no memory.
    TableOutsideMemory(GuestAddr),
    /// Another processor kept changing the tables. Nothing has happened: run the guest's instruction again.
    Contended,
}

/// Attempts before a walk gives up against a guest that rewrites its tables under it.
const ATTEMPTS: u32 = 8;

/// Where `address` leads for this access, with Accessed and Dirty bits set as hardware would.
///
/// # Errors
/// See [`WalkError`]; nothing in guest memory has changed then, except Accessed bits in the contended case.
pub fn translate(
    memory: &dyn GuestRam,
    paging: &Paging,
    address: LinearAddr,
    access: Access,
) -> Result<Translation, WalkError> {
    let mode = paging.mode();
    let address = match mode {
        Mode::FourLevel if !is_canonical(address) => return Err(WalkError::NonCanonical(address)),
        Mode::FourLevel => address,
        _ => LinearAddr::new(address.raw() & 0xffff_ffff),
    };
    if mode == Mode::Off {
        return Ok(Translation {
            at: GuestAddr::new(address.raw()),
            page: Order::FRAME,
        });
    }
    for _ in 0..ATTEMPTS {
        let walk = Walk {
            memory,
            paging,
            mode,
            address,
            access,
        };
        if let Some(translation) = walk.once()? {
            return Ok(translation);
        }
    }
    Err(WalkError::Contended)
}

/// Whether bits 63 to 47 agree, as four-level paging demands.
#[must_use]
pub const fn is_canonical(address: LinearAddr) -> bool {
    let top = address.raw() >> 47;
    top == 0 || top == 0x1_ffff
}
