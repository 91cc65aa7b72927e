//! What CPUID tells guests: only what works, and what Xen tells.

use super::xstate::set_xcr;
use super::*;
use crate::guest::exception::Exception;
use std::collections::BTreeMap;

/// A processor made of the leaves written down here; the rest is zero.
struct Host(BTreeMap<(u32, u32), [u32; 4]>);

impl Host {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> Leaf {
        let [eax, ebx, ecx, edx] = self.0.get(&(leaf, subleaf)).copied().unwrap_or([0; 4]);
        Leaf { eax, ebx, ecx, edx }
    }
}

const ALL: u32 = u32::MAX;

/// A processor that claims every feature there is or will be.
fn boastful(name: [u32; 3]) -> Host {
    let [ebx, ecx, edx] = name;
    let mut leaves = BTreeMap::from([
        ((0, 0), [0x20, ebx, ecx, edx]),
        ((1, 0), [0xf0a2_0f12, 0x3f10_0800, ALL, ALL]),
        ((2, 0), [0x00fe_ff03, 0xf0, 0, 0]),
        ((4, 0), [0xfc00_4121, 0x01c0_003f, 0x3f, 0]),
        ((4, 1), [0xfc00_4122, 0x01c0_003f, 0x3f, 0]),
        ((5, 0), [0x40, 0x40, 3, 0x1111]),
        ((6, 0), [0x75, 2, 9, 0]),
        ((7, 0), [2, ALL, ALL, ALL]),
        ((7, 1), [ALL, ALL, ALL, ALL]),
        ((7, 2), [ALL, ALL, ALL, ALL]),
        ((0xa, 0), [0x0730_0404, 0, 0, 0x603]),
        ((0xb, 0), [1, 2, 0x100, 9]),
        ((0xd, 0), [0x6_02ff, 0xa88, 0x2b00, 0]),
        ((0xd, 1), [0x1f, 0x988, 0x1900, 0]),
        ((0xd, 2), [0x100, 0x240, 0, 0]),
        ((0xd, 3), [0x40, 0x3c0, 0, 0]),
        ((0xd, 4), [0x40, 0x400, 0, 0]),
        ((0xd, 5), [0x40, 0x440, 0, 0]),
        ((0xd, 6), [0x200, 0x480, 0, 0]),
        ((0xd, 7), [0x400, 0x680, 0, 0]),
        ((0xd, 9), [8, 0xa80, 0, 0]),
        ((0xd, 17), [0x40, 0xac0, 2, 0]),
        ((0xd, 18), [0x2000, 0xb00, 6, 0]),
        ((0x8000_0000, 0), [0x8000_0028, ebx, ecx, edx]),
        ((0x8000_0001, 0), [0xf0a2_0f12, 0x2012_3456, ALL, ALL]),
        ((0x8000_0002, 0), [0x2044_4d41, 0, 0, 0]),
        ((0x8000_0006, 0), [1, 2, 3, 4]),
        ((0x8000_0007, 0), [ALL, ALL, ALL, ALL]),
        ((0x8000_0008, 0), [0x0030_3028, ALL, ALL, ALL]),
    ]);
    for leaf in 0x8000_0009..=0x8000_0028 {
        leaves.insert((leaf, 0), [ALL; 4]);
    }
    Host(leaves)
}

fn amd() -> Host {
    boastful([0x6874_7541, 0x444d_4163, 0x6974_6e65])
}

fn intel() -> Host {
    boastful([0x756e_6547, 0x6c65_746e, 0x4965_6e69])
}

const EVERYTHING: Offers = Offers {
    xcr0: u64::MAX,
    xsaves: true,
    speculation_control: true,
    invpcid: true,
    tsc_aux: true,
    vcpus: 3,
};

const CLOCK: Clock = Clock {
    khz: 2_112_003,
    host_khz: 2_112_000,
    offset: 0x1_0000_0002,
    multiplier: 0xf000_0001,
    shift: -1,
    reliable: true,
    rdtscp: true,
};

fn live() -> Live {
    Live {
        domain: DomainId::new(7),
        vcpu: VcpuId::new(2),
        cr4: 0,
        xcr0: 1,
        long_mode: true,
        apic: true,
    }
}

fn policy(host: &Host, offers: &Offers) -> CpuidPolicy {
    CpuidPolicy::new(&|leaf, subleaf| host.cpuid(leaf, subleaf), offers, CLOCK)
}

