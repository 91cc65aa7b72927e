//! The local APIC by the manual, as xAPIC and as x2APIC, against a reference of sets.

use super::*;
use std::collections::BTreeSet;
use xenvisor_core::machine::IpiKind;

const NOW: Instant = Instant::ZERO;

fn at(ns: u64) -> Instant {
    Instant::from_ns(ns)
}

fn vector(raw: u8) -> Vector {
    Vector::new(raw)
}

/// The APIC of vcpu `id`, software-enabled.
fn enabled(id: u32) -> LocalApic {
    let mut apic = LocalApic::new(VcpuId::new(id), 40);
    apic.write_mmio(0xf0, 4, 0x1ff, NOW);
    apic
}

fn x2apic(id: u32) -> LocalApic {
    let mut apic = enabled(id);
    apic.set_base_msr(apic.base_msr() | 1 << 10).unwrap();
    apic
}

#[test]
fn after_power_on_it_is_what_xen_shows() {
    let apic = LocalApic::new(VcpuId::new(3), 40);
    assert_eq!(apic.base_msr(), 0xfee0_0800);
    assert_eq!(LocalApic::new(VcpuId::new(0), 40).base_msr(), 0xfee0_0900);
    for (offset, expected) in [
        (0x20, 6 << 24),
        (0x30, 0x50014),
        (0x80, 0),
        (0xd0, 0),
        (0xe0, 0xffff_ffff),
        (0xf0, 0xff),
        (0x320, MASKED.into()),
        (0x350, MASKED.into()),
        (0x370, MASKED.into()),
        (0x390, 0),
        (0x3e0, 0),
    ] {
        assert_eq!(apic.read_mmio(offset, 4, NOW), expected, "{offset:#x}");
    }
    assert!(!apic.is_enabled());
}

#[test]
fn an_upcall_to_a_disabled_apic_comes_when_it_is_enabled() {
    let mut apic = LocalApic::new(VcpuId::new(0), 40);
    apic.tell(vector(0xf3));
    assert_eq!(apic.highest_pending(), None);
    apic.write_mmio(0xf0, 4, 0x1ff, NOW);
    assert_eq!(apic.highest_pending(), Some(vector(0xf3)));
    apic.acknowledge(vector(0xf3));
    apic.write_mmio(0xb0, 4, 0, NOW);
    apic.write_mmio(0xf0, 4, 0x1ff, NOW);
    assert_eq!(apic.highest_pending(), None, "it comes once");
}

#[test]
fn a_disabled_apic_takes_nothing_and_masks_its_table() {
    let mut apic = enabled(0);
    apic.write_mmio(0x320, 4, 0x40, NOW);
    assert!(apic.accept(vector(0x50), Trigger::Edge));
    apic.write_mmio(0xf0, 4, 0xff, NOW);
    assert_eq!(apic.highest_pending(), None);
    assert!(!apic.accept(vector(0x60), Trigger::Edge));
    assert_eq!(apic.read_mmio(0x320, 4, NOW), u64::from(MASKED | 0x40));
    apic.write_mmio(0x320, 4, 0x40, NOW);
    assert_eq!(apic.read_mmio(0x320, 4, NOW), u64::from(MASKED | 0x40));
    // What was requested before is still there.
    apic.write_mmio(0xf0, 4, 0x1ff, NOW);
    assert_eq!(apic.highest_pending(), Some(vector(0x50)));
}

#[test]
fn an_interrupt_is_requested_served_and_ended() {
    let mut apic = enabled(0);
    assert!(apic.accept(vector(0x31), Trigger::Edge));
    assert!(
        !apic.accept(vector(0x31), Trigger::Edge),
        "it is requested already"
    );
    assert_eq!(apic.read_mmio(0x210, 4, NOW), 1 << 17);
    assert!(apic.acknowledge(vector(0x31)));
    assert!(!apic.acknowledge(vector(0x31)));
    assert_eq!(
        (apic.read_mmio(0x210, 4, NOW), apic.read_mmio(0x110, 4, NOW)),
        (0, 1 << 17)
    );
    assert_eq!(apic.processor_priority(), 0x30);
    apic.accept(vector(0x3f), Trigger::Edge);
    assert_eq!(apic.highest_pending(), None, "the same class waits");
    assert_eq!(apic.highest_requested(), Some(vector(0x3f)));
    apic.accept(vector(0x40), Trigger::Edge);
    assert_eq!(
        apic.highest_pending(),
        Some(vector(0x40)),
        "a higher one does not"
    );
    apic.acknowledge(vector(0x40));
    assert_eq!(apic.write_mmio(0xb0, 4, 0, NOW), Effect::Nothing);
    assert_eq!(apic.processor_priority(), 0x30);
    apic.write_mmio(0xb0, 4, 0, NOW);
    assert_eq!(apic.highest_pending(), Some(vector(0x3f)));
}

