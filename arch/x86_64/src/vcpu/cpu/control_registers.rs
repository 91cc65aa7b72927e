//! MOV to CR0 and CR4, done in the guest's stead: where the processor does not let the guest have a bit, or where
//! CPUID decides on it.
//!
//! SDM vol. 3 §2.5, §4.1.2, §4.4.1; APM vol. 2 §3.1, §5.2.

use xenvisor_core::machine::GuestRam;
use xenvisor_core::number::GuestAddr;

use super::contract::low;
use super::instruction::advanced;
use super::{CR0_PE, Cpu, EFER_LMA, Served};
use crate::emulate::CodeSize;
use crate::emulate::length::{ControlOperation, control_access};
use crate::emulate::register::General;
use crate::guest::exception::Exception;
use crate::vcpu::engine::{Engine, Register, SegmentRegister};

const CR0_ET: u64 = 1 << 4;
const CR0_WP: u64 = 1 << 16;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
/// PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG: what there is. A write of any other bit below 32 is ignored.
const CR0_KNOWN: u64 = 0xe005_003f;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_PGE: u64 = 1 << 7;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_SMEP: u64 = 1 << 20;
const EFER_LME: u64 = 1 << 8;
/// The L bit of a segment's attributes.
const LONG: u32 = 1 << 13;
/// The bits of a page directory pointer that must be zero, below the machine's addresses: 8:5 and 2:1.
const POINTER_RESERVED: u64 = 0x1e6;
const PRESENT: u64 = 1;

impl<E: Engine> Cpu<E> {
    pub(super) fn write_cr0(&mut self, from: u8, guest: &dyn GuestRam) -> Served {
        let size = self.code_size();
        let Some(next) = self.engine.next_rip(self.registers.rip, size) else {
            return Served::Again;
        };
        let value = self.moved(from);
        let old = self.engine.get(Register::Cr0);
        if !self.is_privileged() || !self.may_set_cr0(value) {
            return self.refuse(Exception::GP);
        }
        let value = value & CR0_KNOWN | CR0_ET;
        let efer = self.engine.get(Register::Efer);
        let turns_on = value & CR0_PG != 0 && old & CR0_PG == 0;
        let turns_off = value & CR0_PG == 0 && old & CR0_PG != 0;
        if turns_on && efer & EFER_LME == 0 && self.engine.get(Register::Cr4) & CR4_PAE != 0 {
            let Some(pointers) = self.read_page_directory_pointers(guest) else {
                return self.refuse(Exception::GP);
            };
            self.engine.set_page_directory_pointers(pointers);
        }
        self.engine.set(Register::Cr0, value);
        if turns_on && efer & EFER_LME != 0 {
            self.engine.set(Register::Efer, efer | EFER_LMA);
        } else if turns_off && efer & EFER_LMA != 0 {
            self.engine.set(Register::Efer, efer & !EFER_LMA);
        }
        if (value ^ old) & (CR0_PG | CR0_PE | CR0_WP) != 0 {
            self.engine.flush();
        }
        self.step_to(next);
        Served::Again
    }

    /// Whether CR0 may become this.
    fn may_set_cr0(&self, value: u64) -> bool {
        let old = self.engine.get(Register::Cr0);
        let cr4 = self.engine.get(Register::Cr4);
        let efer = self.engine.get(Register::Efer);
        let code = self.engine.segment(SegmentRegister::Cs);
        let pages = value & CR0_PG != 0;
        let enters_long = pages && old & CR0_PG == 0 && efer & EFER_LME != 0;
        value >> 32 == 0
            && !(pages && value & CR0_PE == 0)
            && value & (CR0_CD | CR0_NW) != CR0_NW
            && !(enters_long && (cr4 & CR4_PAE == 0 || code.attributes & LONG != 0))
            && (pages || old & CR0_PG == 0 || (self.code_size() != CodeSize::Bits64 && cr4 & CR4_PCIDE == 0))
    }

