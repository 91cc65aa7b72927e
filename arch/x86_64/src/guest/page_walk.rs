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
use xenvisor_core::machine::{GuestRam, NotRam};
use xenvisor_core::number::{GuestAddr, LinearAddr, Order};

#[cfg(test)]
mod tests;

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

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Off,
    TwoLevel,
    Pae,
    FourLevel,
}

impl Paging {
    fn mode(&self) -> Mode {
        if !self.cr0.contains(Cr0::PAGING) {
            Mode::Off
        } else if !self.cr4.contains(Cr4::PHYSICAL_ADDRESS_EXTENSION) {
            Mode::TwoLevel
        } else if self.efer.contains(Efer::LONG_MODE_ACTIVE) {
            Mode::FourLevel
        } else {
            Mode::Pae
        }
    }

    /// Address bits of a 64-bit entry: 51:12 at most.
    fn frame_mask(&self) -> u64 {
        low_bits(self.address_bits.clamp(32, 52)) & !0xfff
    }
}

/// A number with its `count` low bits set (`count` below 64).
fn low_bits(count: u8) -> u64 {
    1_u64
        .checked_shl(u32::from(count))
        .map_or(u64::MAX, |bit| bit.wrapping_sub(1))
}

/// One entry on the way, with all it takes to set a bit in it.
#[derive(Clone, Copy)]
struct Step {
    /// The 8-byte word that holds the entry.
    word_at: GuestAddr,
    word: u64,
    /// The entry's place in the word: 0, or 32 for the odd entries of 32-bit paging.
    shift: u8,
    /// log2 of what one entry of this level maps.
    level_shift: u8,
    entry: u64,
}

struct Walk<'a> {
    memory: &'a dyn GuestRam,
    paging: &'a Paging,
    mode: Mode,
    address: LinearAddr,
    access: Access,
}

