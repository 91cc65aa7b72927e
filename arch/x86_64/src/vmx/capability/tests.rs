//! Processors as their MSRs describe them.

use super::*;
use crate::vmx::testing::{capabilities, processor};

#[test]
fn a_processor_of_2015_can_do_all_that_is_used() {
    let able = capabilities();
    assert_eq!(able.revision, 4);
    assert!(able.unrestricted_guest && able.vpid && able.invept_single);
    assert!(able.rdtscp && able.invpcid && able.xsaves);
    assert!(able.ept_2m && able.ept_1g && able.accessed_and_dirty && able.preemption_timer);
    assert_eq!(able.missing(), Missing::empty());
    assert_eq!((able.cr0_fixed0, able.cr4_fixed0), (0x8000_0021, 0x2000));
}

#[test]
fn vmx_that_firmware_has_not_left_on_is_switched_off() {
    for control in [0, 1, 4, 3] {
        let read = Capabilities::read(|msr| if msr == 0x3a { control } else { processor(msr) });
        assert_eq!(read, Err(NoVmx::SwitchedOff), "{control:#x}");
    }
}

#[test]
fn the_truth_about_controls_is_asked_for_only_where_it_is_told() {
    let old = Capabilities::read(|msr| match msr {
        0x480 => processor(0x480) & !(1 << 55),
        0x482 => 0xfff9_fffe_0401_e172,
        0x48d..=0x490 => panic!("MSR {msr:#x} is not there"),
        _ => processor(msr),
    })
    .unwrap();
    assert_eq!(old.primary.must, 0x0401_e172);
    assert_eq!(capabilities().primary.must, 0x0400_6172);
}

#[test]
fn no_msr_is_asked_for_before_another_has_said_that_it_is_there() {
    let oldest = Capabilities::read(|msr| match msr {
        0x48e => processor(msr) & !(1 << 63),
        0x48b | 0x48c | 0x491 | 0x492 => panic!("MSR {msr:#x} is not there"),
        _ => processor(msr),
    })
    .unwrap();
    assert!(!oldest.unrestricted_guest && !oldest.vpid && !oldest.rdtscp);
    assert_eq!(
        oldest.missing(),
        Missing::EPT_FOUR_LEVELS | Missing::EPT_WRITE_BACK | Missing::INVEPT
    );
}

#[test]
fn each_part_of_extended_tables_that_is_missing_is_named() {
    let without = |bits: u64| {
        Capabilities {
            ept_vpid: capabilities().ept_vpid & !bits,
            ..capabilities()
        }
        .missing()
    };
    assert_eq!(without(ept::FOUR_LEVELS), Missing::EPT_FOUR_LEVELS);
    assert_eq!(without(ept::WRITE_BACK), Missing::EPT_WRITE_BACK);
    assert_eq!(without(ept::INVEPT), Missing::INVEPT);
    assert_eq!(without(ept::INVEPT_SINGLE), Missing::empty());
    assert_eq!(without(ept::INVEPT_SINGLE | ept::INVEPT_ALL), Missing::INVEPT);
    let uncached = Capabilities {
        basic: capabilities().basic & !(0xf << 50),
        ..capabilities()
    };
    assert_eq!(uncached.missing(), Missing::WRITE_BACK_STRUCTURES);
}

#[test]
fn what_is_missing_is_said_in_a_sentence() {
    let missing = NoVmx::Missing(Missing::EPT | Missing::TPR_SHADOW);
    assert_eq!(
        missing.to_string(),
        "the processor's VMX lacks extended page tables; a shadow of the task priority"
    );
    for part in Missing::all().iter() {
        assert_ne!(part.phrase(), "something unnamed", "{part:?}");
    }
}

#[test]
fn a_word_has_what_it_must_and_nothing_that_it_may_not() {
    let allowed = Allowed::from_msr(0x0000_00ff_0000_0016);
    assert!(allowed.takes(0x16) && allowed.takes(0xff));
    assert!(!allowed.takes(0x06) && !allowed.takes(0x116));
    assert!(allowed.offers(0) && !allowed.offers(0x100));
}
