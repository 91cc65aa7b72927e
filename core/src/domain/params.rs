//! A domain's parameters: numbers by which domain builder and guest tell each other about pages and ports.
//!
//! Public header `hvm/params.h`. Which of them a guest may read or write of itself, which exist at all, which values
//! each may have, and which are set once, is a table here; what a write *does* beyond being stored is the hypercall's
//! business.

use crate::number::below;

/// How many parameters there are (`HVM_NR_PARAMS`).
pub const COUNT: usize = 39;

/// A parameter, by Xen's index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Index(u8);

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident = $raw:literal),* $(,)?) => {
        impl Index {
            $($(#[$doc])* pub const $name: Self = Self($raw);)*
        }
    };
}

indices! {
    /// How the guest wants to be told of events.
    CALLBACK_IRQ = 0,
    /// The frame of the xenstore ring.
    STORE_PFN = 1,
    /// The port of the xenstore ring.
    STORE_EVTCHN = 2,
    /// Physical address extension; no longer used.
    PAE_ENABLED = 4,
    /// The page of the device model's requests.
    IOREQ_PFN = 5,
    /// The page of the device model's buffered requests.
    BUFIOREQ_PFN = 6,
    /// Hyper-V's interface.
    VIRIDIAN = 9,
    /// How missed timer ticks are made up for.
    TIMER_MODE = 10,
    /// Whether there is an HPET.
    HPET_ENABLED = 11,
    /// The identity page table, for processors that cannot run without paging.
    IDENT_PT = 12,
    /// The domain of the device model; no longer used.
    DM_DOMAIN = 13,
    /// The ACPI sleep state.
    ACPI_S_STATE = 14,
    /// The task state segment for real mode, on old processors.
    VM86_TSS = 15,
    /// Alignment of virtual timers.
    VPT_ALIGN = 16,
    /// The frame of the console ring.
    CONSOLE_PFN = 17,
    /// The port of the console ring.
    CONSOLE_EVTCHN = 18,
    /// Which ACPI ports there are.
    ACPI_IOPORTS_LOCATION = 19,
    /// Nested virtualisation; no longer a parameter.
    NESTEDHVM = 24,
    /// The ring for paging events.
    PAGING_RING_PFN = 27,
    /// The ring for monitor events.
    MONITOR_RING_PFN = 28,
    /// The ring for sharing events.
    SHARING_RING_PFN = 29,
    /// What a triple fault means: a shutdown reason.
    TRIPLE_FAULT_REASON = 31,
    /// The first page of device model servers.
    IOREQ_SERVER_PFN = 32,
    /// How many such pages there are.
    NR_IOREQ_SERVER_PAGES = 33,
    /// Where the generation id is.
    VM_GENERATION_ID_ADDR = 34,
    /// Alternative second stages.
    ALTP2M = 35,
    /// How wide the x87 instruction pointer is saved.
    X87_FIP_WIDTH = 36,
    /// The task state segment for real mode, with its size.
    VM86_TSS_SIZED = 37,
    /// Machine check abilities.
    MCA_CAP = 38,
}

/// What a guest may do with a parameter of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Nothing; it is the domain builder's.
    Builder,
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
    /// Nobody may: it is no longer a parameter.
    Deprecated,
}

impl Index {
    /// The parameter with this index, if the table is that long. Not every one in the table is used.
    #[must_use]
    pub fn from_raw(raw: u32) -> Option<Self> {
        below(COUNT, raw).map(Self)
    }

    /// Xen's index.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// Whether it keeps its first value for ever.
    const fn is_set_once(self) -> bool {
        matches!(
            self,
            Self::VIRIDIAN
                | Self::IOREQ_SERVER_PFN
                | Self::NR_IOREQ_SERVER_PAGES
                | Self::ALTP2M
                | Self::MCA_CAP
        )
    }

    /// What a guest may do with it.
    #[must_use]
    pub const fn rule(self) -> Rule {
        match self {
            Self::PAE_ENABLED | Self::DM_DOMAIN | Self(20..=26) | Self(30) => Rule::Deprecated,
            Self::STORE_PFN | Self::CONSOLE_PFN | Self::ALTP2M => Rule::Read,
            Self::CALLBACK_IRQ
            | Self::STORE_EVTCHN
            | Self::CONSOLE_EVTCHN
            | Self::VM86_TSS
            | Self::VM86_TSS_SIZED
            | Self::ACPI_IOPORTS_LOCATION
            | Self::VM_GENERATION_ID_ADDR
            | Self::X87_FIP_WIDTH => Rule::ReadWrite,
            _ => Rule::Builder,
        }
    }
}

/// `HVMPTM_one_missed_tick_pending`.
const MOST_TIMER_MODE: u64 = 3;
/// `SHUTDOWN_MAX` of `sched.h`.
const MOST_REASON: u64 = 5;
/// `XEN_ALTP2M_limited`.
const MOST_ALTP2M: u64 = 3;
/// The part of a task state segment's place that is its address; its size is above.
const TSS_ADDRESS: u64 = 0xffff_ffff;
/// Bytes of a 32-bit task state segment, of one as old firmware has it, and of the largest that is of use: with both
/// its bitmaps, and a byte behind them (SDM vol. 3 §8.2.1).
const SMALLEST_TSS: u64 = 104;
const OLD_TSS: u64 = 128;
const LARGEST_TSS: u64 = SMALLEST_TSS + 32 + 8192 + 1;

/// Why a parameter was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueError {
    /// It cannot have this value.
    OutOfRange,
    /// It has another value already, and keeps it.
    SetOnce,
    /// It cannot have this value, and a guest that wants it of itself is too confused to go on.
    Fatal,
}

