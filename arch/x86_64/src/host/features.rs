//! What this processor can do, and switching on what the host itself needs.

use raw_cpuid::{CpuId, CpuIdReaderNative};
use x86::controlregs::{Cr4, cr4, cr4_write};

/// What the host wants to know of its processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Pages of 1 GiB.
    pub huge_pages: bool,
    /// The local APIC's registers can be MSRs.
    pub x2apic: bool,
    /// The local APIC's timer takes a deadline in TSC ticks.
    pub tsc_deadline: bool,
    /// XSAVE and XCR0.
    pub xsave: bool,
    /// AMD's virtualization.
    pub svm: bool,
    /// Intel's virtualization.
    pub vmx: bool,
}

impl Features {
    /// Asks the processor.
    pub(crate) fn detect() -> Self {
        let cpuid = CpuId::new();
        let basic = cpuid.get_feature_info();
        let has = |ask: fn(&raw_cpuid::FeatureInfo) -> bool| basic.as_ref().is_some_and(ask);
        let extended = cpuid.get_extended_processor_and_feature_identifiers();
        let has_extended = |ask: fn(&raw_cpuid::ExtendedProcessorFeatureIdentifiers) -> bool| {
            extended.as_ref().is_some_and(ask)
        };
        Self {
            huge_pages: has_extended(|info| info.has_1gib_pages()),
            x2apic: has(|info| info.has_x2apic()),
            tsc_deadline: has(|info| info.has_tsc_deadline()),
            xsave: has(|info| info.has_xsave()),
            svm: has_extended(|info| info.has_svm()),
            vmx: has(|info| info.has_vmx()),
        }
    }

    /// Sets the control register bits the host wants: machine checks are reported, and XSETBV works, since
    /// it is done for guests. The host itself uses no vector registers.
    pub(crate) fn enable(self) {
        let mce = CpuId::<CpuIdReaderNative>::new()
            .get_feature_info()
            .is_some_and(|info| info.has_mce());
        // SAFETY: each bit is set only where CPUID offers the feature; all that is set today stays.
        unsafe {
            let mut bits = cr4() | Cr4::CR4_ENABLE_SSE | Cr4::CR4_UNMASKED_SSE;
            bits.set(Cr4::CR4_ENABLE_MACHINE_CHECK, mce);
            bits.set(Cr4::CR4_ENABLE_OS_XSAVE, self.xsave);
            cr4_write(bits);
        }
    }
}
