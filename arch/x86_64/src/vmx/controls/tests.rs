//! The words of controls, for processors with more and with less.

use super::*;
use crate::vmx::testing::capabilities;

fn without(word: fn(&mut Capabilities) -> &mut Allowed, bits: u32) -> Result<Controls, NoVmx> {
    let mut less = capabilities();
    word(&mut less).may &= !bits;
    Controls::compute(&less)
}

#[test]
fn the_words_are_ones_that_the_processor_takes() {
    let able = capabilities();
    let controls = Controls::compute(&able).unwrap();
    assert!(able.pin.takes(controls.pin));
    assert!(able.primary.takes(controls.primary));
    assert!(able.secondary.takes(controls.secondary));
    assert!(able.exit.takes(controls.exit));
    assert!(able.entry.takes(controls.entry));
}

#[test]
fn what_could_stop_or_observe_the_host_exits() {
    let controls = Controls::compute(&capabilities()).unwrap();
    // Interrupts, NMIs; HLT, MWAIT, RDPMC, MONITOR; WBINVD, ENCLS.
    assert_eq!(controls.pin & 0x9, 0x9);
    assert_eq!(controls.primary & 0x2000_0c80, 0x2000_0c80);
    assert_eq!(controls.secondary & 0x8040, 0x8040);
    // Without exits for all ports, since the bitmaps decide.
    assert_eq!(controls.primary & 0x1300_0000, 0x1200_0000);
}

#[test]
fn a_run_ends_by_its_own_timer_where_there_is_one() {
    let timer = 1 << 6;
    assert_ne!(Controls::compute(&capabilities()).unwrap().pin & timer, 0);
    let without = Capabilities {
        preemption_timer: false,
        ..capabilities()
    };
    assert_eq!(Controls::compute(&without).unwrap().pin & timer, 0);
}

#[test]
fn what_a_guest_does_best_by_itself_does_not_exit() {
    let controls = Controls::compute(&capabilities()).unwrap();
    // INVLPG, RDTSC, CR3, CR8, MOV DR, PAUSE, and the windows for interrupts and NMIs; descriptor tables.
    assert_eq!(controls.primary & 0x40d9_9204, 0);
    assert_eq!(controls.secondary & 0x4, 0);
}

#[test]
fn what_is_optional_is_used_where_it_is_there_alone() {
    let all = Controls::compute(&capabilities()).unwrap();
    for bit in [3, 5, 7, 12, 15, 20] {
        assert!(all.has(1 << bit), "{bit}");
        if bit != 5 {
            let less = without(|c| &mut c.secondary, 1 << bit).unwrap();
            assert_eq!(less.secondary, all.secondary & !(1 << bit), "{bit}");
        }
    }
    // Tags that cannot be dropped one by one are no use.
    let no_tags = Capabilities {
        vpid: false,
        ..capabilities()
    };
    assert!(!Controls::compute(&no_tags).unwrap().has(1 << 5));
}

#[test]
fn without_an_unrestricted_guest_real_mode_is_refused_and_said_so() {
    assert_eq!(Controls::compute(&capabilities()).unwrap().real_mode(), Ok(()));
    let bound = without(|c| &mut c.secondary, 1 << 7).unwrap();
    assert_eq!(bound.real_mode(), Err(NoRealMode));
    assert!(NoRealMode.to_string().contains("unrestricted"));
}

#[test]
fn each_control_that_is_needed_and_missing_is_named() {
    for (word, bits, meaning) in NEEDED {
        let pick: fn(&mut Capabilities) -> &mut Allowed = match word {
            Word::Pin => |c| &mut c.pin,
            Word::Primary => |c| &mut c.primary,
            Word::Secondary => |c| &mut c.secondary,
            Word::Exit => |c| &mut c.exit,
            Word::Entry => |c| &mut c.entry,
        };
        assert_eq!(without(pick, bits), Err(NoVmx::Missing(meaning)), "{bits:#x}");
    }
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let mut less = capabilities();
    less.pin.may &= !(1 << 5);
    less.primary.may &= !(1 << 21);
    less.secondary.may &= !2;
    less.ept_vpid = 0;
    let expected = Missing::VIRTUAL_NMIS
        | Missing::TPR_SHADOW
        | Missing::EPT
        | Missing::EPT_FOUR_LEVELS
        | Missing::EPT_WRITE_BACK
        | Missing::INVEPT;
    assert_eq!(Controls::compute(&less), Err(NoVmx::Missing(expected)));
}

#[test]
fn a_processor_that_insists_on_exits_nobody_expects_is_refused() {
    // The first processors could not leave CR3 to a guest.
    let mut old = capabilities();
    old.primary.must |= 1 << 15 | 1 << 16;
    assert_eq!(
        Controls::compute(&old),
        Err(NoVmx::Missing(Missing::FREE_INSTRUCTIONS))
    );
}