/// The values of one domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Params([u64; COUNT]);

impl Default for Params {
    fn default() -> Self {
        let mut params = Self([0; COUNT]);
        // A triple fault reboots, as on hardware, unless the builder says otherwise.
        params.set(Index::TRIPLE_FAULT_REASON, 1);
        params
    }
}

impl Params {
    /// The value.
    #[must_use]
    pub fn get(&self, index: Index) -> u64 {
        let value = |index: Index| self.0.get(usize::from(index.0)).copied().unwrap_or(0);
        match index {
            // One parameter under two numbers.
            Index::VM86_TSS => value(Index::VM86_TSS_SIZED) & TSS_ADDRESS,
            other => value(other),
        }
    }

    /// Stores a value, whatever it is.
    pub fn set(&mut self, index: Index, value: u64) {
        if let Some(slot) = self.0.get_mut(usize::from(index.0)) {
            *slot = value;
        }
    }

    /// Stores a value that the parameter may have, as whoever may write it wants it.
    ///
    /// # Errors
    /// [`ValueError`]; then nothing has changed.
    pub fn write(&mut self, index: Index, value: u64) -> Result<(), ValueError> {
        let before = self.get(index);
        if index.is_set_once() && before != 0 && before != value {
            return Err(ValueError::SetOnce);
        }
        let fits = match index {
            Index::TIMER_MODE => value <= MOST_TIMER_MODE,
            // No guest here has Hyper-V's interface.
            Index::VIRIDIAN => false,
            Index::ACPI_S_STATE => matches!(value, 0 | 3),
            Index::TRIPLE_FAULT_REASON => value <= MOST_REASON,
            Index::NR_IOREQ_SERVER_PAGES => (1..=64).contains(&value),
            Index::ALTP2M => value <= MOST_ALTP2M,
            Index::X87_FIP_WIDTH => matches!(value, 0 | 4 | 8),
            Index::MCA_CAP => value <= 1,
            Index::VM86_TSS if value > TSS_ADDRESS => return Err(ValueError::Fatal),
            Index::VM86_TSS_SIZED if value >> 32 < SMALLEST_TSS => return Err(ValueError::Fatal),
            _ => true,
        };
        if !fits {
            return Err(ValueError::OutOfRange);
        }
        match index {
            Index::VM86_TSS if value == 0 => self.set(Index::VM86_TSS_SIZED, 0),
            Index::VM86_TSS => self.set(Index::VM86_TSS_SIZED, value | OLD_TSS << 32),
            Index::VM86_TSS_SIZED => {
                let bytes = (value >> 32).min(LARGEST_TSS);
                self.set(index, value & TSS_ADDRESS | bytes << 32);
            }
            _ => self.set(index, value),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_read_eleven_of_its_parameters_and_write_eight() {
        let rules: std::vec::Vec<Rule> = (0..COUNT as u32)
            .filter_map(Index::from_raw)
            .map(Index::rule)
            .collect();
        let writable = rules.iter().filter(|rule| **rule == Rule::ReadWrite).count();
        let readable = writable + rules.iter().filter(|rule| **rule == Rule::Read).count();
        assert_eq!((readable, writable), (11, 8));
    }

    #[test]
    fn values_that_cannot_be_are_refused_and_some_stay_for_ever() {
        let mut params = Params::default();
        for (index, value) in [
            (Index::TIMER_MODE, 4),
            (Index::VIRIDIAN, 1),
            (Index::ACPI_S_STATE, 1),
            (Index::TRIPLE_FAULT_REASON, 6),
            (Index::NR_IOREQ_SERVER_PAGES, 0),
            (Index::NR_IOREQ_SERVER_PAGES, 65),
            (Index::ALTP2M, 4),
            (Index::X87_FIP_WIDTH, 2),
            (Index::MCA_CAP, 2),
        ] {
            assert_eq!(
                params.write(index, value),
                Err(ValueError::OutOfRange),
                "{index:?}"
            );
        }
        assert_eq!(params, Params::default());
        assert_eq!(params.write(Index::ALTP2M, 1), Ok(()));
        assert_eq!(params.write(Index::ALTP2M, 1), Ok(()));
        assert_eq!(params.write(Index::ALTP2M, 2), Err(ValueError::SetOnce));
    }

    #[test]
    fn the_task_state_segment_is_one_parameter_under_two_numbers() {
        let mut params = Params::default();
        params.write(Index::VM86_TSS, 0xf000).unwrap();
        assert_eq!(params.get(Index::VM86_TSS_SIZED), 128 << 32 | 0xf000);
        params.write(Index::VM86_TSS_SIZED, u64::MAX).unwrap();
        assert_eq!(params.get(Index::VM86_TSS_SIZED), 8329 << 32 | 0xffff_ffff);
        assert_eq!(params.get(Index::VM86_TSS), 0xffff_ffff);
        assert_eq!(
            params.write(Index::VM86_TSS_SIZED, 103 << 32),
            Err(ValueError::Fatal)
        );
        assert_eq!(params.write(Index::VM86_TSS, 1 << 32), Err(ValueError::Fatal));
        params.write(Index::VM86_TSS, 0).unwrap();
        assert_eq!(params.get(Index::VM86_TSS_SIZED), 0);
    }

    #[test]
    fn there_is_no_parameter_beyond_the_table() {
        assert_eq!(Index::from_raw(39), None);
        assert_eq!(Index::from_raw(u32::MAX), None);
    }
}
