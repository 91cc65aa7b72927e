//! The event to inject (SDM vol. 3 §27.2.1.3).

use x86::vmx::vmcs::{control, guest};

use super::{Checker, Rule};
use crate::vmx::event::{kind, kind_of};

const VALID: u32 = 1 << 31;
const HAS_CODE: u32 = 1 << 11;
const RESERVED: u32 = 0x7fff_f000;
const NMI: u32 = 2;
/// A pending exit for the monitor trap flag, and the primary control that processors with it have.
pub(super) const OTHER: u32 = 7;
const MONITOR_TRAP_FLAG: u32 = 1 << 27;
/// Software events: these types have the length of an instruction.
const SOFTWARE: [u32; 3] = [
    kind::SOFTWARE_INTERRUPT,
    kind::PRIVILEGED_SOFTWARE_EXCEPTION,
    kind::SOFTWARE_EXCEPTION,
];
/// BASIC: exceptions need not go with their error codes.
const ANY_CODE: u64 = 1 << 56;
/// MISC: software events may have an instruction of no length.
const NO_LENGTH: u64 = 1 << 30;

/// An event that is to be injected.
#[derive(Clone, Copy)]
pub(super) struct Injected {
    pub kind: u32,
    pub vector: u32,
}

impl Injected {
    /// What the fields say is to be injected.
    pub(super) fn of(on: &Checker<'_>) -> Option<Self> {
        let word = on.word(control::VMENTRY_INTERRUPTION_INFO_FIELD);
        (word & VALID != 0).then_some(Self {
            kind: kind_of(word),
            vector: word & 0xff,
        })
    }
}

pub(super) fn check(on: &mut Checker<'_>) {
    let Some(event) = Injected::of(on) else {
        return;
    };
    let field = control::VMENTRY_INTERRUPTION_INFO_FIELD;
    let word = on.word(field);
    let is_kind_known = match event.kind {
        1 => false,
        OTHER => on.able.primary.offers(MONITOR_TRAP_FLAG),
        _ => true,
    };
    on.insist(is_kind_known, field, Rule::InjectionType);
    let is_vector_right = match event.kind {
        kind::NMI => event.vector == NMI,
        kind::EXCEPTION => event.vector < 32,
        OTHER => event.vector == 0,
        _ => true,
    };
    on.insist(is_vector_right, field, Rule::InjectionVector);
    on.insist(word & RESERVED == 0, field, Rule::InjectionReserved);
    let has_code = word & HAS_CODE != 0;
    on.insist(is_code_right(on, event, has_code), field, Rule::InjectionHasCode);
    if has_code {
        let code = control::VMENTRY_EXCEPTION_ERR_CODE;
        on.insist(on.get(code) >> 16 == 0, code, Rule::InjectionCode);
    }
    if SOFTWARE.contains(&event.kind) {
        let length = on.get(control::VMENTRY_INSTRUCTION_LEN);
        let kept = length <= 15 && (length != 0 || on.able.misc & NO_LENGTH != 0);
        on.insist(kept, control::VMENTRY_INSTRUCTION_LEN, Rule::InjectionLength);
    }
}

fn is_code_right(on: &Checker<'_>, event: Injected, has_code: bool) -> bool {
    let is_protected = !on.is_unrestricted() || on.get(guest::CR0) & 1 != 0;
    if event.kind != kind::EXCEPTION || !is_protected {
        return !has_code;
    }
    let pushes_code = matches!(event.vector, 8 | 10..=14 | 17);
    has_code == pushes_code || on.able.basic & ANY_CODE != 0
}
