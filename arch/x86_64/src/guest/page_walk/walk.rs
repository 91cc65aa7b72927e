//! One attempt at a walk: read an entry a level, check, mark.
//!
//! Nothing is marked before everything has been checked, and a mark only replaces the very entry that was
//! checked. An attempt that meets a changed entry has done no harm and is made again.

use super::{
    Access, Cr0, Cr4, Efer, Kind, PageFault, PageFaultCode, Paging, Privilege, Translation, WalkError,
};
use xenvisor_core::machine::{GuestRam, NotRam};
use xenvisor_core::number::{GuestAddr, LinearAddr, Order};

pub(super) const PRESENT: u64 = 1;
pub(super) const WRITABLE: u64 = 1 << 1;
pub(super) const USER: u64 = 1 << 2;
pub(super) const ACCESSED: u64 = 1 << 5;
pub(super) const DIRTY: u64 = 1 << 6;
pub(super) const LARGE: u64 = 1 << 7;
pub(super) const NO_EXECUTE: u64 = 1 << 63;

/// How the guest translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Off,
    TwoLevel,
    Pae,
    FourLevel,
}

impl Paging {
    pub(super) fn mode(&self) -> Mode {
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

pub(super) struct Walk<'a> {
    pub(super) memory: &'a dyn GuestRam,
    pub(super) paging: &'a Paging,
    pub(super) mode: Mode,
    pub(super) address: LinearAddr,
    pub(super) access: Access,
}

impl Walk<'_> {
    /// One attempt; `None` when a table changed between reading and marking.
    pub(super) fn once(&self) -> Result<Option<Translation>, WalkError> {
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