#[test]
fn the_end_of_a_level_interrupt_is_reported_and_that_of_an_edge_is_not() {
    let mut apic = enabled(0);
    for trigger in [Trigger::Level, Trigger::Edge] {
        apic.accept(vector(0x42), trigger);
        assert_eq!(
            apic.read_mmio(0x1a0, 4, NOW),
            if trigger == Trigger::Level { 4 } else { 0 }
        );
        apic.acknowledge(vector(0x42));
        let expected = if trigger == Trigger::Level {
            Effect::LevelEnded(vector(0x42))
        } else {
            Effect::Nothing
        };
        assert_eq!(apic.write_mmio(0xb0, 4, 0, NOW), expected);
    }
}

#[test]
fn vectors_are_handed_out_by_the_priority_rule_of_the_manual() {
    // The reference: plain sets, and the rule in words.
    let mut seed = 0x1234_5678_9abc_def0_u64;
    let mut random = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    };
    let (mut requested, mut served, mut priority) = (BTreeSet::new(), BTreeSet::new(), 0_u8);
    let mut apic = enabled(0);
    for _ in 0..20_000 {
        let byte = (random() & 0xff) as u8;
        match random() % 4 {
            0 if byte >= 16 => {
                assert_eq!(apic.accept(vector(byte), Trigger::Edge), requested.insert(byte));
            }
            1 => {
                priority = byte;
                apic.write_mmio(0x80, 4, byte.into(), NOW);
            }
            2 => {
                if let Some(top) = served.last().copied() {
                    served.remove(&top);
                }
                apic.write_mmio(0xb0, 4, 0, NOW);
            }
            _ => {
                let served_class = served.last().map_or(0, |top| top / 16);
                let expected = requested
                    .last()
                    .copied()
                    .filter(|top| top / 16 > served_class.max(priority / 16));
                assert_eq!(apic.highest_pending().map(Vector::raw), expected);
                if let Some(top) = expected {
                    assert!(apic.acknowledge(vector(top)));
                    requested.remove(&top);
                    served.insert(top);
                }
            }
        }
    }
}

#[test]
fn cr8_is_the_class_of_the_task_priority() {
    let mut apic = enabled(0);
    apic.write_mmio(0x80, 4, 0x57, NOW);
    assert_eq!(apic.cr8(), 5);
    assert_eq!(apic.processor_priority(), 0x57);
    apic.set_cr8(9).unwrap();
    assert_eq!(apic.read_mmio(0x80, 4, NOW), 0x90);
    assert_eq!(apic.set_cr8(16), Err(Exception::GP));
}

#[test]
fn parts_of_registers_can_be_touched_and_the_rest_of_a_line_is_empty() {
    let mut apic = enabled(3);
    assert_eq!(apic.read_mmio(0x23, 1, NOW), 6);
    assert_eq!(apic.read_mmio(0x32, 2, NOW), 5);
    assert_eq!(apic.read_mmio(0x34, 4, NOW), 0);
    assert_eq!(apic.read_mmio(0x32, 4, NOW), 0);
    assert_eq!(apic.read_mmio(0x30, 8, NOW), 0);
    assert_eq!(apic.read_mmio(0x3f0, 4, NOW), 0);
    apic.write_mmio(0x380, 4, 0x1122_3344, NOW);
    apic.write_mmio(0x381, 1, 0xaa, NOW);
    assert_eq!(apic.read_mmio(0x380, 4, NOW), 0x1122_aa44);
    apic.write_mmio(0x382, 4, 0, NOW);
    apic.write_mmio(0x390, 4, 1, NOW);
    apic.write_mmio(0x20, 4, 0, NOW);
    assert_eq!(apic.read_mmio(0x380, 4, NOW), 0x1122_aa44);
    assert_eq!(apic.read_mmio(0x20, 4, NOW), 6 << 24);
}

#[test]
fn focus_checking_is_a_bit_of_the_page_alone() {
    let mut apic = enabled(0);
    apic.write_mmio(0xf0, 4, 0xffff_ffff, NOW);
    assert_eq!(apic.read_mmio(0xf0, 4, NOW), 0x3ff);
    let mut apic = x2apic(0);
    assert_eq!(apic.write_msr(0x80f, 0x3ff, NOW), Err(Exception::GP));
    assert!(apic.write_msr(0x80f, 0x1ff, NOW).is_ok());
}

