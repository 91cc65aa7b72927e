//! The guest's memory as this vcpu sees it: walks of its page tables, and the bytes it executes.

use xenvisor_core::machine::{self, BadAddress, GuestRam};
use xenvisor_core::number::{GuestAddr, LinearAddr};

use super::Cpu;
use crate::emulate::{CodeSize, LONGEST};
use crate::guest::page_walk::{self, Access, Cr0, Cr4, Efer, Kind, Paging, Privilege, WalkError};
use crate::vcpu::engine::{Engine, Register, SegmentRegister};

const RFLAGS_AC: u64 = 1 << 18;

/// Bytes of an instruction, as many as could be fetched.
pub(super) struct Code {
    bytes: [u8; LONGEST],
    count: usize,
}

impl Code {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.count).unwrap_or(&self.bytes)
    }
}

impl<E: Engine> Cpu<E> {
    /// How the guest's tables are walked now.
    pub(super) fn paging(&self) -> Paging {
        let engine = &self.engine;
        Paging {
            cr0: Cr0::from_bits_retain(engine.get(Register::Cr0)),
            cr3: engine.get(Register::Cr3),
            cr4: Cr4::from_bits_retain(engine.get(Register::Cr4)),
            efer: Efer::from_bits_retain(engine.get(Register::Efer)),
            pointers: engine.page_directory_pointers(),
            // Never offered to guests, so CR4.PKE is never set.
            protection_keys: 0,
            address_bits: self.policy.address_bits(),
            huge_pages: self.policy.has_huge_pages(),
        }
    }

    /// The privilege that the guest's code has now.
    pub(super) fn privilege(&self) -> Privilege {
        if self.engine.privilege_level() == 3 {
            Privilege::User
        } else {
            Privilege::Supervisor {
                alignment_check: self.registers.rflags & RFLAGS_AC != 0,
            }
        }
    }

    /// Translates an address that the guest's kernel would use.
    pub(super) fn kernel_address(
        &self,
        guest: &dyn GuestRam,
        at: LinearAddr,
        access: machine::Access,
    ) -> Result<GuestAddr, BadAddress> {
        let access = Access {
            kind: match access {
                machine::Access::Read => Kind::Read,
                machine::Access::ReadWrite => Kind::Write,
            },
            privilege: Privilege::Supervisor {
                alignment_check: self.registers.rflags & RFLAGS_AC != 0,
            },
        };
        page_walk::translate(guest, &self.paging(), at, access)
            .map(|found| found.at)
            .map_err(|_| BadAddress(at))
    }

    /// Where the instruction pointer is, linear.
    fn code_address(&self) -> u64 {
        let code = self.engine.segment(SegmentRegister::Cs);
        match CodeSize::of(&code, self.is_long()) {
            // The base of CS does not count there, and is kept at 0 by the processor.
            CodeSize::Bits64 => self.registers.rip,
            _ => code.base.wrapping_add(self.registers.rip) & 0xffff_ffff,
        }
    }

    /// The bytes at the instruction pointer: as many as are there, up to the longest instruction.
    ///
    /// # Errors
    /// Why there is not even one.
    pub(super) fn fetch(&self, guest: &dyn GuestRam) -> Result<Code, WalkError> {
        let mut code = Code {
            bytes: [0; LONGEST],
            count: 0,
        };
        // Some processors have fetched them already, for this kind of exit.
        if let Some((bytes, count)) = self.engine.fetched() {
            code.bytes = *bytes;
            code.count = count;
            return Ok(code);
        }
        let start = self.code_address();
        let paging = self.paging();
        let access = Access {
            kind: Kind::Execute,
            privilege: self.privilege(),
        };
        while code.count < LONGEST {
            let at = LinearAddr::new(start.wrapping_add(code.count as u64));
            let found = match page_walk::translate(guest, &paging, at, access) {
                Ok(found) => found,
                // The instruction may end before this page.
                Err(_) if code.count > 0 => break,
                Err(error) => return Err(error),
            };
            let left = usize::try_from(found.left()).unwrap_or(LONGEST);
            let end = code.count.saturating_add(left).min(LONGEST);
            let Some(piece) = code.bytes.get_mut(code.count..end) else {
                break;
            };
            if guest.read(found.at, piece).is_err() {
                if code.count > 0 {
                    break;
                }
                return Err(WalkError::TableOutsideMemory(found.at));
            }
            code.count = end;
        }
        Ok(code)
    }
}
