//! MSR 0x1b, the APIC base: where the APIC is, and which of its three lives it leads.
//!
//! States: disabled, xAPIC, x2APIC. Allowed: disabled to and from xAPIC, xAPIC to x2APIC, x2APIC to disabled.
//! SDM vol. 3 §10.12.5, figure 10-27.

use crate::guest::exception::Exception;
use xenvisor_core::number::GuestAddr;

const BOOT_PROCESSOR: u64 = 1 << 8;
const X2APIC: u64 = 1 << 10;
const ENABLE: u64 = 1 << 11;
const DEFAULT_ADDRESS: u64 = 0xfee0_0000;

/// The MSR and the width that bounds its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    raw: u64,
    address_bits: u8,
}

impl Base {
    /// After reset: an xAPIC at its usual place.
    pub fn new(is_boot_processor: bool, address_bits: u8) -> Self {
        let boot = if is_boot_processor { BOOT_PROCESSOR } else { 0 };
        Self {
            raw: DEFAULT_ADDRESS | ENABLE | boot,
            address_bits: address_bits.clamp(32, 52),
        }
    }

    /// The MSR.
    pub const fn raw(self) -> u64 {
        self.raw
    }

    /// The page of the registers.
    pub const fn address(self) -> GuestAddr {
        GuestAddr::new(self.raw & !0xfff)
    }

    /// Whether the APIC is on at all.
    pub const fn is_enabled(self) -> bool {
        self.raw & ENABLE != 0
    }

    /// Whether it is an xAPIC.
    pub const fn is_xapic(self) -> bool {
        self.raw & (ENABLE | X2APIC) == ENABLE
    }

    /// Whether it is an x2APIC.
    pub const fn is_x2apic(self) -> bool {
        self.raw & (ENABLE | X2APIC) == ENABLE | X2APIC
    }

    /// The base after a write of `value`, or #GP where the manual forbids the write.
    pub fn changed_to(self, value: u64) -> Result<Self, Exception> {
        let address = (1_u64 << self.address_bits).wrapping_sub(1) & !0xfff;
        if value & !(address | ENABLE | X2APIC | BOOT_PROCESSOR) != 0 {
            return Err(Exception::GP);
        }
        let state = |msr: u64| msr & (ENABLE | X2APIC);
        const ON: u64 = ENABLE | X2APIC;
        let allowed = match (state(self.raw), state(value)) {
            // An x2APIC without an APIC is not a state at all.
            (_, X2APIC) => false,
            (0, ON) | (ON, ENABLE) => false,
            _ => true,
        };
        if allowed {
            Ok(Self { raw: value, ..self })
        } else {
            Err(Exception::GP)
        }
    }
}