#[test]
fn the_base_moves_between_the_states_that_the_manual_joins() {
    const OFF: u64 = 0xfee0_0000;
    const ON: u64 = 0xfee0_0800;
    const X2: u64 = 0xfee0_0c00;
    let reach: [(u64, &[u64]); 3] = [(OFF, &[OFF]), (ON, &[ON]), (X2, &[ON, X2])];
    let allowed = [[true, true, false], [true, true, true], [true, false, true]];
    for ((_, way), row) in reach.iter().zip(allowed) {
        for ((to, _), ok) in reach.iter().zip(row) {
            let mut apic = LocalApic::new(VcpuId::new(1), 40);
            for step in *way {
                apic.set_base_msr(*step).unwrap();
            }
            assert_eq!(apic.set_base_msr(*to).is_ok(), ok, "{way:x?} to {to:#x}");
        }
    }
    let mut apic = LocalApic::new(VcpuId::new(1), 40);
    for reserved in [OFF | 0x400, ON | 1, ON | 0x200, ON | 1 << 40] {
        assert_eq!(apic.set_base_msr(reserved), Err(Exception::GP), "{reserved:#x}");
    }
    apic.set_base_msr(0xd000_0800).unwrap();
    assert_eq!(apic.mmio_page(), Some(GuestAddr::new(0xd000_0000)));
    apic.set_base_msr(0xd000_0c00).unwrap();
    assert_eq!(apic.mmio_page(), None);
    apic.set_base_msr(0xd000_0000).unwrap();
    assert_eq!((apic.mmio_page(), apic.is_hardware_enabled()), (None, false));
}

#[test]
fn turning_the_apic_off_and_on_resets_it() {
    let mut apic = enabled(1);
    apic.accept(vector(0x80), Trigger::Edge);
    apic.set_base_msr(0xfee0_0000).unwrap();
    apic.set_base_msr(0xfee0_0800).unwrap();
    assert_eq!(apic, LocalApic::new(VcpuId::new(1), 40));
}

#[test]
fn x2apic_registers_are_msrs_with_manners() {
    let mut apic = x2apic(20);
    assert_eq!(
        enabled(0).read_msr(0x802, NOW),
        Err(Exception::GP),
        "not in xAPIC mode"
    );
    assert_eq!(apic.read_msr(0x802, NOW), Ok(40));
    assert_eq!(apic.read_msr(0x80d, NOW), Ok(2 << 16 | 1 << 8));
    #[rustfmt::skip]
    let readable = [
        0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f, 0x810, 0x817, 0x818, 0x81f, 0x820, 0x827, 0x828, 0x830,
        0x832, 0x833, 0x834, 0x835, 0x836, 0x837, 0x838, 0x839, 0x83e,
    ];
    for msr in 0x800..=0x8ff {
        let expected =
            readable.contains(&msr) || (0x810..=0x827).contains(&msr) || (0x832..=0x839).contains(&msr);
        assert_eq!(apic.read_msr(msr, NOW).is_ok(), expected, "{msr:#x}");
    }
    for (msr, value) in [
        (0x802, 0),
        (0x803, 0),
        (0x808, 0x100),
        (0x80a, 0),
        (0x80b, 1),
        (0x80d, 0),
        (0x80e, 0),
        (0x80f, 0x1000),
        (0x828, 1),
        (0x830, 1 << 12),
        (0x831, 0),
        (0x832, 1 << 19),
        (0x837, 1 << 8),
        (0x838, 1 << 32),
        (0x839, 0),
        (0x83e, 4),
        (0x83f, 0x100),
        (0x8ff, 0),
    ] {
        assert_eq!(
            apic.write_msr(msr, value, NOW),
            Err(Exception::GP),
            "{msr:#x} {value:#x}"
        );
    }
    for (msr, value) in [
        (0x808, 0x20),
        (0x80b, 0),
        (0x828, 0),
        (0x832, 0x2_00ef),
        (0x835, 0x1_d7ff),
    ] {
        assert_eq!(apic.write_msr(msr, value, NOW), Ok(Effect::Nothing), "{msr:#x}");
    }
    apic.write_msr(0x83f, 0x77, NOW).unwrap();
    assert_eq!(apic.highest_pending(), Some(vector(0x77)));
}

