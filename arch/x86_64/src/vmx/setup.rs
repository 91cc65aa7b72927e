//! A new control structure: how its guest is confined, and where the host goes on behind an exit.
//!
//! All fields that the processor reads at an entry have a value afterwards, but for those of the guest's registers,
//! which the vcpu's start writes, and the tag, which is given at an entry. SDM vol. 3 §25.4–25.8.

use x86::vmx::vmcs::control::{self, SecondaryControls as Secondary};
use x86::vmx::vmcs::{guest, host};

use super::capability::Capabilities;
use super::controls::{Controls, EXCEPTIONS, PCONFIG_EXITING};
use super::field_name::{ENCLV_EXITING_BITMAP, PCONFIG_EXITING_BITMAP};
use super::fields::Fields;

const CR0_PE: u64 = 1;
const CR0_NE: u64 = 1 << 5;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const CR4_VMXE: u64 = 1 << 13;
/// EPT pointer: tables in write-back memory, four levels (one less, in bits 5:3), accessed and dirty bits.
const EPT_WRITE_BACK: u64 = 6;
const EPT_FOUR_LEVELS: u64 = 3 << 3;
const EPT_ACCESSED_AND_DIRTY: u64 = 1 << 6;
/// No control structure is linked.
const NO_LINK: u64 = u64::MAX;

/// The host's state: what an exit loads (SDM vol. 3 §25.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostState {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// The code segment's selector.
    pub cs: u16,
    /// The stack segment's.
    pub ss: u16,
    /// The data segment's.
    pub ds: u16,
    /// The extra segment's.
    pub es: u16,
    /// FS's selector.
    pub fs: u16,
    /// GS's selector.
    pub gs: u16,
    /// The task register's selector.
    pub tr: u16,
    /// FS's base.
    pub fs_base: u64,
    /// GS's base.
    pub gs_base: u64,
    /// The task state's base.
    pub tr_base: u64,
    /// The base of the table of global descriptors.
    pub gdtr_base: u64,
    /// The base of the table of interrupt descriptors.
    pub idtr_base: u64,
    /// SYSENTER_CS.
    pub sysenter_cs: u64,
    /// SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// The page attribute table.
    pub pat: u64,
    /// EFER.
    pub efer: u64,
    /// The stack pointer behind an exit.
    pub rsp: u64,
    /// Where the host goes on behind an exit.
    pub rip: u64,
}

/// What a control structure points to: machine addresses, and the pointer that [`ept_pointer`] makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The MSR bitmap.
    pub msr_bitmap: u64,
    /// The bitmap of ports below 0x8000.
    pub io_a: u64,
    /// The bitmap of the other ports.
    pub io_b: u64,
    /// The virtual APIC page, of which the task priority is used.
    pub virtual_apic: u64,
    /// The extended page tables.
    pub ept_pointer: u64,
}

/// The pointer to extended page tables: four levels in write-back memory.
#[must_use]
pub const fn ept_pointer(root: u64, accessed_and_dirty: bool) -> u64 {
    let kept = if accessed_and_dirty {
        EPT_ACCESSED_AND_DIRTY
    } else {
        0
    };
    root | EPT_WRITE_BACK | EPT_FOUR_LEVELS | kept
}

/// The bits of CR0 that a guest does not change by itself: how x87 errors are reported, the caches, and what the
/// processor holds fixed. Protection and paging are an unrestricted guest's own.
#[must_use]
pub const fn cr0_mask(capabilities: &Capabilities) -> u64 {
    let own = if capabilities.unrestricted_guest {
        CR0_PE | CR0_PG
    } else {
        0
    };
    let fixed = capabilities.cr0_fixed0 | !capabilities.cr0_fixed1;
    CR0_NE | CR0_CD | CR0_NW | (fixed & !own)
}

/// The bits of CR4 that a guest does not change by itself: all that CPUID does not offer it, and what the processor
/// holds fixed.
#[must_use]
pub const fn cr4_mask(capabilities: &Capabilities, allowed: u64) -> u64 {
    !allowed | capabilities.cr4_fixed0 | !capabilities.cr4_fixed1 | CR4_VMXE
}

/// Writes a new control structure. The guest owns no bit of CR0 and CR4 yet.
pub fn write<F: Fields + ?Sized>(
    fields: &mut F,
    controls: &Controls,
    addresses: &Addresses,
    host_state: &HostState,
) {
    write_controls(fields, controls);
    write_addresses(fields, addresses);
    write_guest(fields);
    write_host(fields, host_state);
}

