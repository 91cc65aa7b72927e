//! What a processor's VMX can do, as its MSRs say (SDM vol. 3 appendix A).
//!
//! Pure data. Whether it is enough for us is decided in [`super::controls`], where what is missing is listed.

use core::fmt;

use bitflags::bitflags;
use x86::msr;
use x86::vmx::vmcs::control::{
    PinbasedControls as Pin, PrimaryControls as Primary, SecondaryControls as Secondary,
};
use xenvisor_core::memory::frames::OutOfFrames;

use super::controls::NoRealMode;
use super::fields::low_half;

/// Tertiary controls (SDM vol. 3 §A.3.4).
const PROCBASED_CTLS3: u32 = 0x492;
/// FEATURE_CONTROL: locked; VMX works outside of SMX.
const LOCKED: u64 = 1;
const OUTSIDE_SMX: u64 = 1 << 2;
/// BASIC: there are the four MSRs that tell the truth about controls that used to be always 1.
const TRUE_CONTROLS: u64 = 1 << 55;
/// Primary control: there are tertiary controls.
const TERTIARY: u32 = 1 << 17;
/// The memory type that BASIC names for control structures.
const WRITE_BACK: u64 = 6;

/// Why there is no VMX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoVmx {
    /// The processor has none.
    NotThere,
    /// Firmware has switched it off.
    SwitchedOff,
    /// What we need of it is not there.
    Missing(Missing),
    /// Its guests cannot run without paging, as all of ours begin.
    NoRealMode(NoRealMode),
    /// The processor refuses to switch it on.
    Refused,
    /// No frames for its structures.
    OutOfFrames,
}

bitflags! {
    /// What we need and the processor has not.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Missing: u32 {
        /// Control structures in write-back memory.
        const WRITE_BACK_STRUCTURES = 1;
        /// Secondary controls.
        const SECONDARY_CONTROLS = 1 << 1;
        /// Extended page tables.
        const EPT = 1 << 2;
        /// Extended page tables of four levels.
        const EPT_FOUR_LEVELS = 1 << 3;
        /// Extended page tables in write-back memory.
        const EPT_WRITE_BACK = 1 << 4;
        /// INVEPT.
        const INVEPT = 1 << 5;
        /// Exits for interrupts and non-maskable interrupts.
        const INTERRUPT_EXITS = 1 << 6;
        /// Virtual non-maskable interrupts.
        const VIRTUAL_NMIS = 1 << 7;
        /// A shadow of the task priority.
        const TPR_SHADOW = 1 << 8;
        /// Bitmaps of MSRs.
        const MSR_BITMAPS = 1 << 9;
        /// Bitmaps of ports.
        const IO_BITMAPS = 1 << 10;
        /// An offset between the host's and the guest's time-stamp counter.
        const TSC_OFFSET = 1 << 11;
        /// Exits for HLT, MWAIT, MONITOR, RDPMC and WBINVD.
        const INSTRUCTION_EXITS = 1 << 12;
        /// Guests that write and read CR3, invalidate pages and move to debug registers without an exit.
        const FREE_INSTRUCTIONS = 1 << 13;
        /// Exits to a 64-bit host.
        const LONG_HOST = 1 << 14;
        /// 64-bit guests.
        const LONG_GUEST = 1 << 15;
        /// Switching of PAT and EFER at entries and exits.
        const SWITCHED_MSRS = 1 << 16;
        /// Switching of the debug controls at entries and exits.
        const DEBUG_CONTROLS = 1 << 17;
    }
}

impl Missing {
    /// What it is, for a sentence.
    const fn phrase(self) -> &'static str {
        match self {
            Self::WRITE_BACK_STRUCTURES => "control structures in write-back memory",
            Self::SECONDARY_CONTROLS => "secondary controls",
            Self::EPT => "extended page tables",
            Self::EPT_FOUR_LEVELS => "extended page tables of four levels",
            Self::EPT_WRITE_BACK => "extended page tables in write-back memory",
            Self::INVEPT => "INVEPT",
            Self::INTERRUPT_EXITS => "exits for interrupts",
            Self::VIRTUAL_NMIS => "virtual NMIs",
            Self::TPR_SHADOW => "a shadow of the task priority",
            Self::MSR_BITMAPS => "MSR bitmaps",
            Self::IO_BITMAPS => "I/O bitmaps",
            Self::TSC_OFFSET => "a TSC offset",
            Self::INSTRUCTION_EXITS => "exits for HLT, MWAIT, MONITOR, RDPMC and WBINVD",
            Self::FREE_INSTRUCTIONS => "guests that use CR3, INVLPG and debug registers without an exit",
            Self::LONG_HOST => "exits to a 64-bit host",
            Self::LONG_GUEST => "64-bit guests",
            Self::SWITCHED_MSRS => "switching of PAT and EFER",
            Self::DEBUG_CONTROLS => "switching of debug controls",
            _ => "something unnamed",
        }
    }
}

impl From<OutOfFrames> for NoVmx {
    fn from(_: OutOfFrames) -> Self {
        Self::OutOfFrames
    }
}