impl Walk<'_> {
    /// One attempt; `None` when a table changed between reading and marking.
    fn once(&self) -> Result<Option<Translation>, WalkError> {
        let mut steps: [Option<Step>; 4] = [None; 4];
        let mut rights = PRESENT | WRITABLE | USER;
        let mut forbidden = 0;
        let (mut table, shifts): (u64, &[u8]) = match self.mode {
            Mode::FourLevel => (self.paging.cr3 & self.paging.frame_mask(), &[39, 30, 21, 12]),
            Mode::Pae => (self.pointer()? & self.paging.frame_mask(), &[21, 12]),
            Mode::TwoLevel | Mode::Off => (self.paging.cr3 & 0xffff_f000, &[22, 12]),
        };
        let mut leaf = None;
        for (slot, &level_shift) in steps.iter_mut().zip(shifts) {
            let step = self.read(table, level_shift)?;
            *slot = Some(step);
            if step.entry & PRESENT == 0 {
                return Err(self.fault(PageFaultCode::empty()));
            }
            if step.entry & self.reserved(step) != 0 {
                return Err(self.fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED));
            }
            rights &= step.entry;
            forbidden |= step.entry & NO_EXECUTE;
            if self.is_leaf(step) {
                leaf = Some(step);
                break;
            }
            table = step.entry & self.entry_frame_mask();
        }
        // The last level of every mode is a leaf, so this is always there.
        let Some(leaf) = leaf else { return Ok(None) };
        self.check(rights, forbidden != 0, leaf)?;
        for step in steps.iter().flatten() {
            if !self.mark(*step, step.level_shift == leaf.level_shift)? {
                return Ok(None);
            }
        }
        Ok(Some(self.arrive(leaf)))
    }

    /// The directory pointer of PAE paging for this address.
    fn pointer(&self) -> Result<u64, WalkError> {
        let index = (self.address.raw() >> 30) & 3;
        let pointer = match self.paging.pointers {
            Some(pointers) => usize::try_from(index)
                .ok()
                .and_then(|index| pointers.get(index))
                .copied(),
            None => {
                let at = GuestAddr::new((self.paging.cr3 & 0xffff_ffe0) | (index << 3));
                Some(self.word(at)?)
            }
        }
        .unwrap_or(0);
        if pointer & PRESENT == 0 {
            return Err(self.fault(PageFaultCode::empty()));
        }
        // Bits 2:1, 8:6 and everything above the address; bit 5 is tolerated (see the header).
        if pointer & !(self.paging.frame_mask() | 0xe00 | ACCESSED | 0x18 | PRESENT) != 0 {
            return Err(self.fault(PageFaultCode::PRESENT | PageFaultCode::RESERVED));
        }
        Ok(pointer)
    }

    /// The aligned 64-bit word at a guest-physical address.
    fn word(&self, at: GuestAddr) -> Result<u64, WalkError> {
        let mut bytes = [0; 8];
        self.memory
            .read(at, &mut bytes)
            .map_err(|NotRam(at)| WalkError::TableOutsideMemory(at))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn read(&self, table: u64, level_shift: u8) -> Result<Step, WalkError> {
        let (index, shift) = if self.mode == Mode::TwoLevel {
            let index = (self.address.raw() >> level_shift) & 0x3ff;
            (index >> 1, if index & 1 == 0 { 0 } else { 32 })
        } else {
            ((self.address.raw() >> level_shift) & 0x1ff, 0)
        };
        let word_at = GuestAddr::new(table | (index << 3));
        let word = self.word(word_at)?;
        let mut entry = word >> shift;
        if self.mode == Mode::TwoLevel {
            entry &= 0xffff_ffff;
        }
        Ok(Step {
            word_at,
            word,
            shift,
            level_shift,
            entry,
        })
    }

    fn is_leaf(&self, step: Step) -> bool {
        let may_be_large = match self.mode {
            Mode::TwoLevel => self.paging.cr4.contains(Cr4::PAGE_SIZE_EXTENSIONS),
            _ => step.level_shift < 39,
        };
        step.level_shift == 12 || (may_be_large && step.entry & LARGE != 0)
    }

    fn entry_frame_mask(&self) -> u64 {
        if self.mode == Mode::TwoLevel {
            0xffff_f000
        } else {
            self.paging.frame_mask()
        }
    }

    /// The bits that must be clear in this entry.
    fn reserved(&self, step: Step) -> u64 {
        if self.mode == Mode::TwoLevel {
            // A 4 MiB leaf carries address bits 39:32 in bits 20:13 (PSE-36); bit 21 is reserved, and so
            // are those of bits 20:13 beyond the guest's physical addresses.
            if step.level_shift != 12 && self.is_leaf(step) {
                let extra = self.paging.address_bits.clamp(32, 40).saturating_sub(32);
                return 0x003f_e000 & !(low_bits(extra) << 13);
            }
            return 0;
        }
        let mut reserved = low_bits(52) & !low_bits(self.paging.address_bits.clamp(32, 52));
        if !self.paging.efer.contains(Efer::NO_EXECUTE) {
            reserved |= NO_EXECUTE;
        }
        if self.mode == Mode::Pae {
            reserved |= 0x7ff << 52;
        }
        if step.entry & LARGE != 0 {
            reserved |= match step.level_shift {
                39 => LARGE,
                30 if !self.paging.huge_pages => LARGE,
                30 => low_bits(30) & !low_bits(13),
                21 => low_bits(21) & !low_bits(13),
                _ => 0,
            };
        }
        reserved
    }

    /// Whether the combined rights of the way allow the access (SDM vol. 3 §4.6).
    fn check(&self, rights: u64, forbidden: bool, leaf: Step) -> Result<(), WalkError> {
        let user_page = rights & USER != 0;
        let writable = rights & WRITABLE != 0;
        let is_user = self.access.privilege == Privilege::User;
        let denied = match self.access.kind {
            Kind::Execute => {
                let enabled = self.mode != Mode::TwoLevel && self.paging.efer.contains(Efer::NO_EXECUTE);
                (enabled && forbidden)
                    || (is_user && !user_page)
                    || (!is_user && user_page && self.paging.cr4.contains(Cr4::SMEP))
            }
            Kind::Read | Kind::Write => {
                let lifted = self.access.privilege
                    == Privilege::Supervisor {
                        alignment_check: true,
                    };
                let respects = is_user || self.paging.cr0.contains(Cr0::WRITE_PROTECT);
                (is_user && !user_page)
                    || (!is_user && user_page && self.paging.cr4.contains(Cr4::SMAP) && !lifted)
                    || (self.access.kind == Kind::Write && !writable && respects)
            }
        };
        if denied {
            return Err(self.fault(PageFaultCode::PRESENT));
        }
        if user_page && self.key_forbids(leaf) {
            return Err(self.fault(PageFaultCode::PRESENT | PageFaultCode::KEY));
        }
        Ok(())
    }

    /// Protection keys guard data accesses to user pages (SDM vol. 3 §4.6.2).
    fn key_forbids(&self, leaf: Step) -> bool {
        if self.mode != Mode::FourLevel
            || !self.paging.cr4.contains(Cr4::PROTECTION_KEYS)
            || self.access.kind == Kind::Execute
        {
            return false;
        }
        let key = (leaf.entry >> 59) & 0xf;
        let bits = u64::from(self.paging.protection_keys) >> (key << 1);
        let respects =
            self.access.privilege == Privilege::User || self.paging.cr0.contains(Cr0::WRITE_PROTECT);
        bits & 1 != 0 || (bits & 2 != 0 && self.access.kind == Kind::Write && respects)
    }

    /// Sets the Accessed bit, and in a written leaf the Dirty bit; says whether the entry was still there.
    fn mark(&self, step: Step, is_leaf: bool) -> Result<bool, WalkError> {
        let mut bits = ACCESSED;
        if is_leaf && self.access.kind == Kind::Write {
            bits |= DIRTY;
        }
        if step.entry & bits == bits {
            return Ok(true);
        }
        self.memory
            .compare_exchange(step.word_at, step.word, step.word | (bits << step.shift))
            .map_err(|NotRam(at)| WalkError::TableOutsideMemory(at))
    }

    fn arrive(&self, leaf: Step) -> Translation {
        let inside = low_bits(leaf.level_shift);
        let mut frame = leaf.entry & self.entry_frame_mask() & !inside;
        if self.mode == Mode::TwoLevel && leaf.level_shift != 12 {
            frame |= ((leaf.entry >> 13) & 0xff) << 32;
        }
        let order = Order::new(leaf.level_shift.saturating_sub(12));
        Translation {
            at: GuestAddr::new(frame | (self.address.raw() & inside)),
            page: order.unwrap_or(Order::FRAME),
        }
    }

    /// A page fault with this cause and the access in its code.
    fn fault(&self, cause: PageFaultCode) -> WalkError {
        let mut code = cause;
        match self.access.kind {
            Kind::Read => {}
            Kind::Write => code |= PageFaultCode::WRITE,
            Kind::Execute => {
                let no_execute = self.mode != Mode::TwoLevel && self.paging.efer.contains(Efer::NO_EXECUTE);
                if no_execute || self.paging.cr4.contains(Cr4::SMEP) {
                    code |= PageFaultCode::FETCH;
                }
            }
        }
        if self.access.privilege == Privilege::User {
            code |= PageFaultCode::USER;
        }
        WalkError::Fault(PageFault {
            address: self.address,
            code,
        })
    }
}
