//! What is wrong with a control block: the rules that the processor enforces at entry, as a pure check.
//!
//! The processor only says "invalid"; this says which field and why. Used in tests, and to explain such an exit in the
//! log. APM vol. 2 §15.5.1 (the list of illegal states), §15.16.2, §15.20, §15.25.4.

use core::fmt;

use super::event;
use super::intercepts::second;
use super::segment::{BIG, LONG};
use super::vmcb::Vmcb;
use crate::vcpu::event::Event;

/// What the processor offers that the rules depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Physical address bits.
    pub address_bits: u8,
    /// How many ASIDs there are, the host's included.
    pub asids: u32,
    /// The bits of CR4 that this processor knows.
    pub cr4: u64,
}

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// EFER.SVME is clear.
    VirtualisationOff,
    /// EFER has bits that must be zero.
    Efer(u64),
    /// CR0.NW without CR0.CD.
    CacheBits,
    /// CR0 has bits above 31.
    Cr0(u64),
    /// CR3 has bits that must be zero.
    Cr3(u64),
    /// CR4 has bits that must be zero.
    Cr4(u64),
    /// DR6 has bits above 31.
    Dr6(u64),
    /// DR7 has bits above 31.
    Dr7(u64),
    /// Long mode with paging needs CR4.PAE.
    LongWithoutPae,
    /// Long mode with paging needs CR0.PE.
    LongWithoutProtection,
    /// CS is 64-bit and 32-bit at once.
    CodeWidth,
    /// VMRUN is not intercepted.
    VmrunFree,
    /// The ASID is 0, or there are not that many.
    Asid(u32),
    /// A permission map lies beyond the machine's addresses.
    PermissionMap(u64),
    /// The root of the nested tables is not a frame of the machine.
    NestedRoot(u64),
    /// The guest's PAT has a memory type that does not exist.
    Pat(u64),
    /// The event to inject is none.
    Injection(u64),
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::VirtualisationOff => out.write_str("EFER.SVME is clear"),
            Self::Efer(bits) => write!(out, "EFER bits {bits:#x}"),
            Self::CacheBits => out.write_str("CR0.NW without CR0.CD"),
            Self::Cr0(bits) => write!(out, "CR0 bits {bits:#x}"),
            Self::Cr3(bits) => write!(out, "CR3 bits {bits:#x}"),
            Self::Cr4(bits) => write!(out, "CR4 bits {bits:#x}"),
            Self::Dr6(bits) => write!(out, "DR6 bits {bits:#x}"),
            Self::Dr7(bits) => write!(out, "DR7 bits {bits:#x}"),
            Self::LongWithoutPae => out.write_str("long mode without CR4.PAE"),
            Self::LongWithoutProtection => out.write_str("long mode without CR0.PE"),
            Self::CodeWidth => out.write_str("CS is 64-bit and 32-bit at once"),
            Self::VmrunFree => out.write_str("VMRUN is not intercepted"),
            Self::Asid(asid) => write!(out, "ASID {asid}"),
            Self::PermissionMap(at) => write!(out, "permission map at {at:#x}"),
            Self::NestedRoot(at) => write!(out, "nested root at {at:#x}"),
            Self::Pat(pat) => write!(out, "PAT {pat:#x}"),
            Self::Injection(word) => write!(out, "event {word:#x}"),
        }
    }
}

const EFER_SVME: u64 = 1 << 12;
const EFER_LME: u64 = 1 << 8;
/// SCE, LME, LMA, NXE, SVME, LMSLE, FFXSR, TCE, MCOMMIT, INTWB, UAIE, AIBRSE.
const EFER_KNOWN: u64 = 0x0036_fd01 | EFER_SVME;
const CR0_PE: u64 = 1;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;

/// Calls `report` for each rule that the block breaks.
pub fn each_wrong(vmcb: &Vmcb, limits: &Limits, mut report: impl FnMut(Wrong)) {
    let save = &vmcb.save;
    let control = &vmcb.control;
    let beyond = beyond(limits.address_bits);
    let high = u64::MAX << 32;
    let mut rule = |is_broken: bool, wrong: Wrong| {
        if is_broken {
            report(wrong);
        }
    };
    let is_long = save.efer & EFER_LME != 0 && save.cr0 & CR0_PG != 0;

    rule(save.efer & EFER_SVME == 0, Wrong::VirtualisationOff);
    rule(save.efer & !EFER_KNOWN != 0, Wrong::Efer(save.efer & !EFER_KNOWN));
    rule(save.cr0 & (CR0_CD | CR0_NW) == CR0_NW, Wrong::CacheBits);
    rule(save.cr0 & high != 0, Wrong::Cr0(save.cr0 & high));
    // Outside of long mode the upper half is ignored.
    rule(is_long && save.cr3 & beyond != 0, Wrong::Cr3(save.cr3 & beyond));
    rule(save.cr4 & !limits.cr4 != 0, Wrong::Cr4(save.cr4 & !limits.cr4));
    rule(save.dr6 & high != 0, Wrong::Dr6(save.dr6));
    rule(save.dr7 & high != 0, Wrong::Dr7(save.dr7));
    rule(is_long && save.cr4 & CR4_PAE == 0, Wrong::LongWithoutPae);
    rule(is_long && save.cr0 & CR0_PE == 0, Wrong::LongWithoutProtection);
    rule(
        is_long && save.cr4 & CR4_PAE != 0 && save.cs.attributes & (LONG | BIG) == LONG | BIG,
        Wrong::CodeWidth,
    );
    rule(control.intercept_second & second::VMRUN == 0, Wrong::VmrunFree);
    rule(
        control.asid == 0 || control.asid >= limits.asids,
        Wrong::Asid(control.asid),
    );
    for (map, bytes) in [(control.port_map, 3 * 4096_u64), (control.msr_map, 2 * 4096)] {
        rule(
            map.saturating_add(bytes - 1) & beyond != 0,
            Wrong::PermissionMap(map),
        );
    }
    if control.nested_paging & 1 != 0 {
        rule(
            control.nested_root & (beyond | 0xfff) != 0,
            Wrong::NestedRoot(control.nested_root),
        );
        rule(
            save.pat
                .to_le_bytes()
                .iter()
                .any(|kind| !matches!(kind, 0 | 1 | 4..=7)),
            Wrong::Pat(save.pat),
        );
    }
    let word = control.event_injection;
    rule(
        word & 1 << 31 != 0 && !is_injectable(word),
        Wrong::Injection(word),
    );
}

/// All address bits that the machine does not have.
fn beyond(address_bits: u8) -> u64 {
    u64::MAX.checked_shl(u32::from(address_bits)).unwrap_or(0)
}

/// Exceptions are vectors 0 to 31 without the NMI's; other kinds must exist (APM vol. 2 §15.20).
fn is_injectable(word: u64) -> bool {
    match event::decode(word) {
        Some(Event::Exception { vector, .. }) => vector < 32 && vector != 2,
        Some(_) => true,
        None => false,
    }
}

/// Writes all that is wrong with a block, for a log line.
pub struct Explanation<'a> {
    /// The block.
    pub vmcb: &'a Vmcb,
    /// What the processor offers.
    pub limits: &'a Limits,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        let mut any = false;
        each_wrong(self.vmcb, self.limits, |wrong| {
            let separator = if any { ", " } else { "" };
            result = result.and_then(|()| write!(out, "{separator}{wrong}"));
            any = true;
        });
        result?;
        if any {
            Ok(())
        } else {
            out.write_str("breaks no rule that is known here")
        }
    }
}

#[cfg(test)]
mod tests;
