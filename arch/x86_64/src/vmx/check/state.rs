//! The guest's descriptor tables, RIP and RFLAGS, and what is no register (SDM vol. 3 §27.3.1.3–27.3.1.5).

use x86::vmx::vmcs::control::{self, PinbasedControls as Pin};
use x86::vmx::vmcs::guest;

use super::event::{Injected, OTHER};
use super::{Checker, Rule};
use crate::vmx::event::kind;

const CR0_PE: u64 = 1;
const CS_LONG: u64 = 1 << 13;
const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_IF: u64 = 1 << 9;
const RFLAGS_VM: u64 = 1 << 17;
/// Bits 63:22, 15, 5 and 3; bit 1 is always set.
const RFLAGS_RESERVED: u64 = !0x3f_7fd7;
const RFLAGS_FIXED: u64 = 1 << 1;
const DEBUG_CONTROL_BTF: u64 = 1 << 1;
/// Activity states.
const ACTIVE: u64 = 0;
const HALTED: u64 = 1;
const SHUTDOWN: u64 = 2;
/// MISC has a bit for each state but the active one, from here.
const MISC_HALTED: u64 = 6;
/// Interruptibility.
const BY_STI: u64 = 1;
const BY_MOV_SS: u64 = 1 << 1;
const BY_SMI: u64 = 1 << 2;
const BY_NMI: u64 = 1 << 3;
const IN_ENCLAVE: u64 = 1 << 4;
/// Pending debug exceptions: four breakpoints, a bus lock, an enabled breakpoint, a step, a transaction.
const PENDING_ENABLED: u64 = 1 << 12;
const PENDING_STEP: u64 = 1 << 14;
const PENDING_TRANSACTION: u64 = 1 << 16;
const PENDING_KNOWN: u64 = 0xf | 1 << 11 | PENDING_ENABLED | PENDING_STEP | PENDING_TRANSACTION;
const DEBUG: u32 = 1;
const MACHINE_CHECK: u32 = 18;

pub(super) fn check(on: &mut Checker<'_>) {
    tables(on);
    instruction_pointer(on);
    flags(on);
    activity(on);
    interruptibility(on);
    pending_debug(on);
    let link = on.get(guest::LINK_PTR_FULL);
    let kept = link == u64::MAX || on.is_place(link, 0x1000);
    on.insist(kept, guest::LINK_PTR_FULL, Rule::LinkPointer);
}

fn tables(on: &mut Checker<'_>) {
    for field in [guest::GDTR_BASE, guest::IDTR_BASE] {
        on.insist_canonical(field, Rule::TableBase);
    }
    for field in [guest::GDTR_LIMIT, guest::IDTR_LIMIT] {
        on.insist(on.get(field) >> 16 == 0, field, Rule::TableLimit);
    }
}

fn instruction_pointer(on: &mut Checker<'_>) {
    let is_64_bit = on.is_long() && on.get(guest::CS_ACCESS_RIGHTS) & CS_LONG != 0;
    if is_64_bit {
        // Unlike other addresses, it may be just behind the canonical ones below.
        let rip = on.get(guest::RIP);
        let upper = rip.checked_shr(u32::from(on.able.linear_bits)).unwrap_or(0);
        let ones = u64::MAX.checked_shr(u32::from(on.able.linear_bits)).unwrap_or(0);
        on.insist(upper == 0 || upper == ones, guest::RIP, Rule::RipCanonical);
    } else {
        on.insist(on.get(guest::RIP) >> 32 == 0, guest::RIP, Rule::RipHigh);
    }
}

fn flags(on: &mut Checker<'_>) {
    let flags = on.get(guest::RFLAGS);
    let field = guest::RFLAGS;
    on.insist(flags & RFLAGS_RESERVED == 0, field, Rule::RflagsReserved);
    on.insist(flags & RFLAGS_FIXED != 0, field, Rule::RflagsFixed);
    let may_be_8086 = !on.is_long() && on.get(guest::CR0) & CR0_PE != 0;
    on.insist(flags & RFLAGS_VM == 0 || may_be_8086, field, Rule::RflagsV8086);
    let is_interrupt = Injected::of(on).is_some_and(|event| event.kind == kind::INTERRUPT);
    on.insist(
        !is_interrupt || flags & RFLAGS_IF != 0,
        field,
        Rule::RflagsInterrupt,
    );
}

