//! The guest's segment registers (SDM vol. 3 §27.3.1.2).

use x86::vmx::vmcs::guest;

use super::{Checker, Rule};
use crate::vcpu::engine::SegmentRegister as Register;
use crate::vmx::segment::{SegmentFields, fields_of};

const RFLAGS_VM: u64 = 1 << 17;
const CR0_PE: u64 = 1;
/// A selector's table.
const TABLE: u64 = 1 << 2;
/// Access rights.
const TYPE: u32 = 0xf;
const ACCESSED: u32 = 1;
const READABLE: u32 = 1 << 1;
const CODE: u32 = 1 << 3;
const ORDINARY: u32 = 1 << 4;
const PRESENT: u32 = 1 << 7;
const LONG: u32 = 1 << 13;
const BIG: u32 = 1 << 14;
const GRANULAR: u32 = 1 << 15;
const UNUSABLE: u32 = 1 << 16;
const RESERVED: u32 = 0xfffe_0f00;
/// A data segment that CS may be in an unrestricted guest: read/write, accessed.
const DATA: u32 = 3;
const LOCAL_TABLE: u32 = 2;
const BUSY_16: u32 = 3;
const BUSY: u32 = 11;

/// A segment register, read.
#[derive(Clone, Copy)]
struct Seen {
    at: SegmentFields,
    selector: u64,
    base: u64,
    limit: u32,
    rights: u32,
}

impl Seen {
    fn of(on: &Checker<'_>, register: Register) -> Self {
        let at = fields_of(register);
        Self {
            at,
            selector: on.get(at.selector),
            base: on.get(at.base),
            limit: on.word(at.limit),
            rights: on.word(at.rights),
        }
    }

    const fn is_usable(&self) -> bool {
        self.rights & UNUSABLE == 0
    }

    const fn kind(&self) -> u32 {
        self.rights & TYPE
    }

    const fn dpl(&self) -> u32 {
        self.rights >> 5 & 3
    }

    const fn rpl(&self) -> u32 {
        (self.selector & 3) as u32
    }
}

pub(super) fn check(on: &mut Checker<'_>) {
    task_and_table(on);
    bases(on);
    if on.get(guest::RFLAGS) & RFLAGS_VM != 0 {
        virtual_8086(on);
    } else {
        code(on);
        stack(on);
        for register in [Register::Ds, Register::Es, Register::Fs, Register::Gs] {
            data(on, register);
        }
    }
}

/// TR and LDTR.
fn task_and_table(on: &mut Checker<'_>) {
    let task = Seen::of(on, Register::Task);
    let is_type_right = task.kind() == BUSY || (task.kind() == BUSY_16 && !on.is_long());
    on.insist(is_type_right, task.at.rights, Rule::TrType);
    on.insist(task.is_usable(), task.at.rights, Rule::TrUsable);
    system(on, &task);
    let table = Seen::of(on, Register::Ldt);
    if table.is_usable() {
        on.insist(table.kind() == LOCAL_TABLE, table.at.rights, Rule::LdtrType);
        system(on, &table);
    }
}

fn system(on: &mut Checker<'_>, segment: &Seen) {
    on.insist(
        segment.selector & TABLE == 0,
        segment.at.selector,
        Rule::SelectorTable,
    );
    on.insist(segment.rights & ORDINARY == 0, segment.at.rights, Rule::System);
    on.insist_canonical(segment.at.base, Rule::SegmentBase);
    rights(on, segment);
}

/// What holds for the access rights of all that can be used.
fn rights(on: &mut Checker<'_>, segment: &Seen) {
    let field = segment.at.rights;
    on.insist(segment.rights & PRESENT != 0, field, Rule::Present);
    on.insist(segment.rights & RESERVED == 0, field, Rule::RightsReserved);
    let counts_pages = segment.rights & GRANULAR != 0;
    let kept = if counts_pages {
        segment.limit & 0xfff == 0xfff
    } else {
        segment.limit >> 20 == 0
    };
    on.insist(kept, field, Rule::Granularity);
}

