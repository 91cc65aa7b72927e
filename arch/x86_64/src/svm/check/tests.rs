//! Each rule broken alone, on a block that is otherwise right.

use super::*;
use crate::svm::event::encode;
use crate::svm::intercepts;
use zerocopy::FromZeros;

const LIMITS: Limits = Limits {
    address_bits: 40,
    asids: 16,
    cr4: 0x0037_0fff,
};

fn good() -> Vmcb {
    let mut vmcb = Vmcb::new_zeroed();
    intercepts::install(&mut vmcb);
    vmcb.control.asid = 1;
    vmcb.control.nested_paging = 1;
    vmcb.control.nested_root = 0x1000;
    vmcb.control.port_map = 0x2000;
    vmcb.control.msr_map = 0x5000;
    vmcb.save.efer = EFER_SVME | EFER_LME | 1 << 10;
    vmcb.save.cr0 = CR0_PG | CR0_PE | 0x10;
    vmcb.save.cr4 = CR4_PAE;
    vmcb.save.cs.attributes = 0xa9b;
    vmcb.save.pat = 0x0007_0406_0007_0406;
    vmcb
}

fn wrong(break_it: impl FnOnce(&mut Vmcb)) -> Vec<Wrong> {
    let mut vmcb = good();
    break_it(&mut vmcb);
    let mut all = Vec::new();
    each_wrong(&vmcb, &LIMITS, |wrong| all.push(wrong));
    all
}

#[test]
fn a_block_that_is_right_breaks_no_rule() {
    assert_eq!(wrong(|_| ()), []);
}

#[test]
fn each_rule_that_is_broken_is_named() {
    assert_eq!(wrong(|b| b.save.efer &= !EFER_SVME), [Wrong::VirtualisationOff]);
    assert_eq!(wrong(|b| b.save.efer |= 1 << 40), [Wrong::Efer(1 << 40)]);
    assert_eq!(wrong(|b| b.save.cr0 |= CR0_NW), [Wrong::CacheBits]);
    assert_eq!(wrong(|b| b.save.cr0 |= CR0_NW | CR0_CD), []);
    assert_eq!(wrong(|b| b.save.cr0 |= 1 << 32), [Wrong::Cr0(1 << 32)]);
    assert_eq!(wrong(|b| b.save.cr3 = 1 << 40), [Wrong::Cr3(1 << 40)]);
    assert_eq!(wrong(|b| b.save.cr4 |= 1 << 22), [Wrong::Cr4(1 << 22)]);
    assert_eq!(wrong(|b| b.save.dr6 = 1 << 33), [Wrong::Dr6(1 << 33)]);
    assert_eq!(wrong(|b| b.save.dr7 = 1 << 33), [Wrong::Dr7(1 << 33)]);
    assert_eq!(wrong(|b| b.save.cr4 = 0), [Wrong::LongWithoutPae]);
    assert_eq!(wrong(|b| b.save.cr0 &= !CR0_PE), [Wrong::LongWithoutProtection]);
    assert_eq!(wrong(|b| b.save.cs.attributes |= BIG), [Wrong::CodeWidth]);
    assert_eq!(wrong(|b| b.control.intercept_second = 0), [Wrong::VmrunFree]);
    assert_eq!(wrong(|b| b.control.asid = 0), [Wrong::Asid(0)]);
    assert_eq!(wrong(|b| b.control.asid = 16), [Wrong::Asid(16)]);
    let last = (1 << 40) - 0x1000;
    assert_eq!(wrong(|b| b.control.msr_map = last), [Wrong::PermissionMap(last)]);
    assert_eq!(wrong(|b| b.control.nested_root = 8), [Wrong::NestedRoot(8)]);
    assert_eq!(wrong(|b| b.save.pat = 2), [Wrong::Pat(2)]);
}

#[test]
fn an_event_that_does_not_exist_is_named() {
    let nmi_as_exception = encode(Event::Exception {
        vector: 2,
        code: None,
    });
    let beyond = encode(Event::Exception {
        vector: 32,
        code: None,
    });
    let no_kind = 1 << 31 | 7 << 8;
    for word in [nmi_as_exception, beyond, no_kind] {
        assert_eq!(
            wrong(|b| b.control.event_injection = word),
            [Wrong::Injection(word)]
        );
    }
    assert_eq!(wrong(|b| b.control.event_injection = encode(Event::Nmi)), []);
}

#[test]
fn an_explanation_lists_all_that_is_wrong() {
    let mut vmcb = good();
    vmcb.control.asid = 0;
    vmcb.save.cr0 |= CR0_NW;
    let text = Explanation {
        vmcb: &vmcb,
        limits: &LIMITS,
    }
    .to_string();
    assert_eq!(text, "CR0.NW without CR0.CD, ASID 0");
}
