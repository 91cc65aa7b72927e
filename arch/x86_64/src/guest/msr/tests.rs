//! What guests read and write in MSRs, and what faults.

use super::*;
use crate::guest::cpuid::{Clock, Leaf, Offers};
use xenvisor_core::machine::{Ipi, IpiKind, IpiTarget};
use xenvisor_core::number::VcpuId;

const CLOCK: Clock = Clock {
    khz: 1_000_000,
    host_khz: 1_000_000,
    offset: 0,
    multiplier: 1 << 31,
    shift: 1,
    reliable: true,
    rdtscp: true,
};

/// A processor that has everything, of this make.
fn policy(intel: bool, speculation_control: bool) -> CpuidPolicy {
    let name = if intel {
        [0x756e_6547, 0x6c65_746e, 0x4965_6e69]
    } else {
        [0x6874_7541, 0x444d_4163, 0x6974_6e65]
    };
    let host = move |leaf: u32, _| match leaf {
        0 | 0x8000_0000 => Leaf {
            eax: leaf | 0x20,
            ebx: name[0],
            ecx: name[1],
            edx: name[2],
        },
        0x8000_0008 => Leaf {
            eax: 0x3028,
            ebx: u32::MAX,
            ecx: 0,
            edx: 0,
        },
        _ => Leaf {
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
        },
    };
    let offers = Offers {
        xcr0: 7,
        xsaves: true,
        speculation_control,
        invpcid: true,
        tsc_aux: true,
        vcpus: 1,
    };
    CpuidPolicy::new(&host, &offers, CLOCK)
}

struct World {
    policy: CpuidPolicy,
    apic: LocalApic,
    scale: TimeScale,
    msrs: Msrs,
    cr0: u64,
    efer: u64,
}

impl World {
    fn new(intel: bool) -> Self {
        Self {
            policy: policy(intel, true),
            apic: LocalApic::new(VcpuId::new(0), 40),
            scale: TimeScale::from_hz(1_000_000_000, 0, Instant::ZERO).unwrap(),
            msrs: Msrs::new(),
            cr0: 0x8000_0011,
            efer: 0xd01,
        }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Msrs, &mut Vcpu<'_>) -> R) -> R {
        let mut vcpu = Vcpu {
            policy: &self.policy,
            apic: &mut self.apic,
            now: Instant::from_ns(1000),
            scale: &self.scale,
            tsc: 1000,
            cr0: self.cr0,
            efer: self.efer,
            microcode: 0x1234_0000_0000,
        };
        act(&mut self.msrs, &mut vcpu)
    }