impl fmt::Display for NoVmx {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere => out.write_str("the processor has no VMX"),
            Self::SwitchedOff => out.write_str("firmware has switched VMX off"),
            Self::NoRealMode(lacking) => lacking.fmt(out),
            Self::Refused => out.write_str("the processor refuses to switch VMX on"),
            Self::OutOfFrames => out.write_str("no memory for VMX's structures"),
            Self::Missing(missing) => {
                out.write_str("the processor's VMX lacks ")?;
                for (place, part) in missing.iter().enumerate() {
                    let separator = if place == 0 { "" } else { "; " };
                    write!(out, "{separator}{}", part.phrase())?;
                }
                Ok(())
            }
        }
    }
}

/// Which bits of a word of controls must be 1, and which may be. A bit that may not be must be 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// The bits that are always 1.
    pub must: u32,
    /// The bits that can be 1.
    pub may: u32,
}

impl Allowed {
    /// As the MSR of a word has it: `must` in the lower half, `may` in the upper.
    #[must_use]
    pub fn from_msr(value: u64) -> Self {
        Self {
            must: low_half(value),
            may: low_half(value >> 32),
        }
    }

    /// Whether all of these bits can be 1.
    #[must_use]
    pub const fn offers(self, bits: u32) -> bool {
        bits & !self.may == 0
    }

    /// Whether a word may have this value.
    #[must_use]
    pub const fn takes(self, value: u32) -> bool {
        self.offers(value) && self.must & !value == 0
    }
}

/// What a processor's VMX can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// What control structures and the VMXON region begin with.
    pub revision: u32,
    /// IA32_VMX_BASIC.
    pub basic: u64,
    /// IA32_VMX_MISC.
    pub misc: u64,
    /// IA32_VMX_EPT_VPID_CAP; 0 where there are neither.
    pub ept_vpid: u64,
    /// The VM functions that can be enabled.
    pub functions: u64,
    /// Pin-based controls.
    pub pin: Allowed,
    /// Primary processor-based controls.
    pub primary: Allowed,
    /// Secondary processor-based controls.
    pub secondary: Allowed,
    /// Tertiary processor-based controls that can be 1.
    pub tertiary: u64,
    /// VM-exit controls.
    pub exit: Allowed,
    /// VM-entry controls.
    pub entry: Allowed,
    /// The bits of CR0 that must be 1 (protection and paging not for an unrestricted guest).
    pub cr0_fixed0: u64,
    /// The bits of CR0 that may be 1.
    pub cr0_fixed1: u64,
    /// The bits of CR4 that must be 1.
    pub cr4_fixed0: u64,
    /// The bits of CR4 that may be 1.
    pub cr4_fixed1: u64,
    /// Physical address bits, which no MSR tells: as many as there can be, until [`Self::with_widths`].
    pub physical_bits: u8,
    /// Linear address bits, likewise.
    pub linear_bits: u8,
    /// Guests without protection or paging.
    pub unrestricted_guest: bool,
    /// Tags for the translations of guests, and INVVPID to drop those of one tag or of all.
    pub vpid: bool,
    /// INVEPT drops the translations of one root alone; else those of all.
    pub invept_single: bool,
    /// Guests may have RDTSCP.
    pub rdtscp: bool,
    /// Guests may have INVPCID.
    pub invpcid: bool,
    /// Guests may have XSAVES.
    pub xsaves: bool,
    /// Extended tables have leaves of 2 MiB.
    pub ept_2m: bool,
    /// Extended tables have leaves of 1 GiB.
    pub ept_1g: bool,
    /// The processor keeps accessed and dirty bits in extended tables.
    pub accessed_and_dirty: bool,
    /// A timer that ends a guest's run.
    pub preemption_timer: bool,
}