fn activity(on: &mut Checker<'_>) {
    let field = guest::ACTIVITY_STATE;
    let state = on.get(field);
    let is_known = match state {
        ACTIVE => true,
        1..=3 => on.able.misc >> (MISC_HALTED + state - 1) & 1 != 0,
        _ => false,
    };
    on.insist(is_known, field, Rule::ActivityUnknown);
    let level = on.get(guest::SS_ACCESS_RIGHTS) >> 5 & 3;
    on.insist(state != HALTED || level == 0, field, Rule::HaltedPrivilege);
    let is_blocked = on.get(guest::INTERRUPTIBILITY_STATE) & (BY_STI | BY_MOV_SS) != 0;
    on.insist(state == ACTIVE || !is_blocked, field, Rule::InactiveBlocked);
    if let Some(event) = Injected::of(on) {
        let is_machine_check = event.kind == kind::EXCEPTION && event.vector == MACHINE_CHECK;
        let wakes = match state {
            HALTED => {
                matches!(event.kind, kind::INTERRUPT | kind::NMI | OTHER)
                    || is_machine_check
                    || (event.kind == kind::EXCEPTION && event.vector == DEBUG)
            }
            SHUTDOWN => event.kind == kind::NMI || is_machine_check,
            state => state == ACTIVE,
        };
        on.insist(wakes || !is_known, field, Rule::InactiveInjection);
    }
}

fn interruptibility(on: &mut Checker<'_>) {
    let field = guest::INTERRUPTIBILITY_STATE;
    let state = on.get(field);
    let has = |bit| state & bit != 0;
    let known = BY_STI | BY_MOV_SS | BY_SMI | BY_NMI | IN_ENCLAVE;
    on.insist(state & !known == 0, field, Rule::InterruptibilityReserved);
    on.insist(!(has(BY_STI) && has(BY_MOV_SS)), field, Rule::BothBlockings);
    let is_enabled = on.get(guest::RFLAGS) & RFLAGS_IF != 0;
    on.insist(!has(BY_STI) || is_enabled, field, Rule::StiWithoutInterrupts);
    on.insist(!has(BY_SMI), field, Rule::SmiBlocked);
    on.insist(
        !(has(IN_ENCLAVE) && has(BY_MOV_SS)),
        field,
        Rule::EnclaveBehindMovSs,
    );
    match Injected::of(on).map(|event| event.kind) {
        Some(kind::INTERRUPT) => {
            on.insist(!has(BY_STI | BY_MOV_SS), field, Rule::InterruptBlocked);
        }
        Some(kind::NMI) => {
            let pin = Pin::from_bits_truncate(on.word(control::PINBASED_EXEC_CONTROLS));
            let is_blocked = pin.contains(Pin::VIRTUAL_NMIS) && has(BY_NMI);
            on.insist(!has(BY_MOV_SS), field, Rule::NmiBehindMovSs);
            on.insist(!has(BY_STI), field, Rule::NmiBehindSti);
            on.insist(!is_blocked, field, Rule::NmiBlocked);
        }
        _ => {}
    }
}

fn pending_debug(on: &mut Checker<'_>) {
    let field = guest::PENDING_DBG_EXCEPTIONS;
    let pending = on.get(field);
    on.insist(pending & !PENDING_KNOWN == 0, field, Rule::PendingReserved);
    let blocking = on.get(guest::INTERRUPTIBILITY_STATE);
    let waits = blocking & (BY_STI | BY_MOV_SS) != 0 || on.get(guest::ACTIVITY_STATE) == HALTED;
    if waits {
        let steps = on.get(guest::RFLAGS) & RFLAGS_TF != 0
            && on.get(guest::IA32_DEBUGCTL_FULL) & DEBUG_CONTROL_BTF == 0;
        let has_step = pending & PENDING_STEP != 0;
        on.insist(!steps || has_step, field, Rule::PendingStepMissing);
        on.insist(steps || !has_step, field, Rule::PendingStepExtra);
    }
    if pending & PENDING_TRANSACTION != 0 {
        let kept = pending == PENDING_TRANSACTION | PENDING_ENABLED && blocking & BY_MOV_SS == 0;
        on.insist(kept, field, Rule::PendingTransaction);
    }
}
