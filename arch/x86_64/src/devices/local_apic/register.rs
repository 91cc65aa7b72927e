//! The registers of a local APIC, through either of its doors.
//!
//! Both doors number the registers alike: register `n` is at offset `n << 4` of the xAPIC page and is MSR
//! `0x800 + n` of the x2APIC. They differ in a few registers and in manners: the page ignores nonsense, the
//! MSRs answer it with #GP. SDM vol. 3 tables 10-1 and 10-6.

use super::{
    Effect, Exception, FOCUS_DISABLED, ILLEGAL_REGISTER, Instant, LocalApic, MASKED, SOFTWARE_ENABLE,
    Trigger, VERSION, Vector, timer::Mode, x2apic_logical,
};

/// Which door an access comes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// The xAPIC page.
    Page,
    /// The x2APIC MSRs.
    Msr,
}

/// The local vector table, in the order of its registers 0x32..=0x37.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lvt {
    /// The timer.
    Timer,
    /// The thermal sensor.
    Thermal,
    /// Performance counters.
    Performance,
    /// The first pin.
    Lint0,
    /// The second pin.
    Lint1,
    /// Errors of the APIC itself.
    Error,
}

impl Lvt {
    const ALL: [Self; 6] = [
        Self::Timer,
        Self::Thermal,
        Self::Performance,
        Self::Lint0,
        Self::Lint1,
        Self::Error,
    ];

    /// The bits a guest may set.
    const fn writable(self) -> u32 {
        const VECTOR_AND_MASK: u32 = MASKED | 0xff;
        const DELIVERY_MODE: u32 = 7 << 8;
        const POLARITY_AND_TRIGGER: u32 = 1 << 13 | 1 << 15;
        match self {
            Self::Timer => VECTOR_AND_MASK | 3 << 17,
            Self::Thermal | Self::Performance => VECTOR_AND_MASK | DELIVERY_MODE,
            Self::Lint0 | Self::Lint1 => VECTOR_AND_MASK | DELIVERY_MODE | POLARITY_AND_TRIGGER,
            Self::Error => VECTOR_AND_MASK,
        }
    }

