//! Port accesses. Nobody here emulates a port: each access goes to the hypervisor, which completes it.
//!
//! A string instruction is done one element at a time: the guest stays on it until its count is used up, so that it can
//! be interrupted in between as on hardware.

use xenvisor_core::machine::{Exit, GuestRam};
use xenvisor_core::number::LinearAddr;

use super::contract::low;
use super::exits::low_word;
use super::{Served, SvmCpu, Unfinished};
use crate::emulate::CodeSize;
use crate::guest::exception::Exception;
use crate::guest::page_walk::{self, Access, Kind, WalkError};
use crate::svm::reason::PortAccess;

const RFLAGS_DF: u64 = 1 << 10;

impl SvmCpu {
    /// A port instruction was intercepted.
    pub(super) fn port(&mut self, access: PortAccess, guest: &dyn GuestRam) -> Served {
        if access.is_string && access.is_repeated && self.count() == 0 {
            self.step_to(access.next_rip);
            return Served::Again;
        }
        let PortAccess { port, bytes, .. } = access;
        let exit = if access.is_read {
            Exit::PortRead { port, bytes }
        } else {
            let value = if access.is_string {
                match self.read_element(guest, bytes) {
                    Ok(value) => value,
                    Err(error) => return self.walk_failed(error),
                }
            } else {
                low_word(self.registers.rax) & mask(bytes)
            };
            Exit::PortWrite { port, bytes, value }
        };
        self.unfinished = Unfinished::Port(access);
        Served::Exit(exit)
    }

    /// The hypervisor has done the access; `value` is what a read gave.
    pub(super) fn finish_port(&mut self, value: u32) {
        let Unfinished::Port(access) = self.unfinished else {
            return;
        };
        self.unfinished = Unfinished::Nothing;
        let value = value & mask(access.bytes);
        match (access.is_read, access.is_string) {
            // It goes to memory, which is at hand in the next run.
            (true, true) => self.unfinished = Unfinished::StringInput { access, value },
            (false, true) => self.next_element(access),
            (true, false) => {
                let rax = &mut self.registers.rax;
                *rax = match access.bytes {
                    // 32-bit results clear the upper half, smaller ones leave the rest alone.
                    4 => u64::from(value),
                    bytes => *rax & !u64::from(mask(bytes)) | u64::from(value),
                };
                self.step_to(access.next_rip);
            }
            (false, false) => self.step_to(access.next_rip),
        }
    }

    /// Puts the value of a string input into memory.
    pub(super) fn finish_string_input(&mut self, guest: &dyn GuestRam) -> Option<Exit> {
        let Unfinished::StringInput { access, value } = self.unfinished else {
            return None;
        };
        self.unfinished = Unfinished::Nothing;
        // INS always writes to ES; in 64-bit mode its base does not count.
        let base = self.engine.block().save.es.base;
        let at = self.string_address(base, self.registers.rdi);
        match self.write_memory(guest, at, &value.to_le_bytes(), access.bytes) {
            Ok(()) => self.next_element(access),
            Err(error) => {
                // The device has been read already; the guest cannot see the difference to a device that gives the
                // value again.
                self.walk_failed(error);
            }
        }
        None
    }

    fn next_element(&mut self, access: PortAccess) {
        let step = u64::from(access.bytes);
        let backwards = self.registers.rflags & RFLAGS_DF != 0;
        let size = self.code_size();
        let registers = &mut self.registers;
        let index = if access.is_read {
            &mut registers.rdi
        } else {
            &mut registers.rsi
        };
        let moved = if backwards {
            index.wrapping_sub(step)
        } else {
            index.wrapping_add(step)
        };
        *index = within(*index, moved, size);
        if access.is_repeated {
            registers.rcx = within(registers.rcx, registers.rcx.wrapping_sub(1), size);
            if self.count() != 0 {
                return;
            }
        }
        self.step_to(access.next_rip);
    }

    /// The count of a repeated instruction.
    const fn count(&self) -> u64 {
        self.registers.rcx
    }

    /// The element an OUTS is to write. DS, unless the processor tells of an override, which not all do.
    fn read_element(&self, guest: &dyn GuestRam, bytes: u8) -> Result<u32, WalkError> {
        let base = self.engine.block().save.ds.base;
        let at = self.string_address(base, self.registers.rsi);
        let mut value = [0; 4];
        for (offset, byte) in (0..bytes).zip(&mut value) {
            let at = LinearAddr::new(at.wrapping_add(u64::from(offset)));
            let access = Access {
                kind: Kind::Read,
                privilege: self.privilege(),
            };
            let found = page_walk::translate(guest, &self.paging(), at, access)?;
            if guest.read(found.at, core::slice::from_mut(byte)).is_err() {
                *byte = 0xff;
            }
        }
        Ok(u32::from_le_bytes(value))
    }

    fn write_memory(
        &self,
        guest: &dyn GuestRam,
        at: u64,
        value: &[u8; 4],
        bytes: u8,
    ) -> Result<(), WalkError> {
        let access = Access {
            kind: Kind::Write,
            privilege: self.privilege(),
        };
        // First all translations, then the writes: half of an element is never written.
        let mut places = [None; 4];
        for (offset, place) in (0..bytes).zip(&mut places) {
            let at = LinearAddr::new(at.wrapping_add(u64::from(offset)));
            *place = Some(page_walk::translate(guest, &self.paging(), at, access)?);
        }
        for (place, byte) in places.iter().flatten().zip(value) {
            // Where there is no memory, the write vanishes as on a bus without a device.
            let _ = guest.write(place.at, core::slice::from_ref(byte));
        }
        Ok(())
    }

    fn string_address(&self, base: u64, offset: u64) -> u64 {
        match self.code_size() {
            CodeSize::Bits64 => offset,
            CodeSize::Bits32 => low(base.wrapping_add(low(offset))),
            CodeSize::Bits16 => low(base.wrapping_add(offset & 0xffff)),
        }
    }

    /// A walk for an instruction done here has failed: what the guest gets for it.
    pub(super) fn walk_failed(&mut self, error: WalkError) -> Served {
        match error {
            WalkError::Fault(fault) => self.refuse(Exception::Page(fault)),
            WalkError::NonCanonical(_) => self.refuse(Exception::GP),
            // The processor will meet the same table by itself, and its exit says more.
            WalkError::TableOutsideMemory(_) | WalkError::Contended => Served::Again,
        }
    }
}

/// The part of an index or count register that an instruction of this address size changes.
fn within(old: u64, new: u64, size: CodeSize) -> u64 {
    match size {
        CodeSize::Bits64 => new,
        CodeSize::Bits32 => low(new),
        CodeSize::Bits16 => old & !0xffff | new & 0xffff,
    }
}

const fn mask(bytes: u8) -> u32 {
    match bytes {
        1 => 0xff,
        2 => 0xffff,
        _ => u32::MAX,
    }
}
