//! The guest's memory as this vcpu sees it: walks of its page tables, and the bytes it executes.

use xenvisor_core::machine::{self, BadAddress, GuestRam};
use xenvisor_core::number::{GuestAddr, LinearAddr};

use super::{EFER_LMA, SvmCpu};
use crate::emulate::{CodeSize, LONGEST};
use crate::guest::page_walk::{self, Access, Cr0, Cr4, Efer, Kind, Paging, Privilege, WalkError};
use crate::svm::reason::NESTED_FAULT;
use crate::svm::segment::{BIG, LONG};

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

impl SvmCpu {
    /// How the guest's tables are walked now.
    pub(super) fn paging(&self) -> Paging {
        let save = &self.engine.block().save;
        Paging {
            cr0: Cr0::from_bits_retain(save.cr0),
            cr3: save.cr3,
            cr4: Cr4::from_bits_retain(save.cr4),
            efer: Efer::from_bits_retain(save.efer),
            // Under nested paging the processor too reads them from memory.
            pointers: None,
            // Never offered to guests, so CR4.PKE is never set.
            protection_keys: 0,
            address_bits: self.policy.address_bits(),
            huge_pages: self.policy.has_huge_pages(),
        }
    }

    /// The privilege that the guest's code has now.
    pub(super) fn privilege(&self) -> Privilege {
        if self.engine.block().save.cpl == 3 {
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

    /// How the bytes at the instruction pointer are to be read.
    pub(super) fn code_size(&self) -> CodeSize {
        let save = &self.engine.block().save;
        if save.efer & EFER_LMA != 0 && save.cs.attributes & LONG != 0 {
            CodeSize::Bits64
        } else if save.cs.attributes & BIG != 0 {
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        }
    }

    /// Where the instruction pointer is, linear.
    fn code_address(&self) -> u64 {
        let at = self.engine.block().save.cs.base.wrapping_add(self.registers.rip);
        match self.code_size() {
            // The base of CS does not count there, and is kept at 0 by the processor.
            CodeSize::Bits64 => self.registers.rip,
            _ => at & 0xffff_ffff,
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
        // Processors with decode assists have fetched them already, for this kind of exit.
        let control = &self.engine.block().control;
        let given = usize::from(control.fetched).min(LONGEST);
        if self.engine.assists().decode && control.exit_code == NESTED_FAULT && given > 0 {
            code.bytes = control.instruction;
            code.count = given;
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