fn answer(policy: &CpuidPolicy, leaf: u32, subleaf: u32) -> [u32; 4] {
    let leaf = policy.answer(leaf, subleaf, &live());
    [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
}

#[test]
fn xen_introduces_itself() {
    let policy = policy(&amd(), &EVERYTHING);
    let name = answer(&policy, 0x4000_0000, 0);
    assert_eq!(name[0], 0x4000_0005);
    assert_eq!(
        [name[1], name[2], name[3]].map(u32::to_le_bytes).as_flattened(),
        b"XenVMMXenVMM"
    );
    assert_eq!(answer(&policy, 0x4000_0001, 0), [0x0004_0011, 0, 0, 0]);
    assert_eq!(answer(&policy, 0x4000_0002, 0), [1, 0x4000_0000, 0, 0]);
    assert_eq!(answer(&policy, 0x4000_0003, 0), [6, 0, 2_112_003, 1]);
    assert_eq!(answer(&policy, 0x4000_0003, 1), [2, 1, 0xf000_0001, u32::MAX]);
    assert_eq!(answer(&policy, 0x4000_0003, 2), [2_112_000, 0, 0, 0]);
    assert_eq!(answer(&policy, 0x4000_0004, 0), [0x5c, 2, 7, 0]);
    for (leaf, subleaf) in [
        (0x4000_0003, 3),
        (0x4000_0004, 1),
        (0x4000_0005, 0),
        (0x4000_0006, 0),
        (0x4000_0100, 0),
    ] {
        assert_eq!(answer(&policy, leaf, subleaf), [0; 4], "{leaf:#x}.{subleaf}");
    }
}

#[test]
fn what_cannot_work_is_hidden_even_if_the_host_boasts_of_it() {
    for host in [amd(), intel()] {
        let policy = policy(&host, &EVERYTHING);
        let [_, _, c, d] = answer(&policy, 1, 0);
        for (name, bit) in [
            ("MONITOR", 3),
            ("DS-CPL", 4),
            ("VMX", 5),
            ("SMX", 6),
            ("PDCM", 15),
            ("DCA", 18),
        ] {
            assert_eq!(c >> bit & 1, 0, "{name}");
        }
        for (name, bit) in [("PSN", 18), ("DS", 21), ("ACPI", 22), ("TM", 29), ("PBE", 31)] {
            assert_eq!(d >> bit & 1, 0, "{name}");
        }
        let [_, b, c, d] = answer(&policy, 7, 0);
        for (name, bit) in [("SGX", 2), ("HLE", 4), ("RTM", 11), ("MPX", 14), ("PT", 25)] {
            assert_eq!(b >> bit & 1, 0, "{name}");
        }
        for (name, bit) in [
            ("WAITPKG", 5),
            ("CET_SS", 7),
            ("LA57", 16),
            ("KL", 23),
            ("ENQCMD", 29),
            ("SGX_LC", 30),
        ] {
            assert_eq!(c >> bit & 1, 0, "{name}");
        }
        for (name, bit) in [("HYBRID", 15), ("IBT", 20), ("AMX_TILE", 24), ("ARCH_CAPS", 29)] {
            assert_eq!(d >> bit & 1, 0, "{name}");
        }
        let [_, _, c, _] = answer(&policy, 0x8000_0001, 0);
        for (name, bit) in [
            ("SVM", 2),
            ("IBS", 10),
            ("SKINIT", 12),
            ("LWP", 15),
            ("TOPOEXT", 22),
            ("MWAITX", 29),
        ] {
            assert_eq!(c >> bit & 1, 0, "{name}");
        }
        for (leaf, subleaf) in [(5, 0), (6, 0), (7, 2), (0xa, 0), (0xc, 0), (0xe, 0), (0x20, 0)] {
            assert_eq!(answer(&policy, leaf, subleaf), [0; 4], "{leaf:#x}.{subleaf}");
        }
        for leaf in [
            0x8000_000a,
            0x8000_001b,
            0x8000_001d,
            0x8000_001e,
            0x8000_001f,
            0x8000_0022,
            0x8001_0001,
        ] {
            assert_eq!(answer(&policy, leaf, 0), [0; 4], "{leaf:#x}");
        }
    }
}

#[test]
fn what_the_hypervisor_provides_shows_even_on_a_bare_host() {
    let mut bare = amd();
    bare.0.insert((1, 0), [0x0f12, 0, 0, 0]);
    let policy = policy(&bare, &EVERYTHING);
    let [_, _, c, d] = answer(&policy, 1, 0);
    assert_eq!(c, 1 << 21 | 1 << 24 | 1 << 31, "x2APIC, TSC deadline, hypervisor");
    assert_eq!(d, 1 << 9 | 1 << 28, "APIC, HTT");
    assert_eq!(policy.xcr0_offered(), 0);
    assert_eq!(answer(&policy, 0xd, 0), [0; 4]);
    assert_eq!(answer(&policy, 0, 0)[0], 0xd);
}

#[test]
fn bits_that_follow_the_vcpu_follow_it() {
    let policy = policy(&intel(), &EVERYTHING);
    let with = |change: fn(&mut Live)| {
        let mut live = live();
        change(&mut live);
        move |policy: &CpuidPolicy, leaf| policy.answer(leaf, 0, &live)
    };
    let (off, on) = (with(|_| {}), with(|live| live.cr4 = 1 << 18 | 1 << 22));
    assert_eq!(
        (
            off(&policy, 1).ecx & features::OSXSAVE,
            on(&policy, 1).ecx & features::OSXSAVE
        ),
        (0, 1 << 27)
    );
    assert_eq!(
        (
            off(&policy, 7).ecx & features::OSPKE,
            on(&policy, 7).ecx & features::OSPKE
        ),
        (0, 1 << 4)
    );
    assert_eq!(
        (off(&policy, 7).eax, policy.answer(7, 1, &live()).eax),
        (1, 0x1c30)
    );
    let no_apic = with(|live| live.apic = false);
    assert_eq!(
        (
            off(&policy, 1).edx & features::APIC,
            no_apic(&policy, 1).edx & features::APIC
        ),
        (1 << 9, 0)
    );
    let legacy = with(|live| live.long_mode = false);
    assert_eq!(off(&policy, 0x8000_0001).edx & features::SYSCALL, 1 << 11);
    assert_eq!(legacy(&policy, 0x8000_0001).edx & features::SYSCALL, 0);
    assert_eq!(
        off(&policy, 1).ebx >> 24,
        4,
        "the APIC id is twice the vcpu's number"
    );
    assert_eq!(answer(&policy, 0xb, 1), [0, 0, 1, 4]);
}

#[test]
fn amd_repeats_itself_where_intel_does_not() {
    let [_, _, _, d1] = answer(&policy(&amd(), &EVERYTHING), 1, 0);
    let [_, _, _, da] = answer(&policy(&amd(), &EVERYTHING), 0x8000_0001, 0);
    let [a, b, c, di] = answer(&policy(&intel(), &EVERYTHING), 0x8000_0001, 0);
    let common = 0x0183_f3ff;
    assert_eq!(da & common, d1 & common);
    assert_eq!(di & common, 0);
    assert_eq!((a, b, c & 0x21), (0, 0, 0x21));
    assert_eq!(
        answer(&policy(&amd(), &EVERYTHING), 0x8000_0000, 0)[0],
        0x8000_0021
    );
    assert_eq!(
        answer(&policy(&intel(), &EVERYTHING), 0x8000_0000, 0),
        [0x8000_0008, 0, 0, 0]
    );
    assert_eq!(answer(&policy(&amd(), &EVERYTHING), 2, 0), [0; 4]);
    assert_eq!(answer(&policy(&intel(), &EVERYTHING), 2, 0)[0], 0x00fe_ff01);
    // Without SYSCALL outside long mode, AMD still has it.
    let compat = Live {
        long_mode: false,
        ..live()
    };
    assert_ne!(
        policy(&amd(), &EVERYTHING).answer(0x8000_0001, 0, &compat).edx & features::SYSCALL,
        0
    );
}

#[test]
fn three_vcpus_are_three_cores_with_even_ids() {
    let amd = policy(&amd(), &EVERYTHING);
    let intel = policy(&intel(), &EVERYTHING);
    for policy in [&amd, &intel] {
        assert_eq!(answer(policy, 1, 0)[1] >> 16 & 0xff, 8, "ids in the package");
        assert_eq!(answer(policy, 1, 0)[0], 0x00a2_0f12);
    }
    assert_eq!(answer(&amd, 0x8000_0008, 0)[2], 3 << 12 | 7);
    assert_eq!(answer(&amd, 0x8000_0001, 0)[2] >> 1 & 1, 0, "not CMP_LEGACY");
    assert_eq!(answer(&intel, 4, 0)[0], 7 << 26 | 0x121);
    assert_eq!(answer(&intel, 4, 2), [0; 4]);
    assert_eq!(answer(&amd, 4, 0), [0; 4]);
    let many = policy(
        &super::tests::amd(),
        &Offers {
            vcpus: 128,
            ..EVERYTHING
        },
    );
    assert_eq!(
        (
            answer(&many, 1, 0)[1] >> 16 & 0xff,
            answer(&many, 0x8000_0008, 0)[2]
        ),
        (255, 8 << 12 | 255)
    );
}

#[test]
fn address_widths_are_the_hosts_and_nothing_else_of_that_word() {
    let policy = policy(&amd(), &EVERYTHING);
    assert_eq!(answer(&policy, 0x8000_0008, 0)[0], 0x3028);
    assert_eq!(policy.address_bits(), 40);
    assert!(policy.has_huge_pages());
}

#[test]
fn extended_state_has_the_sizes_of_what_is_enabled() {
    let policy = policy(
        &intel(),
        &Offers {
            xcr0: 0x2e7,
            ..EVERYTHING
        },
    );
    let at = |xcr0, subleaf| policy.answer(0xd, subleaf, &Live { xcr0, ..live() });
    assert_eq!(
        at(1, 0),
        Leaf {
            eax: 0x2e7,
            ebx: 576,
            ecx: 0xa88,
            edx: 0
        }
    );
    assert_eq!(at(7, 0).ebx, 0x340);
    assert_eq!(at(0x207, 0).ebx, 0xa88);
    assert_eq!(at(0xe7, 0).ebx, 0xa80);
    assert_eq!(
        at(0x207, 1),
        Leaf {
            eax: 0xf,
            ebx: 0x348,
            ecx: 0,
            edx: 0
        }
    );
    assert_eq!(
        at(7, 9),
        Leaf {
            eax: 8,
            ebx: 0xa80,
            ecx: 0,
            edx: 0
        }
    );
    for hidden in [0x3, 0x4, 0x11, 0x12, 0x3f, 0x40, u32::MAX] {
        assert_eq!(at(7, hidden), Leaf::NOTHING, "{hidden}");
    }
}

#[test]
fn features_of_a_state_go_with_the_state() {
    let avx = policy(
        &intel(),
        &Offers {
            xcr0: 7,
            ..EVERYTHING
        },
    );
    assert_eq!(
        answer(&avx, 7, 0)[1] & 0x1001_0000,
        0,
        "AVX-512 without its state"
    );
    assert_ne!(answer(&avx, 7, 0)[1] & 1 << 5, 0, "AVX2 with its state");
    assert_eq!(answer(&avx, 7, 0)[2] & features::PKU, 0);
    let none = policy(
        &intel(),
        &Offers {
            xcr0: 0,
            ..EVERYTHING
        },
    );
    assert_eq!(
        answer(&none, 1, 0)[2] & (1 << 26 | 1 << 28 | 1 << 12 | 1 << 29),
        0
    );
    assert_eq!(answer(&none, 7, 0)[1] & 1 << 5, 0);
    assert_eq!(none.cr4_allowed() >> 18 & 1, 0);
}

#[test]
fn control_bits_are_allowed_as_their_features_show() {
    let full = policy(&intel(), &EVERYTHING);
    assert_eq!(full.cr4_allowed(), 0x0077_0fff);
    assert_eq!(full.efer_allowed(), 0x4d01);
    let mut plain = amd();
    plain.0.insert((7, 0), [0; 4]);
    plain.0.insert((8, 0), [0; 4]);
    let plain = policy(
        &plain,
        &Offers {
            speculation_control: false,
            tsc_aux: false,
            ..EVERYTHING
        },
    );
    assert_eq!(plain.cr4_allowed(), 0x0006_07ff);
    assert!(!plain.has_speculation_control() && plain.has_prediction_barrier());
    assert!(!plain.has_tsc_aux());
}

#[test]
fn xcr0_takes_what_the_manual_lets_it_take() {
    let offered = 0x6_02ff;
    for good in [1, 3, 7, 0xe7, 0x1b, 0x207, 0x6_0003, 0x6_02ff] {
        assert_eq!(set_xcr(0, good, offered), Ok(good), "{good:#x}");
    }
    for bad in [
        0,
        2,
        5,
        6,
        9,
        0x13,
        0x27,
        0x67,
        0xe3,
        0x2_0003,
        0x107,
        1 << 63 | 7,
    ] {
        assert_eq!(set_xcr(0, bad, offered), Err(Exception::GP), "{bad:#x}");
    }
    assert_eq!(set_xcr(1, 7, offered), Err(Exception::GP));
    assert_eq!(set_xcr(0, 7, 3), Err(Exception::GP));
}

#[test]
fn half_a_group_of_components_is_not_offered() {
    let policy = policy(
        &intel(),
        &Offers {
            xcr0: 0x6f,
            ..EVERYTHING
        },
    );
    assert_eq!(policy.xcr0_offered(), 7);
}