impl Capabilities {
    /// Reads the capabilities of a processor that has VMX: `msr` reads an MSR. No MSR is asked for before another has
    /// said that it is there.
    ///
    /// # Errors
    /// [`NoVmx::SwitchedOff`].
    pub fn read(msr: impl Fn(u32) -> u64) -> Result<Self, NoVmx> {
        if msr(msr::IA32_FEATURE_CONTROL) & (LOCKED | OUTSIDE_SMX) != LOCKED | OUTSIDE_SMX {
            return Err(NoVmx::SwitchedOff);
        }
        let basic = msr(msr::IA32_VMX_BASIC);
        let controls = |truth: u32, tradition: u32| {
            let number = if basic & TRUE_CONTROLS != 0 {
                truth
            } else {
                tradition
            };
            Allowed::from_msr(msr(number))
        };
        let pin = controls(msr::IA32_VMX_TRUE_PINBASED_CTLS, msr::IA32_VMX_PINBASED_CTLS);
        let primary = controls(msr::IA32_VMX_TRUE_PROCBASED_CTLS, msr::IA32_VMX_PROCBASED_CTLS);
        let exit = controls(msr::IA32_VMX_TRUE_EXIT_CTLS, msr::IA32_VMX_EXIT_CTLS);
        let entry = controls(msr::IA32_VMX_TRUE_ENTRY_CTLS, msr::IA32_VMX_ENTRY_CTLS);
        let only_if = |there: bool, number: u32| if there { msr(number) } else { 0 };

        let has_secondary = primary.offers(Primary::SECONDARY_CONTROLS.bits());
        let secondary = Allowed::from_msr(only_if(has_secondary, msr::IA32_VMX_PROCBASED_CTLS2));
        let has = |control: Secondary| secondary.offers(control.bits());
        let has_ept = has(Secondary::ENABLE_EPT);
        let has_either = has_ept || has(Secondary::ENABLE_VPID);
        let ept_vpid = only_if(has_either, msr::IA32_VMX_EPT_VPID_CAP);
        let able = |bits: u64| ept_vpid & bits == bits;
        Ok(Self {
            revision: low_half(basic) & 0x7fff_ffff,
            basic,
            misc: msr(msr::IA32_VMX_MISC),
            ept_vpid,
            functions: only_if(has(Secondary::ENABLE_VM_FUNCTIONS), msr::IA32_VMX_VMFUNC),
            pin,
            primary,
            secondary,
            tertiary: only_if(primary.offers(TERTIARY), PROCBASED_CTLS3),
            exit,
            entry,
            cr0_fixed0: msr(msr::IA32_VMX_CR0_FIXED0),
            cr0_fixed1: msr(msr::IA32_VMX_CR0_FIXED1),
            cr4_fixed0: msr(msr::IA32_VMX_CR4_FIXED0),
            cr4_fixed1: msr(msr::IA32_VMX_CR4_FIXED1),
            physical_bits: 52,
            linear_bits: 57,
            unrestricted_guest: has_ept && has(Secondary::UNRESTRICTED_GUEST),
            vpid: has(Secondary::ENABLE_VPID) && able(ept::INVVPID | ept::INVVPID_SINGLE | ept::INVVPID_ALL),
            invept_single: able(ept::INVEPT | ept::INVEPT_SINGLE),
            rdtscp: has(Secondary::ENABLE_RDTSCP),
            invpcid: has(Secondary::ENABLE_INVPCID),
            xsaves: has(Secondary::ENABLE_XSAVES_XRSTORS),
            ept_2m: able(ept::LEAF_2M),
            ept_1g: able(ept::LEAF_1G),
            accessed_and_dirty: able(ept::ACCESSED_AND_DIRTY),
            preemption_timer: pin.offers(Pin::VMX_PREEMPTION_TIMER.bits()),
        })
    }

    /// The same processor, with the widths of its addresses (CPUID 0x8000_0008).
    #[must_use]
    pub const fn with_widths(self, physical_bits: u8, linear_bits: u8) -> Self {
        Self {
            physical_bits,
            linear_bits,
            ..self
        }
    }

    /// What is missing besides controls.
    #[must_use]
    pub fn missing(&self) -> Missing {
        let able = |bits: u64| self.ept_vpid & bits == bits;
        let has_all_or_single = able(ept::INVEPT_SINGLE) || able(ept::INVEPT_ALL);
        let mut missing = Missing::empty();
        missing.set(
            Missing::WRITE_BACK_STRUCTURES,
            self.basic >> 50 & 0xf != WRITE_BACK,
        );
        missing.set(Missing::EPT_FOUR_LEVELS, !able(ept::FOUR_LEVELS));
        missing.set(Missing::EPT_WRITE_BACK, !able(ept::WRITE_BACK));
        missing.set(Missing::INVEPT, !able(ept::INVEPT) || !has_all_or_single);
        missing
    }
}

/// IA32_VMX_EPT_VPID_CAP (SDM vol. 3 §A.10).
pub mod ept {
    /// Tables of four levels.
    pub const FOUR_LEVELS: u64 = 1 << 6;
    /// Tables of five levels.
    pub const FIVE_LEVELS: u64 = 1 << 7;
    /// Tables in uncacheable memory.
    pub const UNCACHEABLE: u64 = 1 << 8;
    /// Tables in write-back memory.
    pub const WRITE_BACK: u64 = 1 << 14;
    /// Leaves of 2 MiB.
    pub const LEAF_2M: u64 = 1 << 16;
    /// Leaves of 1 GiB.
    pub const LEAF_1G: u64 = 1 << 17;
    /// INVEPT.
    pub const INVEPT: u64 = 1 << 20;
    /// Accessed and dirty bits.
    pub const ACCESSED_AND_DIRTY: u64 = 1 << 21;
    /// Rights for supervisor shadow stacks.
    pub const SHADOW_STACKS: u64 = 1 << 23;
    /// INVEPT of one root.
    pub const INVEPT_SINGLE: u64 = 1 << 25;
    /// INVEPT of all.
    pub const INVEPT_ALL: u64 = 1 << 26;
    /// INVVPID.
    pub const INVVPID: u64 = 1 << 32;
    /// INVVPID of one tag.
    pub const INVVPID_SINGLE: u64 = 1 << 41;
    /// INVVPID of all.
    pub const INVVPID_ALL: u64 = 1 << 42;
}

#[cfg(test)]
mod tests;
