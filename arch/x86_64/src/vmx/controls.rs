//! What a guest is not left alone with, and what the processor does for it: the words of controls of every vcpu
//! (SDM vol. 3 §25.6–25.8).
//!
//! The rule: whatever could stop, slow or observe the host, and whatever the guest's CPUID does not offer but the
//! processor would do, exits. Exceptions are the guest's own, but for three: machine checks are the host's, and #DB and
//! #AC can be made to recur in microcode for ever without an instruction boundary (CVE-2015-5307, CVE-2015-8104).
//! A guest without RDTSCP, INVPCID or XSAVES gets #UD for them from the processor.
//!
//! Invariant: a word has the bits that must be 1 and none that may not (SDM vol. 3 §A.3–A.5), and of the bits that must
//! be 1 it has none with a meaning that nobody here expects.

use core::fmt;

use x86::vmx::vmcs::control::{
    EntryControls as Entry, ExitControls as Exit, PinbasedControls as Pin, PrimaryControls as Primary,
    SecondaryControls as Secondary,
};

use super::capability::{Allowed, Capabilities, Missing, NoVmx};

/// PCONFIG exits (SDM vol. 3 §25.6.2, table 25-7).
pub(super) const PCONFIG_EXITING: u32 = 1 << 27;

/// #DB, #AC, #MC.
pub const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;

/// Bits without a meaning that must be 1, or had to be once (SDM vol. 3 §A.2 "default1").
mod ones {
    pub const PIN: u32 = 0x16;
    pub const PRIMARY: u32 = 0x0400_6172;
    pub const EXIT: u32 = 0x3_6dfb;
    pub const ENTRY: u32 = 0x11fb;
}

const PIN: u32 = Pin::EXTERNAL_INTERRUPT_EXITING.bits() | Pin::NMI_EXITING.bits() | Pin::VIRTUAL_NMIS.bits();
/// Both windows are closed at first.
const PRIMARY: u32 = Primary::USE_TSC_OFFSETTING.bits()
    | Primary::HLT_EXITING.bits()
    | Primary::MWAIT_EXITING.bits()
    | Primary::RDPMC_EXITING.bits()
    | Primary::USE_TPR_SHADOW.bits()
    | Primary::USE_IO_BITMAPS.bits()
    | Primary::USE_MSR_BITMAPS.bits()
    | Primary::MONITOR_EXITING.bits()
    | Primary::SECONDARY_CONTROLS.bits();
const SECONDARY: u32 = Secondary::ENABLE_EPT.bits() | Secondary::WBINVD_EXITING.bits();
/// What is used where it is there: instructions for the guest, and exits for those that it is not offered.
const SECONDARY_WHERE_THERE: u32 = Secondary::UNRESTRICTED_GUEST.bits()
    | Secondary::ENABLE_RDTSCP.bits()
    | Secondary::ENABLE_INVPCID.bits()
    | Secondary::ENABLE_XSAVES_XRSTORS.bits()
    | Secondary::ENCLS_EXITING.bits()
    | Secondary::ENCLV_EXITING.bits()
    | PCONFIG_EXITING;
const SWITCHED_AT_EXIT: u32 = Exit::SAVE_IA32_PAT.bits()
    | Exit::LOAD_IA32_PAT.bits()
    | Exit::SAVE_IA32_EFER.bits()
    | Exit::LOAD_IA32_EFER.bits();
/// Interrupts are not acknowledged: the host takes them by itself.
const EXIT: u32 = Exit::SAVE_DEBUG_CONTROLS.bits() | Exit::HOST_ADDRESS_SPACE_SIZE.bits() | SWITCHED_AT_EXIT;
const SWITCHED_AT_ENTRY: u32 = Entry::LOAD_IA32_PAT.bits() | Entry::LOAD_IA32_EFER.bits();
/// Whether the guest is in long mode changes from entry to entry.
const ENTRY: u32 = Entry::LOAD_DEBUG_CONTROLS.bits() | SWITCHED_AT_ENTRY;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Pin,
    Primary,
    Secondary,
    Exit,
    Entry,
}

