//! The layouts of hypercall arguments, for the width this guest is built for.
//!
//! Structures that are the same for both are taken from `xenvisor_abi` where they are used.

#[cfg(target_arch = "x86_64")]
mod of {
    pub(crate) use xenvisor_abi::GuestHandle64 as Handle;
    pub(crate) use xenvisor_abi::grant_table::{CopyOp, CopyPointer};
    pub(crate) use xenvisor_abi::memory::AddToPhysmap;
    pub(crate) use xenvisor_abi::sched::Poll;
    pub(crate) use xenvisor_abi::xen::{SharedInfo, VcpuInfo};

    /// `unsigned long`.
    pub(crate) type Word = u64;

    /// A time as an argument has it.
    pub(crate) const fn timeout(ns: u64) -> u64 {
        ns
    }
}

#[cfg(target_arch = "x86")]
mod of {
    pub(crate) use xenvisor_abi::GuestHandle32 as Handle;
    pub(crate) use xenvisor_abi::grant_table::compat::{CopyOp, CopyPointer};
    pub(crate) use xenvisor_abi::memory::compat::AddToPhysmap;
    pub(crate) use xenvisor_abi::sched::compat::Poll;
    pub(crate) use xenvisor_abi::xen::compat::{SharedInfo, VcpuInfo};

    /// `unsigned long`.
    pub(crate) type Word = u32;

    /// A time as an argument has it.
    pub(crate) const fn timeout(ns: u64) -> xenvisor_abi::CompatU64 {
        xenvisor_abi::CompatU64 {
            low: ns as u32,
            high: (ns >> 32) as u32,
        }
    }
}

pub(crate) use of::*;

/// A pointer as an argument has it.
pub(crate) fn handle<T>(to: *const T) -> Handle {
    Handle(to.expose_provenance() as Word)
}