    /// Loads the page directory pointers of a vcpu that begins with PAE paging. Without memory there, nothing is mapped.
    pub(super) fn load_due_pointers(&mut self, guest: &dyn GuestRam) {
        if core::mem::take(&mut self.pointers_due) {
            let pointers = self.read_page_directory_pointers(guest).unwrap_or_default();
            self.engine.set_page_directory_pointers(pointers);
        }
    }

    /// Whether the engine's state is that of PAE paging.
    pub(super) fn pages_by_pae(&self) -> bool {
        self.engine.get(Register::Cr0) & CR0_PG != 0
            && self.engine.get(Register::Cr4) & CR4_PAE != 0
            && !self.is_long()
    }

    /// The four entries that PAE paging begins with, where they can be loaded: a reserved bit in a present one is an
    /// error of the guest.
    fn read_page_directory_pointers(&self, guest: &dyn GuestRam) -> Option<[u64; 4]> {
        let at = self.engine.get(Register::Cr3) & 0xffff_ffe0;
        let mut bytes = [0; 32];
        // As a bus without a device: all ones, whose reserved bits are an error.
        guest.read(GuestAddr::new(at), &mut bytes).ok()?;
        let beyond = u64::MAX
            .checked_shl(u32::from(self.policy.address_bits()))
            .unwrap_or(0);
        let mut pointers = [0; 4];
        for (pointer, entry) in pointers.iter_mut().zip(bytes.chunks_exact(8)) {
            *pointer = u64::from_le_bytes(entry.try_into().ok()?);
            if *pointer & PRESENT != 0 && *pointer & (POINTER_RESERVED | beyond) != 0 {
                return None;
            }
        }
        Some(pointers)
    }

    pub(super) fn write_cr4(&mut self, from: Option<u8>, guest: &dyn GuestRam) -> Served {
        let size = self.code_size();
        let told = self.engine.next_rip(self.registers.rip, size);
        let (next, general) = if let (Some(next), Some(general)) = (told, from) {
            (next, general)
        } else {
            let decoded = self.fetch(guest).ok();
            match decoded.and_then(|code| control_access(code.bytes(), size).ok()) {
                Some(access) => match access.operation {
                    ControlOperation::WriteControl { control: 4, general } => (
                        advanced(self.registers.rip, access.length, size),
                        from.unwrap_or(general),
                    ),
                    _ => return Served::Again,
                },
                None => return Served::Again,
            }
        };
        let value = self.moved(general);
        let old = self.engine.get(Register::Cr4);
        if !self.is_privileged() || !self.may_set_cr4(value) {
            return self.refuse(Exception::GP);
        }
        let loads = (value ^ old) & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP) != 0;
        let pages = self.engine.get(Register::Cr0) & CR0_PG != 0;
        if loads && pages && value & CR4_PAE != 0 && !self.is_long() {
            let Some(pointers) = self.read_page_directory_pointers(guest) else {
                return self.refuse(Exception::GP);
            };
            self.engine.set_page_directory_pointers(pointers);
        }
        self.engine.set(Register::Cr4, value);
        // A guest also writes CR4 to make the processor forget translations.
        self.engine.flush();
        self.step_to(next);
        Served::Again
    }

    /// Whether CR4 may become this.
    fn may_set_cr4(&self, value: u64) -> bool {
        let long = self.is_long();
        let turns_on = |bit| value & bit != 0 && self.engine.get(Register::Cr4) & bit == 0;
        value & !self.policy.cr4_allowed() == 0
            && !(long && value & CR4_PAE == 0)
            && !(turns_on(CR4_PCIDE) && (!long || self.engine.get(Register::Cr3) & 0xfff != 0))
    }

    /// What a MOV to a control register moves there.
    fn moved(&self, general: u8) -> u64 {
        let value = General::whole(general).read(&self.registers);
        match self.code_size() {
            CodeSize::Bits64 => value,
            CodeSize::Bits32 | CodeSize::Bits16 => low(value),
        }
    }
}
