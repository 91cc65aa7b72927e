//! The exceptions a guest earns by its own doing, as values that a backend injects.
//!
//! A pure function that finds a guest at fault returns one of these; it never injects anything itself.
//! SDM vol. 3 §6.15, APM vol. 2 §8.2.

use super::page_walk::PageFault;
use xenvisor_core::number::Vector;

/// An exception to inject, with all that its frame needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exception {
    /// #DE: a division that has no answer.
    Divide,
    /// #DB: a breakpoint register or single step.
    Debug,
    /// #UD: no such instruction here.
    InvalidOpcode,
    /// #NM: the FPU is not at hand.
    DeviceNotAvailable,
    /// #NP with its error code.
    SegmentNotPresent(u16),
    /// #SS with its error code.
    Stack(u16),
    /// #GP with its error code.
    GeneralProtection(u16),
    /// #PF with CR2 and its error code.
    Page(PageFault),
    /// #AC, whose error code is always 0.
    AlignmentCheck,
}

impl Exception {
    /// #GP(0), the answer to most nonsense.
    pub const GP: Self = Self::GeneralProtection(0);

    /// The vector it is delivered through.
    #[must_use]
    pub const fn vector(self) -> Vector {
        Vector::new(match self {
            Self::Divide => 0,
            Self::Debug => 1,
            Self::InvalidOpcode => 6,
            Self::DeviceNotAvailable => 7,
            Self::SegmentNotPresent(_) => 11,
            Self::Stack(_) => 12,
            Self::GeneralProtection(_) => 13,
            Self::Page(_) => 14,
            Self::AlignmentCheck => 17,
        })
    }

    /// The error code it pushes, if it pushes one.
    #[must_use]
    pub const fn error_code(self) -> Option<u32> {
        match self {
            Self::Divide | Self::Debug | Self::InvalidOpcode | Self::DeviceNotAvailable => None,
            Self::SegmentNotPresent(code) | Self::Stack(code) | Self::GeneralProtection(code) => {
                Some(code as u32)
            }
            Self::Page(fault) => Some(fault.code.bits()),
            Self::AlignmentCheck => Some(0),
        }
    }

    /// What CR2 must hold at delivery: the faulting address of a page fault.
    #[must_use]
    pub const fn cr2(self) -> Option<u64> {
        match self {
            Self::Page(fault) => Some(fault.address.raw()),
            _ => None,
        }
    }
}