#[test]
fn commands_become_interrupts_to_route() {
    let mut apic = enabled(1);
    let sent = |apic: &mut LocalApic, high: u64, low: u64| {
        apic.write_mmio(0x310, 4, high, NOW);
        apic.write_mmio(0x300, 4, low, NOW)
    };
    let ipi = |to, kind| {
        Effect::Send(Ipi {
            from: VcpuId::new(1),
            to,
            kind,
        })
    };
    #[rustfmt::skip]
    let table = [
        (4 << 24,    0x0000_4041, ipi(IpiTarget::Physical(4), IpiKind::Fixed(vector(0x41)))),
        (0xff << 24, 0x0000_4041, ipi(IpiTarget::All, IpiKind::Fixed(vector(0x41)))),
        (3 << 24,    0x0000_4941, ipi(IpiTarget::Logical(3), IpiKind::LowestPriority(vector(0x41)))),
        (0,          0x000c_4400, ipi(IpiTarget::Others, IpiKind::Nmi)),
        (0,          0x000c_c500, ipi(IpiTarget::Others, IpiKind::Init)),
        (0,          0x000c_8500, Effect::Nothing),
        (2 << 24,    0x0000_4608, ipi(IpiTarget::Physical(2), IpiKind::Startup { page: 8 })),
        (0,          0x0008_4042, ipi(IpiTarget::All, IpiKind::Fixed(vector(0x42)))),
        (0,          0x0004_4043, Effect::Nothing),
        (0,          0x0004_4200, Effect::Nothing),
        (0,          0x0004_4400, ipi(IpiTarget::Physical(2), IpiKind::Nmi)),
    ];
    for (high, low, expected) in table {
        assert_eq!(sent(&mut apic, high, low), expected, "{high:#x} {low:#x}");
        assert_eq!(
            (apic.read_mmio(0x310, 4, NOW), apic.read_mmio(0x300, 4, NOW)),
            (high, low)
        );
    }
    assert_eq!(
        apic.highest_pending(),
        Some(vector(0x43)),
        "a self interrupt needs no routing"
    );
    let mut apic = x2apic(1);
    let effect = apic.write_msr(0x830, 0x1234_5678_0000_0041, NOW).unwrap();
    assert_eq!(
        effect,
        ipi(IpiTarget::Physical(0x1234_5678), IpiKind::Fixed(vector(0x41)))
    );
    assert_eq!(apic.read_msr(0x830, NOW), Ok(0x1234_5678_0000_0041));
}

#[test]
fn destinations_match_by_the_rules_of_the_receiver() {
    let mut flat = enabled(2);
    flat.write_mmio(0xd0, 4, 0x0400_0000, NOW);
    let mut cluster = enabled(3);
    cluster.write_mmio(0xe0, 4, 0x0fff_ffff, NOW);
    cluster.write_mmio(0xd0, 4, 0x2100_0000, NOW);
    let x2 = x2apic(10);
    #[rustfmt::skip]
    let table = [
        (&flat,    IpiTarget::Physical(4),         true),
        (&flat,    IpiTarget::Physical(5),         false),
        (&flat,    IpiTarget::Logical(0x0c),       true),
        (&flat,    IpiTarget::Logical(0x0b),       false),
        (&flat,    IpiTarget::Logical(0xff),       true),
        (&cluster, IpiTarget::Logical(0x23),       true),
        (&cluster, IpiTarget::Logical(0x22),       false),
        (&cluster, IpiTarget::Logical(0x33),       false),
        (&cluster, IpiTarget::Logical(0xff),       true),
        (&x2,      IpiTarget::Logical(0x1_0010),   true),
        (&x2,      IpiTarget::Logical(0x1_0020),   false),
        (&x2,      IpiTarget::Logical(0x2_0010),   false),
        (&x2,      IpiTarget::Logical(u32::MAX),   true),
        (&x2,      IpiTarget::Physical(20),        true),
        (&x2,      IpiTarget::Others,              true),
    ];
    let sent = |from, to| Ipi {
        from: VcpuId::new(from),
        to,
        kind: IpiKind::Nmi,
    };
    for (apic, to, expected) in table {
        assert_eq!(
            apic.is_addressed(&sent(0, to)),
            expected,
            "{to:?} at {}",
            apic.id()
        );
    }
    assert!(!flat.is_addressed(&sent(2, IpiTarget::Others)) && flat.is_addressed(&sent(2, IpiTarget::All)));
}