    fn read(&mut self, msr: u32) -> Result<Read, Exception> {
        self.with(|msrs, vcpu| msrs.read(msr, vcpu))
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<Write, Exception> {
        self.with(|msrs, vcpu| msrs.write(msr, value, vcpu))
    }
}

#[test]
fn the_unknown_is_a_protection_fault() {
    for intel in [true, false] {
        let mut world = World::new(intel);
        for msr in [
            2,
            0x2a,
            0x480,
            0x10a,
            0x10b,
            0x122,
            0x345,
            0x606,
            0x4000_0001,
            0x4000_02ff,
            0xc001_0011,
            0xc001_0114,
            0xc001_0117,
        ] {
            assert_eq!(world.read(msr), Err(Exception::GP), "read {msr:#x}");
            assert_eq!(world.write(msr, 0), Err(Exception::GP), "write {msr:#x}");
        }
    }
}

#[test]
fn each_vendor_has_its_own() {
    for (msr, intel, value) in [
        (FEATURE_CONTROL, true, 1),
        (MISC_ENABLE, true, 0x1801),
        (PERF_STATUS, true, 0),
        (0x186, true, 0),
        (HWCR, false, 0),
        (DE_CFG, false, 2),
        (INT_PENDING, false, 0),
        (0xc001_0004, false, 0),
        (0xc001_001a, false, 0),
        (0xc001_102c, false, 0),
        (BUS_FREQUENCY, false, 0),
        (TSC_RATIO, false, 0),
        (0xc000_0409, false, 1 << 61),
    ] {
        assert_eq!(World::new(intel).read(msr), Ok(Read::Value(value)), "{msr:#x}");
        assert_eq!(World::new(!intel).read(msr), Err(Exception::GP), "{msr:#x}");
    }
    assert_eq!(World::new(true).write(FEATURE_CONTROL, 1), Err(Exception::GP));
    assert_eq!(World::new(true).write(MISC_ENABLE, 0x1801), Ok(Write::Done));
    assert_eq!(World::new(true).write(MISC_ENABLE, 0x0001), Err(Exception::GP));
    assert_eq!(World::new(false).write(HWCR, 0x40), Ok(Write::Done));
    assert_eq!(World::new(false).write(PATCH_LOADER, 0x1000), Ok(Write::Done));
    assert_eq!(World::new(false).read(PATCH_LOADER), Err(Exception::GP));
    assert_eq!(World::new(false).write(BUS_FREQUENCY, 0), Err(Exception::GP));
    assert_eq!(World::new(false).write(TSC_RATIO, 0), Ok(Write::Done));
    assert_eq!(World::new(false).write(TSC_RATIO, u64::MAX), Err(Exception::GP));
    assert_eq!(World::new(false).write(0xc000_0408, 0), Ok(Write::Done));
}

#[test]
fn what_a_guest_of_amds_writes_for_its_debugger_stays_and_does_nothing() {
    for msr in [DEBUG_CONTROL, 0x1db, 0x1de] {
        let mut world = World::new(false);
        assert_eq!(world.write(msr, 1 << 6), Ok(Write::Done), "{msr:#x}");
        assert_eq!(world.read(msr), Ok(Read::Value(1 << 6)), "{msr:#x}");
        assert_eq!(
            World::new(true).write(msr, 1 << 6),
            Err(Exception::GP),
            "{msr:#x}"
        );
    }
}

#[test]
fn a_hypercall_page_is_asked_for_by_its_frame() {
    let mut world = World::new(false);
    assert_eq!(
        world.write(HYPERCALL_PAGE, 0x1234_5000),
        Ok(Write::HypercallPage(Gfn::new(0x12345)))
    );
    assert_eq!(world.write(HYPERCALL_PAGE, 0x1234_5001), Err(Exception::GP));
    assert_eq!(world.read(HYPERCALL_PAGE), Ok(Read::Value(0)));
}

#[test]
fn held_registers_get_checked_values() {
    let mut world = World::new(false);
    for (msr, held, good, bad) in [
        (PAT, Held::Pat, 0x0007_0406_0007_0406, 0x0207_0406_0007_0406),
        (LSTAR, Held::LongStar, 0xffff_8000_0000_0000, 0x8000_0000_0000),
        (GS_BASE, Held::GsBase, 0x7fff_ffff_ffff, 1 << 63),
        (TSC_AUX, Held::TscAux, 0xffff_ffff, 1 << 32),
        (SYSENTER_EIP, Held::SysenterEip, 0, 1 << 50),
        (SPECULATION_CONTROL, Held::SpeculationControl, 5, 8),
    ] {
        assert_eq!(world.read(msr), Ok(Read::Held(held)));
        assert_eq!(world.write(msr, good), Ok(Write::Held(held, good)), "{msr:#x}");
        assert_eq!(world.write(msr, bad), Err(Exception::GP), "{msr:#x}");
    }
}

#[test]
fn efer_keeps_its_mode_while_paging_and_its_lma_always() {
    let mut world = World::new(false);
    let efer = |value| Ok(Write::Held(Held::Efer, value));
    assert_eq!(world.write(EFER, 0xd01), efer(0xd01));
    assert_eq!(
        world.write(EFER, 0x901),
        efer(0xd01),
        "LMA is not the guest's to clear"
    );
    assert_eq!(world.write(EFER, 0x801), Err(Exception::GP), "LME while paging");
    assert_eq!(world.write(EFER, 0x1d01), Err(Exception::GP), "SVME");
    world.cr0 = 0x11;
    world.efer = 0;
    assert_eq!(world.write(EFER, 0x500), efer(0x100), "LMA comes with paging");
}

#[test]
fn the_tsc_moves_and_remembers_by_how_much() {
    for intel in [true, false] {
        let mut world = World::new(intel);
        assert_eq!(world.read(TSC), Ok(Read::Value(1000)));
        assert_eq!(world.write(TSC, 5000), Ok(Write::MoveTsc(4000)));
        assert_eq!(world.read(TSC_ADJUST), Ok(Read::Value(4000)));
        assert_eq!(
            world.write(TSC_ADJUST, 0),
            Ok(Write::MoveTsc(0_u64.wrapping_sub(4000)))
        );
        assert_eq!(world.read(TSC_ADJUST), Ok(Read::Value(0)));
    }
}

#[test]
fn the_local_apic_is_reached_by_its_msrs() {
    let mut world = World::new(true);
    assert_eq!(world.read(APIC_BASE), Ok(Read::Value(0xfee0_0900)));
    assert_eq!(world.read(0x802), Err(Exception::GP));
    assert_eq!(world.write(APIC_BASE, 0xfee0_0d00), Ok(Write::Done));
    assert_eq!(world.read(0x803), Ok(Read::Value(0x50014)));
    assert_eq!(world.write(0x80f, 0x1ff), Ok(Write::Done));
    let sent = Ipi {
        from: VcpuId::new(0),
        to: IpiTarget::Physical(2),
        kind: IpiKind::Nmi,
    };
    assert_eq!(
        world.write(0x830, 2 << 32 | 0x4400),
        Ok(Write::Apic(Effect::Send(sent)))
    );
    assert_eq!(world.write(0x832, 0x4_00ec), Ok(Write::Done));
    assert_eq!(world.write(TSC_DEADLINE, 9000), Ok(Write::Done));
    assert_eq!(world.read(TSC_DEADLINE), Ok(Read::Value(9000)));
}

#[test]
fn memory_types_start_write_back_and_take_only_types() {
    let mut world = World::new(true);
    assert_eq!(world.read(0xfe), Ok(Read::Value(0x508)));
    assert_eq!(world.read(0x2ff), Ok(Read::Value(0x806)));
    #[rustfmt::skip]
    let table = [
        (0x2ff, 0xc00, true),                     (0x2ff, 0x802, false),  (0x2ff, 0x1806, false),
        (0x250, 0x0606_0606_0606_0606, true),     (0x250, 0x0706_0606_0606_0606, false),
        (0x26f, 0x0505_0505_0505_0505, true),     (0x200, 0xc000_0000, true),
        (0x201, 0xff_c000_0800, true),            (0x200, 0xc000_0003, false),
        (0x201, 0x1ff_c000_0800, false),          (0x201, 0xff_c000_0801, false),
        (0x20f, 0x800, true),                     (0xfe, 0x508, false),
    ];
    for (msr, value, good) in table {
        let expected = if good { Ok(Write::Done) } else { Err(Exception::GP) };
        assert_eq!(world.write(msr, value), expected, "{msr:#x} {value:#x}");
        if good {
            assert_eq!(world.read(msr), Ok(Read::Value(value)), "{msr:#x}");
        }
    }
    for msr in [0x210, 0x251, 0x270] {
        assert_eq!(world.read(msr), Err(Exception::GP), "{msr:#x}");
    }
}

#[test]
fn machine_check_banks_are_there_and_empty() {
    let mut intel = World::new(true);
    let mut amd = World::new(false);
    assert_eq!(intel.read(0x179), Ok(Read::Value(0x100_0802)));
    assert_eq!(amd.read(0x179), Ok(Read::Value(2)));
    for (msr, value) in [(0x400, u64::MAX), (0x401, 0), (0x407, 0), (0x17a, 0)] {
        assert_eq!(amd.read(msr), Ok(Read::Value(value)), "{msr:#x}");
        assert_eq!(amd.write(msr, 0), Ok(Write::Done), "{msr:#x}");
    }
    // Beyond the banks there is nothing, in silence.
    for msr in [0x408, 0x47f, 0x17b, 0x280, 0x29f] {
        assert_eq!(amd.read(msr), Ok(Read::Value(0)), "{msr:#x}");
        assert_eq!(amd.write(msr, u64::MAX), Ok(Write::Done), "{msr:#x}");
        assert_eq!(amd.read(msr), Ok(Read::Value(0)), "{msr:#x}");
    }
    for msr in [0, 1] {
        assert_eq!(amd.read(msr), Ok(Read::Value(0)), "{msr:#x}");
        assert_eq!(amd.write(msr, 0), Err(Exception::GP), "{msr:#x}");
    }
    assert_eq!(amd.write(0x179, 0), Ok(Write::Done));
    assert_eq!(amd.read(0x179), Ok(Read::Value(2)));
    assert_eq!(amd.write(0x17a, 9), Ok(Write::Done));
    assert_eq!(amd.read(0x17a), Ok(Read::Value(9)));
    assert_eq!(amd.write(0x401, 1), Err(Exception::GP));
    assert_eq!(intel.write(0x281, 0x4000_0001), Ok(Write::Done));
    assert_eq!(intel.read(0x281), Ok(Read::Value(0x4000_0001)));
    assert_eq!(
        (intel.read(0x29f), intel.write(0x281, 1 << 31)),
        (Ok(Read::Value(0)), Err(Exception::GP))
    );
}

#[test]
fn speculation_registers_are_there_if_shown() {
    let mut world = World::new(false);
    assert_eq!(world.write(PREDICTION_COMMAND, 1), Ok(Write::PredictionBarrier));
    assert_eq!(world.write(PREDICTION_COMMAND, 2), Err(Exception::GP));
    assert_eq!(world.read(PREDICTION_COMMAND), Err(Exception::GP));
    world.policy = policy(false, false);
    assert_eq!(world.read(SPECULATION_CONTROL), Err(Exception::GP));
    assert_eq!(world.write(SPECULATION_CONTROL, 0), Err(Exception::GP));
    assert_eq!(
        (world.read(XSS), world.write(XSS, 1)),
        (Ok(Read::Value(0)), Err(Exception::GP))
    );
}

#[test]
fn cpuid_faults_when_the_guest_asks_for_it() {
    let mut world = World::new(true);
    assert_eq!(world.read(PLATFORM_INFO), Ok(Read::Value(1 << 31)));
    assert!(!world.msrs.cpuid_faults());
    assert_eq!(world.write(FEATURES_ENABLED, 1), Ok(Write::Done));
    assert!(world.msrs.cpuid_faults());
    assert_eq!(world.write(FEATURES_ENABLED, 2), Err(Exception::GP));
}

#[test]
fn what_passes_through_is_what_backends_hold() {
    let world = World::new(false);
    for msr in PASS_THROUGH {
        assert!(held(msr, &world.policy).is_some(), "{msr:#x}");
    }
}
