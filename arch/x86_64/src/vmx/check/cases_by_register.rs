//! For tests: rules that hold for many registers, broken for each.

use x86::vmx::vmcs::{guest, host};

use super::Rule;
use super::cases::{BENT, EFER, ENTRY};
use super::guests::Mode::{self, Bound, Long, Protected, Real, V8086};
use super::guests::{rich, structure};
use crate::vcpu::engine::SegmentRegister as Register;
use crate::vmx::fields::Fields;
use crate::vmx::segment::fields_of;
use crate::vmx::testing::Structure;

/// The registers of code and data.
const ORDINARY: [Register; 6] = [
    Register::Cs,
    Register::Ss,
    Register::Ds,
    Register::Es,
    Register::Fs,
    Register::Gs,
];

/// Cases that are the same for many registers.
pub(super) fn by_register() -> Vec<(Rule, Mode, Structure)> {
    let able = rich();
    let mut cases = Vec::new();
    let mut case = |rule, mode, change: &dyn Fn(&mut Structure)| {
        let mut fields = structure(&able, mode);
        change(&mut fields);
        cases.push((rule, mode, fields));
    };
    for register in ORDINARY {
        let at = fields_of(register);
        case(Rule::V8086Base, V8086, &|s| s.or(at.base, 1));
        case(Rule::V8086Limit, V8086, &|s| s.set(at.limit, 0xf_ffff));
        case(Rule::V8086Rights, V8086, &|s| s.clear(at.rights, 0x60));
        case(Rule::Ordinary, Protected, &|s| s.clear(at.rights, 1 << 4));
        let is_thread = matches!(register, Register::Fs | Register::Gs);
        let (rule, base) = if is_thread {
            (Rule::SegmentBase, BENT)
        } else {
            (Rule::SegmentBaseHigh, 1 << 32)
        };
        case(rule, Long, &|s| s.set(at.base, base));
    }
    for register in ORDINARY.into_iter().chain([Register::Task, Register::Ldt]) {
        let at = fields_of(register);
        let usable = |s: &mut Structure| {
            if register == Register::Ldt {
                s.set(at.rights, 0x82);
            }
        };
        case(Rule::Present, Long, &|s| {
            usable(s);
            s.clear(at.rights, 1 << 7);
        });
        for bit in [8, 11, 17, 31] {
            case(Rule::RightsReserved, Long, &|s| {
                usable(s);
                s.or(at.rights, 1 << bit);
            });
        }
        for (limit, pages) in [(0xffff_f000_u64, true), (0x10_0000, false)] {
            case(Rule::Granularity, Long, &|s| {
                usable(s);
                s.set(at.limit, limit);
                s.clear(at.rights, 1 << 15);
                if pages {
                    s.or(at.rights, 1 << 15);
                }
            });
        }
    }
    for register in [Register::Ds, Register::Es, Register::Fs, Register::Gs] {
        let at = fields_of(register);
        case(Rule::DataAccessed, Long, &|s| s.clear(at.rights, 1));
        case(Rule::DataReadable, Long, &|s| s.set(at.rights, 0xc09d));
        case(Rule::DataDpl, Bound, &|s| s.or(at.selector, 1));
    }
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
        for bit in 0..3 {
            case(Rule::HostSelector, Long, &|s| s.or(field, 1 << bit));
        }
    }
    let bases = [
        host::FS_BASE,
        host::GS_BASE,
        host::TR_BASE,
        host::GDTR_BASE,
        host::IDTR_BASE,
    ];
    for field in bases {
        case(Rule::HostBase, Long, &|s| s.set(field, BENT));
    }
    for mode in [Long, Real] {
        // Virtual-8086 mode has segments of its own.
        let mut fields = structure(&able, V8086);
        if mode == Long {
            fields.or(ENTRY, 0x200);
            fields.or(guest::CR4, 1 << 5);
            fields.set(EFER, 0x500);
        } else {
            fields.clear(guest::CR0, 1 << 31 | 1);
        }
        cases.push((Rule::RflagsV8086, V8086, fields));
    }
    cases
}
