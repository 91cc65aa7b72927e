//! Why a guest stopped, as a meaning: the exit reason, its qualification and the words that go with it, taken apart
//! (SDM vol. 3 §25.9, §28.2, appendix C).

use core::fmt;

use x86::vmx::vmcs::control::{self, EntryControls};
use x86::vmx::vmcs::{guest, ro};

use super::event::kind::{NMI, PRIVILEGED_SOFTWARE_EXCEPTION};
use super::event::kind_of;
use super::fields::{Fields, low_half};
use crate::vcpu::reason::{NestedFault, PortAccess, Reason};

/// The entry failed, after the host's state had been looked at.
const ENTRY_FAILED: u32 = 1 << 31;
const VALID: u32 = 1 << 31;
const HAS_CODE: u32 = 1 << 11;
/// Code segment: 64-bit.
const CODE_LONG: u64 = 1 << 13;

/// Basic exit reasons, as far as others speak of them.
mod basic {
    pub const EXCEPTION: u32 = 0;
    pub const BAD_GUEST_STATE: u32 = 33;
    pub const BAD_MSR: u32 = 34;
    pub const MACHINE_CHECK: u32 = 41;
}

/// What the exit that the fields tell of means.
#[must_use]
#[rustfmt::skip]
pub fn decode<F: Fields + ?Sized>(fields: &F) -> Reason {
    let reason = low_half(fields.get(ro::EXIT_REASON));
    if reason & ENTRY_FAILED != 0 {
        return Reason::Invalid;
    }
    match reason & 0xffff {
        basic::EXCEPTION => exception(fields),
        1       => Reason::Interrupt,
        2       => Reason::Shutdown,
        3       => Reason::Init,
        // The windows for interrupts and for NMIs, and a task priority that has fallen below the threshold: something
        // that waits can be taken now.
        7 | 8 | 43 => Reason::InterruptWindow,
        9       => Reason::TaskSwitch,
        10      => Reason::Cpuid,
        12      => Reason::Halt,
        13 | 54 => Reason::CacheFlush,
        15      => Reason::ReadCounter,
        18      => Reason::Hypercall,
        28      => control_access(fields.get(ro::EXIT_QUALIFICATION)),
        30      => port_access(fields).map_or(Reason::Other, Reason::Port),
        31      => Reason::ReadMsr,
        32      => Reason::WriteMsr,
        48      => Reason::NestedFault(nested_fault(fields)),
        49      => Reason::Misconfigured { at: fields.get(ro::GUEST_PHYSICAL_ADDR_FULL) },
        // The timer that ends a run is as good as the interrupt that does.
        52      => Reason::Interrupt,
        55      => Reason::SetXcr,
        // GETSEC; VMCLEAR, VMLAUNCH, VMPTRLD, VMPTRST, VMREAD, VMRESUME, VMWRITE, VMXOFF, VMXON; MWAIT, MONITOR; INVEPT;
        // INVVPID; VMFUNC, ENCLS; PCONFIG; UMWAIT, TPAUSE, LOADIWKEY, ENCLV; SEAMCALL, TDCALL.
        11 | 19..=27 | 36 | 39 | 50 | 53 | 59 | 60 | 65 | 67..=70 | 76 | 77 => Reason::NotOffered,
        _       => Reason::Other,
    }
}

/// Whether the last exit was for a non-maskable interrupt of the machine, which the host has to be told of.
#[must_use]
pub fn is_nmi<F: Fields + ?Sized>(fields: &F) -> bool {
    low_half(fields.get(ro::EXIT_REASON)) == basic::EXCEPTION && exception(fields) == Reason::Nmi
}

/// The length of the INT1 that an exit for a debug exception came from. It is a trap that leaves the guest before the
/// instruction; given to the guest as a plain exception, it needs the guest to be put behind it.
#[must_use]
pub fn int1_length<F: Fields + ?Sized>(fields: &F) -> Option<u8> {
    let information = low_half(fields.get(ro::VMEXIT_INTERRUPTION_INFO));
    let is_int1 = information & VALID != 0 && kind_of(information) == PRIVILEGED_SOFTWARE_EXCEPTION;
    let [length, ..] = fields.get(ro::VMEXIT_INSTRUCTION_LEN).to_le_bytes();
    is_int1.then_some(length & 0xf)
}

fn exception<F: Fields + ?Sized>(fields: &F) -> Reason {
    let information = low_half(fields.get(ro::VMEXIT_INTERRUPTION_INFO));
    if information & VALID == 0 {
        return Reason::Other;
    }
    if kind_of(information) == NMI {
        return Reason::Nmi;
    }
    let [vector, ..] = information.to_le_bytes();
    let code = if information & HAS_CODE != 0 {
        low_half(fields.get(ro::VMEXIT_INTERRUPTION_ERR_CODE))
    } else {
        0
    };
    Reason::Exception { vector, code }
}

