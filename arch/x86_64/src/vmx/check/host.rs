//! The host's state, as an exit will load it (SDM vol. 3 §27.2.2–27.2.4).

use x86::vmx::vmcs::control::{self, ExitControls as Exit};
use x86::vmx::vmcs::host;

use super::{Checker, Rule, is_pat};

const CR0_WP: u64 = 1 << 16;
const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_CET: u64 = 1 << 23;
const EFER_LONG: u64 = 0x500;
/// SCE, LME, LMA, NXE.
pub(super) const EFER_KNOWN: u64 = 0xd01;
/// A selector's privilege level and table.
const RPL_AND_TABLE: u64 = 7;

pub(super) fn check(on: &mut Checker<'_>) {
    let exit = Exit::from_bits_truncate(on.word(control::VMEXIT_CONTROLS));
    let is_long = exit.contains(Exit::HOST_ADDRESS_SPACE_SIZE);
    registers(on, exit, is_long);
    segments(on, is_long);
    size(on, is_long);
}

/// §27.2.2.
fn registers(on: &mut Checker<'_>, exit: Exit, is_long: bool) {
    let (cr0, cr4) = (on.get(host::CR0), on.get(host::CR4));
    let able = on.able;
    let is_fixed = |value: u64, ones: u64, may: u64| value & ones == ones && value & !may == 0;
    on.insist(
        is_fixed(cr0, able.cr0_fixed0, able.cr0_fixed1),
        host::CR0,
        Rule::HostCr0,
    );
    on.insist(
        is_fixed(cr4, able.cr4_fixed0, able.cr4_fixed1),
        host::CR4,
        Rule::HostCr4,
    );
    on.insist(
        cr4 & CR4_CET == 0 || cr0 & CR0_WP != 0,
        host::CR4,
        Rule::HostCetWithoutWriteProtect,
    );
    on.insist(on.is_physical(on.get(host::CR3)), host::CR3, Rule::HostCr3);
    on.insist_canonical(host::IA32_SYSENTER_ESP, Rule::HostSysenterEsp);
    on.insist_canonical(host::IA32_SYSENTER_EIP, Rule::HostSysenterEip);
    if exit.contains(Exit::LOAD_IA32_PAT) {
        on.insist(
            is_pat(on.get(host::IA32_PAT_FULL)),
            host::IA32_PAT_FULL,
            Rule::HostPat,
        );
    }
    if exit.contains(Exit::LOAD_IA32_EFER) {
        let efer = on.get(host::IA32_EFER_FULL);
        let long = if is_long { EFER_LONG } else { 0 };
        let field = host::IA32_EFER_FULL;
        on.insist(efer & !EFER_KNOWN == 0, field, Rule::HostEferReserved);
        on.insist(efer & EFER_LONG == long, field, Rule::HostEferLong);
    }
}

/// §27.2.3.
fn segments(on: &mut Checker<'_>, is_long: bool) {
    let selectors = [
        host::CS_SELECTOR,
        host::SS_SELECTOR,
        host::DS_SELECTOR,
        host::ES_SELECTOR,
        host::FS_SELECTOR,
        host::GS_SELECTOR,
        host::TR_SELECTOR,
    ];
    for field in selectors {
        on.insist(on.get(field) & RPL_AND_TABLE == 0, field, Rule::HostSelector);
    }
    let is_there = |on: &Checker<'_>, field| on.get(field) != 0;
    on.insist(
        is_there(on, host::CS_SELECTOR),
        host::CS_SELECTOR,
        Rule::HostCsNull,
    );
    on.insist(
        is_there(on, host::TR_SELECTOR),
        host::TR_SELECTOR,
        Rule::HostTrNull,
    );
    on.insist(
        is_long || is_there(on, host::SS_SELECTOR),
        host::SS_SELECTOR,
        Rule::HostSsNull,
    );
    let bases = [
        host::FS_BASE,
        host::GS_BASE,
        host::TR_BASE,
        host::GDTR_BASE,
        host::IDTR_BASE,
    ];
    for field in bases {
        on.insist_canonical(field, Rule::HostBase);
    }
}

/// §27.2.4. This host is in long mode.
fn size(on: &mut Checker<'_>, is_long: bool) {
    on.insist(is_long, control::VMEXIT_CONTROLS, Rule::HostSize);
    let cr4 = on.get(host::CR4);
    if is_long {
        on.insist(cr4 & CR4_PAE != 0, host::CR4, Rule::LongHostPae);
        on.insist_canonical(host::RIP, Rule::LongHostRip);
    } else {
        let is_guest_long = on.is_long();
        on.insist(
            !is_guest_long,
            control::VMENTRY_CONTROLS,
            Rule::LongGuestOfShortHost,
        );
        on.insist(cr4 & CR4_PCIDE == 0, host::CR4, Rule::ShortHostPcid);
        on.insist(on.get(host::RIP) >> 32 == 0, host::RIP, Rule::ShortHostRip);
    }
}