    /// The bits that only the APIC sets; a guest may write back what it read.
    const fn read_only(self) -> u32 {
        match self {
            Self::Lint0 | Self::Lint1 => 1 << 12 | 1 << 14,
            _ => 1 << 12,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Register {
    Id,
    Version,
    TaskPriority,
    ArbitrationPriority,
    ProcessorPriority,
    EndOfInterrupt,
    Logical,
    Format,
    Spurious,
    InService(u32),
    Level(u32),
    Requested(u32),
    ErrorStatus,
    Command,
    CommandHigh,
    Local(Lvt),
    InitialCount,
    CurrentCount,
    Divide,
    SelfIpi,
}

impl Register {
    /// The register of this number at this door.
    #[rustfmt::skip]
    fn at(number: u32, access: Access) -> Option<Self> {
        Some(match number {
            0x02        => Self::Id,
            0x03        => Self::Version,
            0x08        => Self::TaskPriority,
            0x09 if access == Access::Page => Self::ArbitrationPriority,
            0x0a        => Self::ProcessorPriority,
            0x0b        => Self::EndOfInterrupt,
            0x0d        => Self::Logical,
            0x0e if access == Access::Page => Self::Format,
            0x0f        => Self::Spurious,
            0x10..=0x17 => Self::InService(number & 7),
            0x18..=0x1f => Self::Level(number & 7),
            0x20..=0x27 => Self::Requested(number & 7),
            0x28        => Self::ErrorStatus,
            0x30        => Self::Command,
            0x31 if access == Access::Page => Self::CommandHigh,
            0x32        => Self::Local(Lvt::Timer),
            0x33        => Self::Local(Lvt::Thermal),
            0x34        => Self::Local(Lvt::Performance),
            0x35        => Self::Local(Lvt::Lint0),
            0x36        => Self::Local(Lvt::Lint1),
            0x37        => Self::Local(Lvt::Error),
            0x38        => Self::InitialCount,
            0x39        => Self::CurrentCount,
            0x3e        => Self::Divide,
            0x3f if access == Access::Msr  => Self::SelfIpi,
            _ => return None,
        })
    }
}

impl LocalApic {
    /// Reads the xAPIC page. `offset` is in bytes within the page; `size` is 1, 2, 4 or 8.
    ///
    /// Registers are the first four bytes of each sixteen; a read within those gets that part of the register,
    /// and any other read gets 0.
    #[must_use]
    pub fn read_mmio(&self, offset: u64, size: u8, now: Instant) -> u64 {
        let Some((number, shift, mask)) = page_access(offset, size) else {
            return 0;
        };
        let Some(register) = Register::at(number, Access::Page) else {
            return 0;
        };
        let value = self.read(register, Access::Page, now).unwrap_or(0);
        (value >> shift) & mask
    }

    /// Writes the xAPIC page. A write to a part of a register keeps the rest of it; others are ignored.
    pub fn write_mmio(&mut self, offset: u64, size: u8, value: u64, now: Instant) -> Effect {
        let Some((number, shift, mask)) = page_access(offset, size) else {
            return Effect::Nothing;
        };
        let Some(register) = Register::at(number, Access::Page) else {
            self.error(ILLEGAL_REGISTER);
            return Effect::Nothing;
        };
        let kept = self.read(register, Access::Page, now).unwrap_or(0) & !(mask << shift);
        let value = kept | ((value & mask) << shift);
        self.write(register, Access::Page, value & 0xffff_ffff, now)
            .unwrap_or(Effect::Nothing)
    }

    /// Reads an x2APIC MSR, 0x800..=0x8ff.
    ///
    /// # Errors
    /// #GP outside x2APIC mode, and for what does not exist or cannot be read.
    pub fn read_msr(&self, msr: u32, now: Instant) -> Result<u64, Exception> {
        let register = self.msr_register(msr)?;
        self.read(register, Access::Msr, now).ok_or(Exception::GP)
    }

    /// Writes an x2APIC MSR, 0x800..=0x8ff.
    ///
    /// # Errors
    /// #GP outside x2APIC mode, for what does not exist or cannot be written, and for reserved bits.
    pub fn write_msr(&mut self, msr: u32, value: u64, now: Instant) -> Result<Effect, Exception> {
        let register = self.msr_register(msr)?;
        if register != Register::Command && value >> 32 != 0 {
            return Err(Exception::GP);
        }
        self.write(register, Access::Msr, value, now)
    }

    fn msr_register(&self, msr: u32) -> Result<Register, Exception> {
        if !self.base.is_x2apic() {
            return Err(Exception::GP);
        }
        msr.checked_sub(0x800)
            .and_then(|number| Register::at(number, Access::Msr))
            .ok_or(Exception::GP)
    }

    /// An entry of the local vector table.
    pub(super) fn lvt(&self, entry: Lvt) -> u32 {
        let at = Lvt::ALL.iter().position(|other| *other == entry);
        at.and_then(|at| self.lvt.get(at)).copied().unwrap_or(MASKED)
    }

    /// The value of a register; `None` for those that can only be written.
    fn read(&self, register: Register, access: Access, now: Instant) -> Option<u64> {
        Some(u64::from(match register {
            Register::Id if access == Access::Page => (self.id() & 0xff) << 24,
            Register::Id => self.id(),
            Register::Version => VERSION,
            Register::TaskPriority => u32::from(self.task_priority),
            Register::ProcessorPriority => u32::from(self.processor_priority()),
            Register::ArbitrationPriority => 0,
            Register::EndOfInterrupt | Register::SelfIpi => return None,
            Register::Logical if access == Access::Page => self.logical,
            Register::Logical => x2apic_logical(self.id()),
            Register::Format => self.format,
            Register::Spurious => self.spurious,
            Register::InService(index) => self.in_service.register(index),
            Register::Level(index) => self.level.register(index),
            Register::Requested(index) => self.requested.register(index),
            Register::ErrorStatus => self.error_status,
            Register::Command if access == Access::Msr => return Some(self.command),
            Register::Command => low(self.command),
            Register::CommandHigh => low(self.command >> 32),
            Register::Local(entry) => self.lvt(entry),
            Register::InitialCount => self.timer.initial(),
            Register::CurrentCount => self.timer.count(self.timer_mode(), now),
            Register::Divide => self.timer.divide(),
        }))
    }

    /// Writes a register. `access` decides about reserved bits: ignored in the page, #GP in the MSRs.
    fn write(
        &mut self,
        register: Register,
        access: Access,
        value: u64,
        now: Instant,
    ) -> Result<Effect, Exception> {
        // Bits outside `mask` are reserved.
        let checked = |mask: u32| match access {
            Access::Msr if low(value) & !mask != 0 => Err(Exception::GP),
            _ => Ok(low(value) & mask),
        };
        match register {
            Register::TaskPriority => {
                let [priority, ..] = checked(0xff)?.to_le_bytes();
                self.task_priority = priority;
            }
            Register::EndOfInterrupt => {
                checked(0)?;
                return Ok(self.end_of_interrupt());
            }
            Register::Logical if access == Access::Page => self.logical = low(value) & 0xff00_0000,
            Register::Format => self.format = low(value) | 0x0fff_ffff,
            Register::Spurious => {
                // Focus checking is kept where it was, and means nothing.
                let focus = if access == Access::Page { FOCUS_DISABLED } else { 0 };
                self.set_spurious(checked(SOFTWARE_ENABLE | focus | 0xff)?, now);
            }
            Register::ErrorStatus => {
                checked(0)?;
                self.error_status = core::mem::take(&mut self.errors);
            }
            Register::Command => {
                let command = checked(0x000c_cfff)?;
                let to = match access {
                    Access::Page => low(self.command >> 56),
                    Access::Msr => low(value >> 32),
                };
                let high = if access == Access::Msr {
                    value & !0xffff_ffff
                } else {
                    self.command & !0xffff_ffff
                };
                self.command = high | u64::from(command);
                return Ok(self.send(command, to));
            }
            Register::CommandHigh => {
                self.command = (self.command & 0xffff_ffff) | ((value & 0xff00_0000) << 32);
            }
            Register::Local(entry) => {
                let value = checked(entry.writable() | entry.read_only())? & entry.writable();
                self.set_lvt(entry, value, now);
            }
            Register::InitialCount => {
                self.tick(now);
                self.timer.start(self.timer_mode(), low(value), now);
            }
            Register::Divide => {
                let divide = checked(0xb)?;
                self.tick(now);
                self.timer.set_divide(self.timer_mode(), divide, now);
            }
            Register::SelfIpi => {
                let [vector, ..] = checked(0xff)?.to_le_bytes();
                self.accept(Vector::new(vector), Trigger::Edge);
            }
            Register::Id
            | Register::Version
            | Register::ArbitrationPriority
            | Register::ProcessorPriority
            | Register::Logical
            | Register::InService(_)
            | Register::Level(_)
            | Register::Requested(_)
            | Register::CurrentCount => match access {
                Access::Msr => return Err(Exception::GP),
                Access::Page => {}
            },
        }
        Ok(Effect::Nothing)
    }

    /// Software enable and disable; a disabled APIC masks its whole local vector table.
    fn set_spurious(&mut self, value: u32, now: Instant) {
        self.tick(now);
        self.spurious = value;
        if value & SOFTWARE_ENABLE == 0 {
            for entry in &mut self.lvt {
                *entry |= MASKED;
            }
        }
        if self.is_enabled()
            && let Some(vector) = self.upcall.take()
        {
            self.accept(vector, Trigger::Edge);
        }
    }

    fn set_lvt(&mut self, entry: Lvt, value: u32, now: Instant) {
        // What has expired by now did so under the old entry.
        self.tick(now);
        let value = if self.spurious & SOFTWARE_ENABLE == 0 {
            value | MASKED
        } else {
            value
        };
        if entry == Lvt::Timer {
            self.timer.set_mode(self.timer_mode(), Mode::of(value));
        }
        for (other, slot) in Lvt::ALL.iter().zip(&mut self.lvt) {
            if *other == entry {
                *slot = value;
            }
        }
    }
}

/// The register, the place in it and the mask of an access to the page, if it lies within a register.
fn page_access(offset: u64, size: u8) -> Option<(u32, u64, u64)> {
    let within = offset & 0xf;
    if !matches!(size, 1 | 2 | 4) || within.checked_add(u64::from(size))? > 4 {
        return None;
    }
    let number = u32::try_from((offset & 0xfff) >> 4).ok()?;
    let mask = u64::MAX.checked_shr(64_u32.checked_sub(u32::from(size).checked_mul(8)?)?)?;
    Some((number, within.checked_mul(8)?, mask))
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}