/// What it means when bits of a word cannot be set.
#[rustfmt::skip]
const NEEDED: [(Word, u32, Missing); 22] = [
    (Word::Pin,       Pin::EXTERNAL_INTERRUPT_EXITING.bits(),   Missing::INTERRUPT_EXITS),
    (Word::Pin,       Pin::NMI_EXITING.bits(),                  Missing::INTERRUPT_EXITS),
    (Word::Pin,       Pin::VIRTUAL_NMIS.bits(),                 Missing::VIRTUAL_NMIS),
    (Word::Primary,   Primary::INTERRUPT_WINDOW_EXITING.bits(), Missing::INTERRUPT_EXITS),
    (Word::Primary,   Primary::NMI_WINDOW_EXITING.bits(),       Missing::VIRTUAL_NMIS),
    (Word::Primary,   Primary::USE_TSC_OFFSETTING.bits(),       Missing::TSC_OFFSET),
    (Word::Primary,   Primary::HLT_EXITING.bits(),              Missing::INSTRUCTION_EXITS),
    (Word::Primary,   Primary::MWAIT_EXITING.bits(),            Missing::INSTRUCTION_EXITS),
    (Word::Primary,   Primary::RDPMC_EXITING.bits(),            Missing::INSTRUCTION_EXITS),
    (Word::Primary,   Primary::MONITOR_EXITING.bits(),          Missing::INSTRUCTION_EXITS),
    (Word::Primary,   Primary::USE_TPR_SHADOW.bits(),           Missing::TPR_SHADOW),
    (Word::Primary,   Primary::USE_IO_BITMAPS.bits(),           Missing::IO_BITMAPS),
    (Word::Primary,   Primary::USE_MSR_BITMAPS.bits(),          Missing::MSR_BITMAPS),
    (Word::Primary,   Primary::SECONDARY_CONTROLS.bits(),       Missing::SECONDARY_CONTROLS),
    (Word::Secondary, Secondary::ENABLE_EPT.bits(),             Missing::EPT),
    (Word::Secondary, Secondary::WBINVD_EXITING.bits(),         Missing::INSTRUCTION_EXITS),
    (Word::Exit,      Exit::HOST_ADDRESS_SPACE_SIZE.bits(),     Missing::LONG_HOST),
    (Word::Exit,      SWITCHED_AT_EXIT,                         Missing::SWITCHED_MSRS),
    (Word::Exit,      Exit::SAVE_DEBUG_CONTROLS.bits(),         Missing::DEBUG_CONTROLS),
    (Word::Entry,     Entry::IA32E_MODE_GUEST.bits(),           Missing::LONG_GUEST),
    (Word::Entry,     SWITCHED_AT_ENTRY,                        Missing::SWITCHED_MSRS),
    (Word::Entry,     Entry::LOAD_DEBUG_CONTROLS.bits(),        Missing::DEBUG_CONTROLS),
];

/// The words of controls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Controls {
    /// Pin-based controls.
    pub pin: u32,
    /// Primary processor-based controls.
    pub primary: u32,
    /// Secondary processor-based controls.
    pub secondary: u32,
    /// VM-exit controls.
    pub exit: u32,
    /// VM-entry controls, for a guest that is not in long mode.
    pub entry: u32,
}

/// A vcpu cannot start in real mode here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRealMode;

impl fmt::Display for NoRealMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the processor has no unrestricted guests: none can run in real mode or without paging")
    }
}

impl Controls {
    /// The words for a processor.
    ///
    /// # Errors
    /// [`NoVmx::Missing`] lists all that we need and the processor has not.
    pub fn compute(capabilities: &Capabilities) -> Result<Self, NoVmx> {
        let word = |which| match which {
            Word::Pin => capabilities.pin,
            Word::Primary => capabilities.primary,
            Word::Secondary => capabilities.secondary,
            Word::Exit => capabilities.exit,
            Word::Entry => capabilities.entry,
        };
        let mut missing = capabilities.missing();
        for (which, bits, meaning) in NEEDED {
            if !word(which).offers(bits) {
                missing |= meaning;
            }
        }
        let wanted = [
            (capabilities.pin, PIN, ones::PIN),
            (capabilities.primary, PRIMARY, ones::PRIMARY),
            (capabilities.secondary, SECONDARY, 0),
            (capabilities.exit, EXIT, ones::EXIT),
            (capabilities.entry, ENTRY, ones::ENTRY),
        ];
        // A bit that must be 1 and has a meaning takes from the guest what it does best by itself.
        let insists = |(allowed, bits, ones): (Allowed, u32, u32)| allowed.must & !(bits | ones) != 0;
        if wanted.into_iter().any(insists) {
            missing |= Missing::FREE_INSTRUCTIONS;
        }
        if !missing.is_empty() {
            return Err(NoVmx::Missing(missing));
        }
        let mut pin = PIN;
        if capabilities.preemption_timer {
            pin |= Pin::VMX_PREEMPTION_TIMER.bits();
        }
        let mut secondary = SECONDARY | SECONDARY_WHERE_THERE & capabilities.secondary.may;
        if capabilities.vpid {
            secondary |= Secondary::ENABLE_VPID.bits();
        }
        Ok(Self {
            pin: pin | capabilities.pin.must,
            primary: PRIMARY | capabilities.primary.must,
            secondary: secondary | capabilities.secondary.must,
            exit: EXIT | capabilities.exit.must,
            entry: ENTRY | capabilities.entry.must,
        })
    }

    /// Whether a secondary control is on.
    #[must_use]
    pub const fn has(&self, secondary: u32) -> bool {
        self.secondary & secondary != 0
    }

    /// Whether a vcpu can be in real mode.
    ///
    /// # Errors
    /// Where there is no unrestricted guest.
    pub const fn real_mode(&self) -> Result<(), NoRealMode> {
        if self.has(Secondary::UNRESTRICTED_GUEST.bits()) {
            Ok(())
        } else {
            Err(NoRealMode)
        }
    }
}

#[cfg(test)]
mod tests;
