//! Machine-check banks, of which a guest has two, with nothing ever in them.
//!
//! Errors of the machine are the host's affair; a guest sees banks because it was shown MCA, as on Xen. All else of the
//! architecture's range reads as zero there and drops what is written, be it beyond the banks or from before there were
//! any: so it is here, too. SDM vol. 3 §16.3; answers as Xen 4.17 gives them.

use crate::guest::cpuid::Vendor;
use crate::guest::exception::Exception;

/// Where the Pentium reported: an address and a kind.
const PENTIUM_ADDRESS: u32 = 0;
const PENTIUM_KIND: u32 = 1;
const CAPABILITY: u32 = 0x179;
const STATUS: u32 = 0x17a;
const CONTROL: u32 = 0x17b;
const CONTROL_2: u32 = 0x280;
const BANK: u32 = 0x400;
/// As many as Xen gives.
const BANKS: u32 = 2;
/// Thresholds of AMD's bank 4, and what says that they are not for the guest: locked.
const THRESHOLD: u32 = 0xc000_0408;
const LAST_THRESHOLD: u32 = 0xc000_040a;
const LOCKED: u64 = 1 << 61;

/// Software error recovery and threshold-based status, which Intel's banks claim on Xen.
const INTEL_CAPABILITIES: u64 = 1 << 24 | 1 << 11;

/// The registers that hold anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineCheck {
    status: u64,
    control_2: [u64; BANKS as usize],
}

impl MachineCheck {
    /// Empty banks.
    pub const fn new() -> Self {
        Self {
            status: 0,
            control_2: [0; BANKS as usize],
        }
    }

    /// Reads a register; `None` if it is none of these.
    pub fn read(&self, msr: u32, vendor: Vendor) -> Option<Result<u64, Exception>> {
        Some(Ok(match msr {
            CAPABILITY if vendor == Vendor::Intel => u64::from(BANKS) | INTEL_CAPABILITIES,
            CAPABILITY => u64::from(BANKS),
            STATUS => self.status,
            CONTROL | PENTIUM_ADDRESS | PENTIUM_KIND => 0,
            THRESHOLD..=LAST_THRESHOLD if vendor == Vendor::Amd => LOCKED,
            _ => match Place::of(msr)? {
                Place::Control2(bank) if vendor == Vendor::Intel => {
                    self.control_2.get(bank).copied().unwrap_or(0)
                }
                Place::Control2(_) | Place::Beyond => 0,
                // All kinds of errors are reported; none has been.
                Place::Control => u64::MAX,
                Place::Report => 0,
            },
        }))
    }

    /// Writes a register; `None` if it is none of these.
    pub fn write(&mut self, msr: u32, value: u64, vendor: Vendor) -> Option<Result<(), Exception>> {
        match msr {
            STATUS => self.status = value,
            CAPABILITY | CONTROL => {}
            PENTIUM_ADDRESS | PENTIUM_KIND => return Some(Err(Exception::GP)),
            THRESHOLD..=LAST_THRESHOLD if vendor == Vendor::Amd => {}
            _ => match Place::of(msr)? {
                // The threshold and the enable bit of corrected-error interrupts, which never come.
                Place::Control2(bank) if vendor == Vendor::Intel && value & !0x4000_7fff == 0 => {
                    if let Some(slot) = self.control_2.get_mut(bank) {
                        *slot = value;
                    }
                }
                Place::Control2(_) if vendor == Vendor::Intel => return Some(Err(Exception::GP)),
                Place::Control2(_) | Place::Beyond | Place::Control => {}
                // A report can be cleared, not made up.
                Place::Report if value == 0 => {}
                Place::Report => return Some(Err(Exception::GP)),
            },
        }
        Some(Ok(()))
    }
}

enum Place {
    Control2(usize),
    Control,
    Report,
    /// A bank the guest does not have.
    Beyond,
}

impl Place {
    fn of(msr: u32) -> Option<Self> {
        match msr {
            0x280..=0x29f => Some(Self::Control2(usize::try_from(msr.wrapping_sub(CONTROL_2)).ok()?)),
            0x400..=0x47f => {
                let register = msr.wrapping_sub(BANK);
                Some(match register & 3 {
                    _ if register >> 2 >= BANKS => Self::Beyond,
                    0 => Self::Control,
                    _ => Self::Report,
                })
            }
            _ => None,
        }
    }
}