/// Bases of the others, in every mode.
fn bases(on: &mut Checker<'_>) {
    for register in [Register::Fs, Register::Gs] {
        on.insist_canonical(fields_of(register).base, Rule::SegmentBase);
    }
    for register in [Register::Cs, Register::Ss, Register::Ds, Register::Es] {
        let segment = Seen::of(on, register);
        let counts = segment.is_usable() || register == Register::Cs;
        on.insist(
            !counts || segment.base >> 32 == 0,
            segment.at.base,
            Rule::SegmentBaseHigh,
        );
    }
}

fn virtual_8086(on: &mut Checker<'_>) {
    let registers = [
        Register::Cs,
        Register::Ss,
        Register::Ds,
        Register::Es,
        Register::Fs,
        Register::Gs,
    ];
    for register in registers {
        let segment = Seen::of(on, register);
        on.insist(
            segment.base == segment.selector << 4,
            segment.at.base,
            Rule::V8086Base,
        );
        on.insist(segment.limit == 0xffff, segment.at.limit, Rule::V8086Limit);
        on.insist(segment.rights == 0xf3, segment.at.rights, Rule::V8086Rights);
    }
}

fn code(on: &mut Checker<'_>) {
    let code = Seen::of(on, Register::Cs);
    let stack = Seen::of(on, Register::Ss);
    let field = code.at.rights;
    let may_be_data = on.is_unrestricted();
    let is_type_right = matches!(code.kind(), 9 | 11 | 13 | 15) || (may_be_data && code.kind() == DATA);
    on.insist(is_type_right, field, Rule::CsType);
    on.insist(code.rights & ORDINARY != 0, field, Rule::Ordinary);
    match code.kind() {
        DATA => on.insist(code.dpl() == 0, field, Rule::CsDplData),
        9 | 11 => on.insist(code.dpl() == stack.dpl(), field, Rule::CsDplOwn),
        13 | 15 => on.insist(code.dpl() <= stack.dpl(), field, Rule::CsDplConforming),
        _ => {}
    }
    let is_64_bit = on.is_long() && code.rights & LONG != 0;
    on.insist(!is_64_bit || code.rights & BIG == 0, field, Rule::CsWidth);
    rights(on, &code);
}

fn stack(on: &mut Checker<'_>) {
    let code = Seen::of(on, Register::Cs);
    let stack = Seen::of(on, Register::Ss);
    let field = stack.at.rights;
    if !on.is_unrestricted() {
        on.insist(stack.rpl() == code.rpl(), stack.at.selector, Rule::SsSelector);
        on.insist(stack.dpl() == stack.rpl(), field, Rule::SsDplRpl);
    }
    let is_own = code.kind() == DATA || on.get(guest::CR0) & CR0_PE == 0;
    on.insist(!is_own || stack.dpl() == 0, field, Rule::SsDplReal);
    if stack.is_usable() {
        on.insist(matches!(stack.kind(), 3 | 7), field, Rule::SsType);
        on.insist(stack.rights & ORDINARY != 0, field, Rule::Ordinary);
        rights(on, &stack);
    }
}

fn data(on: &mut Checker<'_>, register: Register) {
    let segment = Seen::of(on, register);
    if !segment.is_usable() {
        return;
    }
    let field = segment.at.rights;
    let kind = segment.kind();
    on.insist(kind & ACCESSED != 0, field, Rule::DataAccessed);
    on.insist(
        kind & CODE == 0 || kind & READABLE != 0,
        field,
        Rule::DataReadable,
    );
    on.insist(segment.rights & ORDINARY != 0, field, Rule::Ordinary);
    if !on.is_unrestricted() && kind < 12 {
        on.insist(segment.dpl() >= segment.rpl(), field, Rule::DataDpl);
    }
    rights(on, &segment);
}