fn write_controls<F: Fields + ?Sized>(fields: &mut F, controls: &Controls) {
    let words = [
        (control::PINBASED_EXEC_CONTROLS, controls.pin),
        (control::PRIMARY_PROCBASED_EXEC_CONTROLS, controls.primary),
        (control::SECONDARY_PROCBASED_EXEC_CONTROLS, controls.secondary),
        (control::VMEXIT_CONTROLS, controls.exit),
        (control::VMENTRY_CONTROLS, controls.entry),
        (control::EXCEPTION_BITMAP, EXCEPTIONS),
    ];
    for (field, word) in words {
        fields.set(field, u64::from(word));
    }
    let nothing = [
        control::PAGE_FAULT_ERR_CODE_MASK,
        control::PAGE_FAULT_ERR_CODE_MATCH,
        control::CR3_TARGET_COUNT,
        control::VMEXIT_MSR_STORE_COUNT,
        control::VMEXIT_MSR_LOAD_COUNT,
        control::VMENTRY_MSR_LOAD_COUNT,
        control::VMENTRY_INTERRUPTION_INFO_FIELD,
        control::VMENTRY_EXCEPTION_ERR_CODE,
        control::VMENTRY_INSTRUCTION_LEN,
        control::TPR_THRESHOLD,
        control::TSC_OFFSET_FULL,
        control::CR0_READ_SHADOW,
        control::CR4_READ_SHADOW,
    ];
    for field in nothing {
        fields.set(field, 0);
    }
    fields.set(control::CR0_GUEST_HOST_MASK, u64::MAX);
    fields.set(control::CR4_GUEST_HOST_MASK, u64::MAX);
    // A bitmap exists with its control. XSS is zero in host and guest, so nothing of it needs an exit; enclaves and
    // memory keys are offered to no guest, and each of their instructions exits.
    let bitmaps = [
        (
            Secondary::ENABLE_XSAVES_XRSTORS.bits(),
            control::XSS_EXITING_BITMAP_FULL,
            0,
        ),
        (
            Secondary::ENCLS_EXITING.bits(),
            control::ENCLS_EXITING_BITMAP_FULL,
            u64::MAX,
        ),
        (Secondary::ENCLV_EXITING.bits(), ENCLV_EXITING_BITMAP, u64::MAX),
        (PCONFIG_EXITING, PCONFIG_EXITING_BITMAP, u64::MAX),
    ];
    for (bit, field, bitmap) in bitmaps {
        if controls.has(bit) {
            fields.set(field, bitmap);
        }
    }
}

fn write_addresses<F: Fields + ?Sized>(fields: &mut F, addresses: &Addresses) {
    fields.set(control::MSR_BITMAPS_ADDR_FULL, addresses.msr_bitmap);
    fields.set(control::IO_BITMAP_A_ADDR_FULL, addresses.io_a);
    fields.set(control::IO_BITMAP_B_ADDR_FULL, addresses.io_b);
    fields.set(control::VIRT_APIC_ADDR_FULL, addresses.virtual_apic);
    fields.set(control::EPTP_FULL, addresses.ept_pointer);
}

fn write_guest<F: Fields + ?Sized>(fields: &mut F) {
    fields.set(guest::LINK_PTR_FULL, NO_LINK);
    let nothing = [
        guest::IA32_DEBUGCTL_FULL,
        guest::INTERRUPTIBILITY_STATE,
        guest::ACTIVITY_STATE,
        guest::PENDING_DBG_EXCEPTIONS,
        guest::PDPTE0_FULL,
        guest::PDPTE1_FULL,
        guest::PDPTE2_FULL,
        guest::PDPTE3_FULL,
    ];
    for field in nothing {
        fields.set(field, 0);
    }
}

/// Writes the host's state: also when the vcpu comes to another pcpu.
#[rustfmt::skip]
pub fn write_host<F: Fields + ?Sized>(fields: &mut F, state: &HostState) {
    let words = [
        (host::CR0, state.cr0),
        (host::CR3, state.cr3),
        (host::CR4, state.cr4),
        (host::CS_SELECTOR, u64::from(state.cs)),
        (host::SS_SELECTOR, u64::from(state.ss)),
        (host::DS_SELECTOR, u64::from(state.ds)),
        (host::ES_SELECTOR, u64::from(state.es)),
        (host::FS_SELECTOR, u64::from(state.fs)),
        (host::GS_SELECTOR, u64::from(state.gs)),
        (host::TR_SELECTOR, u64::from(state.tr)),
        (host::FS_BASE, state.fs_base),
        (host::GS_BASE, state.gs_base),
        (host::TR_BASE, state.tr_base),
        (host::GDTR_BASE, state.gdtr_base),
        (host::IDTR_BASE, state.idtr_base),
        (host::IA32_SYSENTER_CS, state.sysenter_cs),
        (host::IA32_SYSENTER_ESP, state.sysenter_esp),
        (host::IA32_SYSENTER_EIP, state.sysenter_eip),
        (host::IA32_PAT_FULL, state.pat),
        (host::IA32_EFER_FULL, state.efer),
        (host::RSP, state.rsp),
        (host::RIP, state.rip),
    ];
    for (field, value) in words {
        fields.set(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmx::testing;

    #[test]
    fn the_pointer_to_the_tables_says_what_they_are() {
        assert_eq!(ept_pointer(0x1234_5000, true), 0x1234_505e);
        assert_eq!(ept_pointer(0x1234_5000, false), 0x1234_501e);
    }

    #[test]
    fn an_unrestricted_guest_owns_protection_and_paging_and_no_other_does() {
        let free = testing::capabilities();
        assert_eq!(cr0_mask(&free) & 0xffff_ffff, 0x6000_0020);
        let bound = Capabilities {
            unrestricted_guest: false,
            ..free
        };
        assert_eq!(cr0_mask(&bound) & 0xffff_ffff, 0xe000_0021);
    }

    #[test]
    fn a_guest_owns_the_bits_of_cr4_that_it_is_offered_and_the_processor_lets_it_have() {
        let mask = cr4_mask(&testing::capabilities(), 0x37_0fff | CR4_VMXE | 1 << 23);
        assert_eq!(!mask, 0x37_0fff & testing::capabilities().cr4_fixed1);
        assert_eq!(!cr4_mask(&testing::capabilities(), 0), 0);
    }
}
