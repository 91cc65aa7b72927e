//! A counter whose frequency is known: the ACPI PM timer, or else the HPET.
//!
//! Sources: ACPI specification 6.5 §4.8.3.3; IA-PC HPET specification 1.0a §2.3.

use x86::io::inl;
use xenvisor_core::number::MachineAddr;

use super::calibrate::{Known, Sample, better};
use crate::host::direct_map::{pointer, word};

/// Frequency of every PM timer.
const PM_TIMER_HZ: u64 = 3_579_545;
/// All PM timers count at least these bits.
const PM_TIMER_MASK: u64 = 0xff_ffff;
/// Femtoseconds in a second: the HPET tells its period in them.
const FEMTOSECONDS: u64 = 1_000_000_000_000_000;
/// How many samples are taken for a good one.
const TRIES: u32 = 32;

/// The counter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reference {
    /// The PM timer at this port.
    PmTimer(u16),
    /// The HPET whose registers are mapped, and its period in femtoseconds.
    Hpet {
        /// Its registers.
        registers: MachineAddr,
        /// Length of a tick.
        period: u32,
    },
}

impl Reference {
    /// The HPET at `registers`, which must be mapped as a device; started if it stood still.
    pub(crate) fn hpet(registers: MachineAddr) -> Option<Self> {
        const CAPABILITIES: usize = 0;
        const CONFIGURATION: usize = 0x10;
        const ENABLE: u64 = 1;
        let period = u32::try_from(read_register(registers, CAPABILITIES) >> 32).ok()?;
        let configuration = register(registers, CONFIGURATION);
        // SAFETY: the caller has mapped the HPET's registers; enabling its counter disturbs nobody, since
        // its timers and their interrupts stay as they are.
        unsafe { configuration.write_volatile(configuration.read_volatile() | ENABLE) };
        (period != 0).then_some(Self::Hpet { registers, period })
    }

    /// What is known about it.
    pub(crate) fn known(self) -> Known {
        match self {
            Self::PmTimer(_) => Known {
                hz: PM_TIMER_HZ,
                mask: PM_TIMER_MASK,
            },
            Self::Hpet { period, .. } => Known {
                hz: FEMTOSECONDS / u64::from(period.max(1)),
                mask: u32::MAX.into(),
            },
        }
    }

    /// The counter now.
    pub(crate) fn read(self) -> u64 {
        const MAIN_COUNTER: usize = 0xf0;
        match self {
            // SAFETY: ACPI says that this port is the PM timer, whose reads have no effect.
            Self::PmTimer(port) => u64::from(unsafe { inl(port) }),
            Self::Hpet { registers, .. } => read_register(registers, MAIN_COUNTER),
        }
    }

    /// The best of several samples of it and the TSC.
    pub(crate) fn sample(self) -> Sample {
        let once = || {
            let before = tsc();
            let known = self.read();
            Sample {
                known,
                before,
                after: tsc(),
            }
        };
        (1..TRIES).fold(once(), |best, _| better(best, once()))
    }
}

/// The processor's time-stamp counter.
pub(crate) fn tsc() -> u64 {
    // SAFETY: every 64-bit processor has a TSC, and reading it changes nothing.
    unsafe { x86::time::rdtsc() }
}

fn register(registers: MachineAddr, offset: usize) -> *mut u64 {
    pointer(registers).wrapping_add(offset).cast()
}

fn read_register(registers: MachineAddr, offset: usize) -> u64 {
    // SAFETY: only reached with the HPET's address, mapped as a device; reads of its registers have no effect.
    unsafe { register(registers, word(offset as u64)).read_volatile() }
}
