//! What follows from the policy for everyone else: which bits and registers a guest has.

use super::{CpuidPolicy, Vendor, features};

impl CpuidPolicy {
    /// Who made the processor.
    #[must_use]
    pub const fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// The width of the guest's physical addresses, in bits.
    #[must_use]
    pub fn address_bits(&self) -> u8 {
        let [bits, ..] = self.leaf_at(&self.extended, 8).eax.to_le_bytes();
        if bits == 0 { 36 } else { bits.min(52) }
    }

    /// Whether the guest has 1 GiB pages.
    #[must_use]
    pub fn has_huge_pages(&self) -> bool {
        self.leaf_at(&self.extended, 1).edx & features::PAGE1GB != 0
    }

    /// The components of XCR0 that the guest may enable; 0 without XSAVE.
    #[must_use]
    pub const fn xcr0_offered(&self) -> u64 {
        self.xstate.offered()
    }

    /// The bits of CR4 that the guest may set: those whose feature it has been shown.
    #[must_use]
    pub fn cr4_allowed(&self) -> u64 {
        features::cr4_allowed(self.leaf_at(&self.basic, 1), self.leaf_at(&self.structured, 0))
    }

    /// The bits of EFER that the guest may set (LMA is the processor's own).
    #[must_use]
    pub fn efer_allowed(&self) -> u64 {
        features::efer_allowed(self.leaf_at(&self.extended, 1))
    }

    /// Whether the guest has been shown RDTSCP or RDPID, and so TSC_AUX.
    #[must_use]
    pub fn has_tsc_aux(&self) -> bool {
        self.leaf_at(&self.extended, 1).edx & features::RDTSCP != 0
            || self.leaf_at(&self.structured, 0).ecx & features::RDPID != 0
    }

    /// Whether the guest may write PRED_CMD.
    #[must_use]
    pub fn has_prediction_barrier(&self) -> bool {
        self.leaf_at(&self.extended, 8).ebx & features::IBPB != 0
            || self.leaf_at(&self.structured, 0).edx & features::IBRSB != 0
    }

    /// Whether the guest has SPEC_CTRL.
    #[must_use]
    pub fn has_speculation_control(&self) -> bool {
        self.leaf_at(&self.extended, 8).ebx & features::AMD_SPECULATION != 0
            || self.leaf_at(&self.structured, 0).edx & features::IBRSB != 0
    }

    /// Whether the guest has XSAVES, and so the MSR XSS.
    #[must_use]
    pub const fn has_xsaves(&self) -> bool {
        self.xstate.instructions() & features::XSAVES != 0
    }
}
