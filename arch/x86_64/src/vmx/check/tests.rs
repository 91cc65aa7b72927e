//! What our setup writes breaks no rule; each rule, broken alone, is the one that is named.

use std::collections::BTreeSet;

use x86::vmx::vmcs::{control, guest};

use super::cases::{
    ACTIVITY, BLOCKING, Break, CONTROLS, CS, DS, EFER, EVENT, FAR, GP, GP_CODE, GUEST, HOST, INT, INTERRUPT,
    LENGTH, NMI, PENDING, SS, TOGETHER, TR, posted, switching,
};
use super::cases_by_register::by_register;
use super::guests::Mode::{self, Long, Pae, Protected, Real};
use super::guests::{rich, structure};
use super::*;
use crate::vmx::testing::{Structure, capabilities};

fn all_wrong(fields: &Structure, able: &Capabilities) -> Vec<Wrong> {
    let mut all = Vec::new();
    each_wrong(fields, able, &mut |wrong| all.push(wrong));
    all
}

fn rules(fields: &Structure, able: &Capabilities) -> Vec<Rule> {
    all_wrong(fields, able).iter().map(|wrong| wrong.rule).collect()
}

fn expected(rule: Rule) -> BTreeSet<Rule> {
    let with = TOGETHER.iter().find(|(broken, _)| *broken == rule);
    let others = with.map_or(&[][..], |(_, others)| *others);
    others.iter().copied().chain([rule]).collect()
}

#[test]
fn a_structure_of_ours_breaks_no_rule_in_any_mode() {
    for able in [capabilities(), rich()] {
        for mode in Mode::ALL {
            let fields = structure(&able, mode);
            assert_eq!(all_wrong(&fields, &able), [], "{mode:?}");
        }
    }
}

#[test]
fn each_rule_that_is_broken_is_named_and_no_other() {
    for (rule, mode, break_it) in CONTROLS.iter().chain(HOST).chain(GUEST) {
        let mut able = rich();
        let mut fields = structure(&able, *mode);
        break_it(&mut fields, &mut able);
        let found: BTreeSet<Rule> = rules(&fields, &able).into_iter().collect();
        assert_eq!(found, expected(*rule), "{rule:?}");
    }
    for (rule, mode, fields) in by_register() {
        let found = rules(&fields, &rich());
        assert_eq!(found, [rule], "{mode:?}: {:?}", all_wrong(&fields, &rich()));
    }
}

#[test]
fn every_rule_is_broken_by_some_case() {
    let tables = CONTROLS.iter().chain(HOST).chain(GUEST);
    let broken: BTreeSet<Rule> = tables
        .map(|(rule, ..)| *rule)
        .chain(by_register().into_iter().map(|(rule, ..)| rule))
        .collect();
    let all: BTreeSet<Rule> = Rule::ALL.iter().copied().collect();
    let untried: Vec<&Rule> = all.difference(&broken).collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn what_looks_wrong_and_is_allowed_breaks_no_rule() {
    #[rustfmt::skip]
    let fine: &[(Mode, Break)] = &[
        (Long, |s, _| s.set(EVENT, GP_CODE)),
        (Real, |s, _| s.set(EVENT, GP)),
        (Long, |s, c| { c.basic |= 1 << 56; s.set(EVENT, GP); }),
        (Long, |s, c| { c.misc |= 1 << 30; s.set(EVENT, INT); }),
        (Long, |s, _| { s.set(EVENT, INT); s.set(LENGTH, 2); }),
        (Long, |s, _| s.set(EVENT, 0x8000_0700)),
        (Long, |s, _| { s.or(guest::RFLAGS, 1 << 9); s.set(EVENT, INTERRUPT); s.set(ACTIVITY, 1); }),
        (Long, |s, _| { s.set(EVENT, 0x8000_0312); s.set(ACTIVITY, 2); }),
        (Long, |s, _| { s.set(EVENT, NMI); s.set(BLOCKING, 0x10); }),
        (Long, |s, _| s.set(guest::RIP, (1 << 48) - 1)),
        (Long, |s, _| s.set(guest::LINK_PTR_FULL, 0x9000)),
        (Long, |s, _| s.or(guest::CR0, 3 << 29)),
        (Long, |s, _| { s.set(SS, 1 << 16); s.set(DS, 1 << 16); }),
        (Long, |s, _| { s.set(CS, 0xa0fb); s.set(SS, 0xc0f3); }),
        (Long, |s, _| s.set(PENDING, 0x1_1000)),
        (Pae, |s, _| s.set(guest::PDPTE1_FULL, 0x7001)),
        (Pae, |s, _| s.set(guest::PDPTE1_FULL, FAR)),
        (Protected, |s, _| s.set(TR, 0x83)),
        (Protected, |s, _| s.set(EFER, 0x100)),
        (Real, |s, _| s.set(CS, 0x93)),
        (Long, |s, _| posted(s)),
        (Long, |s, _| switching(s)),
        (Long, |s, _| { s.set(control::VMENTRY_MSR_LOAD_COUNT, 1); s.set(control::VMENTRY_MSR_LOAD_ADDR_FULL, FAR - 16); }),
    ];
    for (place, (mode, change)) in fine.iter().enumerate() {
        let mut able = rich();
        let mut fields = structure(&able, *mode);
        change(&mut fields, &mut able);
        assert_eq!(all_wrong(&fields, &able), [], "case {place}, {mode:?}");
    }
}

#[test]
fn an_explanation_lists_all_that_is_wrong() {
    let able = capabilities();
    let mut fields = structure(&able, Long);
    let text = |fields: &Structure| {
        Explanation {
            fields,
            capabilities: &able,
        }
        .to_string()
    };
    assert_eq!(text(&fields), "breaks no rule that is known here");
    fields.set(control::VPID, 0);
    fields.set(guest::CR3, FAR);
    assert_eq!(
        text(&fields),
        "virtual-processor identifier (VPID) is 0x0, but a guest's VPID is not 0 (SDM vol. 3 §27.2.1.1); \
         guest CR3 is 0x8000000000, but CR3 is a physical address (SDM vol. 3 §27.3.1.1)"
    );
}

#[test]
fn every_rule_has_a_sentence_and_a_section() {
    for rule in Rule::ALL {
        assert!(rule.section().starts_with("27."), "{rule:?}");
        assert!(rule.sentence().len() > 5, "{rule:?}");
    }
}