#[test]
fn errors_are_shown_when_the_guest_writes_the_status() {
    let mut apic = enabled(0);
    apic.write_mmio(0x370, 4, 0xfe, NOW);
    apic.write_mmio(0x300, 4, 0x0000_4005, NOW);
    assert_eq!(apic.read_mmio(0x280, 4, NOW), 0);
    assert_eq!(apic.highest_pending(), Some(vector(0xfe)));
    assert!(!apic.accept(vector(3), Trigger::Edge));
    apic.write_mmio(0x280, 4, 0, NOW);
    assert_eq!(apic.read_mmio(0x280, 4, NOW), 0x60);
    apic.write_mmio(0x280, 4, 0, NOW);
    assert_eq!(apic.read_mmio(0x280, 4, NOW), 0);
    // An illegal error vector must not call itself.
    apic.write_mmio(0x370, 4, 0x05, NOW);
    apic.write_mmio(0x300, 4, 0x0000_4005, NOW);
    apic.write_mmio(0x280, 4, 0, NOW);
    assert_eq!(apic.read_mmio(0x280, 4, NOW), 0x60);
}

#[test]
fn the_timer_requests_its_vector_unless_masked() {
    let mut apic = enabled(0);
    apic.write_mmio(0x3e0, 4, 0xb, NOW);
    apic.write_mmio(0x320, 4, 0xef, NOW);
    apic.write_mmio(0x380, 4, 100, at(50));
    assert_eq!(apic.next_deadline(), Some(at(1050)));
    assert_eq!(apic.read_mmio(0x390, 4, at(550)), 50);
    assert!(!apic.tick(at(1049)));
    assert!(apic.tick(at(1050)));
    assert_eq!(apic.highest_pending(), Some(vector(0xef)));
    // Masked, it counts all the same; what expired under the mask stays lost when the mask goes.
    apic.acknowledge(vector(0xef));
    apic.write_mmio(0xb0, 4, 0, at(1100));
    apic.write_mmio(0x320, 4, 0x1_00ef, at(1100));
    apic.write_mmio(0x380, 4, 100, at(1100));
    assert_eq!(
        (apic.next_deadline(), apic.read_mmio(0x390, 4, at(1600))),
        (None, 50)
    );
    apic.write_mmio(0x320, 4, 0xef, at(5000));
    assert_eq!((apic.tick(at(6000)), apic.highest_pending()), (false, None));
}

#[test]
fn a_tsc_deadline_in_the_past_is_due_at_once() {
    let scale = TimeScale::from_hz(2_000_000_000, 1_000_000, at(7000)).unwrap();
    let mut apic = x2apic(0);
    apic.write_msr(0x832, 0x4_00ec, at(7000)).unwrap();
    apic.set_tsc_deadline(10, &scale);
    assert!(apic.tick(at(7001)));
    apic.set_tsc_deadline(1_002_000, &scale);
    assert_eq!(apic.tsc_deadline(at(7500)), 1_002_000);
    assert!(apic.next_deadline().unwrap() >= at(8000));
    assert!(!apic.tick(at(7999)));
    apic.set_tsc_deadline(0, &scale);
    assert_eq!((apic.next_deadline(), apic.tsc_deadline(at(7999))), (None, 0));
}

#[test]
fn an_init_keeps_the_id_and_the_mode() {
    let mut apic = x2apic(5);
    apic.accept(vector(0x90), Trigger::Edge);
    apic.write_msr(0x808, 0x30, NOW).unwrap();
    apic.init();
    assert_eq!(
        (apic.read_msr(0x802, NOW), apic.read_msr(0x808, NOW)),
        (Ok(10), Ok(0))
    );
    assert!(!apic.is_enabled());
}

#[test]
fn no_sequence_of_accesses_upsets_it() {
    let mut seed = 99_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let scale = TimeScale::from_hz(1_000_000_000, 0, NOW).unwrap();
    let mut apic = enabled(0);
    for _ in 0..50_000 {
        let now = at(random() >> (random() % 64));
        let size = [1, 2, 4, 8, 3][(random() % 5) as usize];
        match random() % 6 {
            0 => {
                apic.write_mmio(random() & 0x3ff, size, random(), now);
            }
            1 => {
                let _ = apic.read_mmio(random(), size, now);
            }
            2 => {
                let _ = apic.write_msr(0x800 + (random() & 0xff) as u32, random() & 0x7_ffff, now);
            }
            3 if random() % 50 == 0 => {
                let _ = apic.set_base_msr(0xfee0_0000 | (random() & 0xc00));
            }
            4 => apic.set_tsc_deadline(random(), &scale),
            _ => {
                apic.tick(now);
                if let Some(top) = apic.highest_pending() {
                    apic.acknowledge(top);
                }
            }
        }
        if !apic.is_enabled() {
            assert_eq!((apic.highest_pending(), apic.next_deadline()), (None, None));
        }
    }
}
