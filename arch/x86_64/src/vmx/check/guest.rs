//! The guest's control registers, debug registers and MSRs (SDM vol. 3 §27.3.1.1), and its page directory pointers
//! (§27.3.1.6).

use x86::vmx::vmcs::control::{self, EntryControls as Entry, SecondaryControls as Secondary};
use x86::vmx::vmcs::guest;

use super::host::EFER_KNOWN;
use super::{Checker, Rule, is_pat};

const CR0_PE: u64 = 1;
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_CET: u64 = 1 << 23;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// LBR, BTF, bus lock detection, TR to RTM.
const DEBUG_CONTROL_KNOWN: u64 = 0xffc7;
/// BNDCFGS between its two flags and its address.
const BOUNDS_RESERVED: u64 = 0xffc;
/// A page directory pointer: present, and what must then be 0 (SDM vol. 3 table 4-8).
const POINTER_PRESENT: u64 = 1;
const POINTER_RESERVED: u64 = 0x1e6;

pub(super) fn check(on: &mut Checker<'_>) {
    control_registers(on);
    msrs(on);
    page_directory_pointers(on);
}

fn control_registers(on: &mut Checker<'_>) {
    let able = on.able;
    let (cr0, cr4) = (on.get(guest::CR0), on.get(guest::CR4));
    let own = if on.is_unrestricted() { CR0_PE | CR0_PG } else { 0 };
    let ones = able.cr0_fixed0 & !own;
    on.insist(
        cr0 & ones == ones && cr0 & !able.cr0_fixed1 == 0,
        guest::CR0,
        Rule::GuestCr0,
    );
    on.insist(
        cr0 & CR0_PG == 0 || cr0 & CR0_PE != 0,
        guest::CR0,
        Rule::GuestPagingUnprotected,
    );
    let ones = able.cr4_fixed0;
    on.insist(
        cr4 & ones == ones && cr4 & !able.cr4_fixed1 == 0,
        guest::CR4,
        Rule::GuestCr4,
    );
    on.insist(
        cr4 & CR4_CET == 0 || cr0 & CR0_WP != 0,
        guest::CR4,
        Rule::GuestCetWithoutWriteProtect,
    );
    if on.is_long() {
        on.insist(cr0 & CR0_PG != 0, guest::CR0, Rule::GuestLongUnpaged);
        on.insist(cr4 & CR4_PAE != 0, guest::CR4, Rule::GuestLongWithoutPae);
    } else {
        on.insist(cr4 & CR4_PCIDE == 0, guest::CR4, Rule::GuestPcid);
    }
    on.insist(on.is_physical(on.get(guest::CR3)), guest::CR3, Rule::GuestCr3);
}

fn msrs(on: &mut Checker<'_>) {
    let entry = Entry::from_bits_truncate(on.word(control::VMENTRY_CONTROLS));
    if entry.contains(Entry::LOAD_DEBUG_CONTROLS) {
        let field = guest::IA32_DEBUGCTL_FULL;
        on.insist(
            on.get(field) & !DEBUG_CONTROL_KNOWN == 0,
            field,
            Rule::GuestDebugControl,
        );
        on.insist(on.get(guest::DR7) >> 32 == 0, guest::DR7, Rule::GuestDr7);
    }
    on.insist_canonical(guest::IA32_SYSENTER_ESP, Rule::GuestSysenterEsp);
    on.insist_canonical(guest::IA32_SYSENTER_EIP, Rule::GuestSysenterEip);
    if entry.contains(Entry::LOAD_IA32_PAT) {
        on.insist(
            is_pat(on.get(guest::IA32_PAT_FULL)),
            guest::IA32_PAT_FULL,
            Rule::GuestPat,
        );
    }
    if entry.contains(Entry::LOAD_IA32_EFER) {
        let field = guest::IA32_EFER_FULL;
        let efer = on.get(field);
        let is_active = efer & EFER_LMA != 0;
        on.insist(efer & !EFER_KNOWN == 0, field, Rule::GuestEferReserved);
        on.insist(is_active == on.is_long(), field, Rule::GuestEferLma);
        if on.get(guest::CR0) & CR0_PG != 0 {
            on.insist(is_active == (efer & EFER_LME != 0), field, Rule::GuestEferLme);
        }
    }
    if entry.contains(Entry::LOAD_IA32_BNDCFGS) {
        let field = guest::IA32_BNDCFGS_FULL;
        let bounds = on.get(field);
        let kept = bounds & BOUNDS_RESERVED == 0 && on.is_canonical(bounds);
        on.insist(kept, field, Rule::GuestBounds);
    }
}

/// With EPT they are fields; without, memory.
fn page_directory_pointers(on: &mut Checker<'_>) {
    let is_paged = on.get(guest::CR0) & CR0_PG != 0 && on.get(guest::CR4) & CR4_PAE != 0;
    if !is_paged || on.is_long() || !on.secondary().contains(Secondary::ENABLE_EPT) {
        return;
    }
    let pointers = [
        guest::PDPTE0_FULL,
        guest::PDPTE1_FULL,
        guest::PDPTE2_FULL,
        guest::PDPTE3_FULL,
    ];
    for field in pointers {
        let pointer = on.get(field);
        let kept =
            pointer & POINTER_PRESENT == 0 || (pointer & POINTER_RESERVED == 0 && on.is_physical(pointer));
        on.insist(kept, field, Rule::PageDirectoryPointer);
    }
}