/// SDM vol. 3 table 28-3: the register in bits 3:0, the kind of access in bits 5:4, the general register in bits 11:8.
/// Only moves to CR0 and CR4 are expected: the bits that CLTS and LMSW change are the guest's own.
fn control_access(qualification: u64) -> Reason {
    let [low, high, ..] = qualification.to_le_bytes();
    let from = high & 0xf;
    match (low & 0xf, low >> 4 & 3) {
        (0, 0) => Reason::WriteCr0 { from },
        (4, 0) => Reason::WriteCr4 { from: Some(from) },
        _ => Reason::Other,
    }
}

/// SDM vol. 3 table 28-5.
fn port_access<F: Fields + ?Sized>(fields: &F) -> Option<PortAccess> {
    let qualification = fields.get(ro::EXIT_QUALIFICATION);
    let bytes = match qualification & 7 {
        0 => 1,
        1 => 2,
        3 => 4,
        _ => return None,
    };
    let [_, _, low, high, ..] = qualification.to_le_bytes();
    Some(PortAccess {
        port: u16::from_le_bytes([low, high]),
        bytes,
        is_read: qualification & 1 << 3 != 0,
        is_string: qualification & 1 << 4 != 0,
        is_repeated: qualification & 1 << 5 != 0,
        next_rip: next_rip(fields),
    })
}

fn next_rip<F: Fields + ?Sized>(fields: &F) -> u64 {
    let next = fields
        .get(guest::RIP)
        .wrapping_add(fields.get(ro::VMEXIT_INSTRUCTION_LEN) & 0xf);
    let long = u64::from(EntryControls::IA32E_MODE_GUEST.bits());
    let is_64_bit = fields.get(control::VMENTRY_CONTROLS) & long != 0
        && fields.get(guest::CS_ACCESS_RIGHTS) & CODE_LONG != 0;
    if is_64_bit { next } else { next & 0xffff_ffff }
}

/// SDM vol. 3 table 28-7. With accessed and dirty bits in the extended tables, a walk of the guest's own tables is a
/// write, as it is in nested tables; without a linear address it was one, too: that of MOV CR3 for its four pointers.
fn nested_fault<F: Fields + ?Sized>(fields: &F) -> NestedFault {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 2;
    const RIGHTS: u64 = 7 << 3;
    const TRANSLATED: u64 = 3 << 7;
    let qualification = fields.get(ro::EXIT_QUALIFICATION);
    NestedFault {
        at: fields.get(ro::GUEST_PHYSICAL_ADDR_FULL),
        is_write: qualification & WRITE != 0,
        is_fetch: qualification & FETCH != 0,
        was_present: qualification & RIGHTS != 0,
        in_page_walk: qualification & TRANSLATED != TRANSLATED,
        was_reserved: false,
    }
}

/// Why an entry failed that had got past the checks of controls and host state (SDM vol. 3 §27.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryFailure {
    /// The guest's state breaks a rule.
    GuestState,
    /// The four page directory pointers do.
    PageDirectoryPointers,
    /// A non-maskable interrupt is to be injected while MOV SS blocks events.
    NmiBehindMovSs,
    /// The pointer to a linked control structure is wrong.
    LinkPointer,
    /// This entry of the list of MSRs to load, counted from 1.
    Msr(u64),
    /// A machine check came in between.
    MachineCheck,
    /// A reason without a name.
    Other(u32),
}

impl EntryFailure {
    /// What the fields say of the last exit, if it was a failed entry.
    #[must_use]
    pub fn decode<F: Fields + ?Sized>(fields: &F) -> Option<Self> {
        let reason = low_half(fields.get(ro::EXIT_REASON));
        if reason & ENTRY_FAILED == 0 {
            return None;
        }
        let qualification = fields.get(ro::EXIT_QUALIFICATION);
        Some(match (reason & 0xffff, qualification) {
            (basic::BAD_GUEST_STATE, 2) => Self::PageDirectoryPointers,
            (basic::BAD_GUEST_STATE, 3) => Self::NmiBehindMovSs,
            (basic::BAD_GUEST_STATE, 4) => Self::LinkPointer,
            (basic::BAD_GUEST_STATE, _) => Self::GuestState,
            (basic::BAD_MSR, entry) => Self::Msr(entry),
            (basic::MACHINE_CHECK, _) => Self::MachineCheck,
            (other, _) => Self::Other(other),
        })
    }
}

impl fmt::Display for EntryFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GuestState => out.write_str("the guest's state is not valid"),
            Self::PageDirectoryPointers => out.write_str("the page directory pointers are not valid"),
            Self::NmiBehindMovSs => out.write_str("an NMI is to be injected while MOV SS blocks events"),
            Self::LinkPointer => out.write_str("the VMCS link pointer is not valid"),
            Self::Msr(entry) => write!(out, "entry {entry} of the MSRs to load is not valid"),
            Self::MachineCheck => out.write_str("a machine check came in between"),
            Self::Other(reason) => write!(out, "the entry failed with reason {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
