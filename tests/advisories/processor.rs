//! The virtual processor: its instructions done in software, its local APIC, its page tables, its ports.

use std::collections::BTreeMap;

use xenvisor::model::clock::Instant;
use xenvisor::model::domain::params::Index;
use xenvisor::model::machine::{GuestRam, NotRam, Registers};
use xenvisor::model::number::{DomainId, GuestAddr, LinearAddr, VcpuId, Vector};
use xenvisor::model::vcpu::start::Segment;
use xenvisor_x86_64::devices::local_apic::{LocalApic, Trigger};
use xenvisor_x86_64::emulate::bus::{Bus, BusFault};
use xenvisor_x86_64::emulate::{CodeSize, Processor, Step, Stop, execute};
use xenvisor_x86_64::guest::cpuid::{Clock, CpuidPolicy, Leaf, Live, Offers};
use xenvisor_x86_64::guest::exception::Exception;
use xenvisor_x86_64::guest::page_walk::{
    Access, Cr0, Cr4, Efer, Kind, PageFaultCode, Paging, Privilege, WalkError, translate,
};
use xenvisor_x86_64::guest::segments::{Mode, Segments};

use crate::world::{World, run};
use xenvisor::prelude::*;

const NOW: Instant = Instant::ZERO;
const AT: u64 = 0x5000;

/// Linear memory at [`AT`], one page of it; everything else would be a page fault, and counts as ones here.
#[derive(Default)]
struct Memory {
    words: BTreeMap<u64, u64>,
    written: u32,
}

impl Bus for Memory {
    fn read(&mut self, at: LinearAddr, _: u8, _: bool) -> Result<u64, BusFault> {
        Ok(self.words.get(&at.raw()).copied().unwrap_or(u64::MAX))
    }
    fn write(&mut self, at: LinearAddr, _: u8, value: u64) -> Result<(), BusFault> {
        self.words.insert(at.raw(), value);
        self.written += 1;
        Ok(())
    }
    fn check_write(&mut self, _: LinearAddr, _: u8) -> Result<(), BusFault> {
        Ok(())
    }
}

/// A flat data segment of privilege level 3: present, writable, 4 GiB.
const USER_DATA: Segment = Segment {
    selector: 0x2b,
    attributes: 0xc0f3,
    limit: u32::MAX,
    base: 0,
};

fn user() -> Segments {
    Segments {
        es: USER_DATA,
        cs: Segment {
            selector: 0x33,
            attributes: 0xc0fb,
            ..USER_DATA
        },
        ss: USER_DATA,
        ds: USER_DATA,
        fs: USER_DATA,
        gs: USER_DATA,
    }
}

/// Runs one instruction; how it ended, and the registers afterwards.
fn emulate(
    bytes: &[u8],
    code: CodeSize,
    mode: Mode,
    segments: &Segments,
    rip: u64,
) -> (Result<Step, Stop>, Registers, Memory) {
    let mut registers = Registers {
        rbx: AT,
        rsp: AT + 0x800,
        rip,
        rflags: 2,
        ..Registers::default()
    };
    let mut memory = Memory::default();
    let mut processor = Processor {
        registers: &mut registers,
        segments,
        code,
        mode,
    };
    let ended = execute::run(bytes, &mut processor, &mut memory, 10);
    (ended, registers, memory)
}

/// The emulator knows no instruction that changes privilege, tables or control flow, so that there is no check to
/// forget: it is for accesses of integer instructions to memory that is none.
#[test]
#[rustfmt::skip]
fn xsa_105_106_110_191_196_nothing_that_needs_privilege_or_changes_control_flow_is_emulated() {
    let both: [(&str, &[u8]); 22] = [
        ("hlt",             &[0xf4]),
        ("lgdt [ebx]",      &[0x0f, 0x01, 0x13]),
        ("lidt [ebx]",      &[0x0f, 0x01, 0x1b]),
        ("lmsw [ebx]",      &[0x0f, 0x01, 0x33]),
        ("invlpg [ebx]",    &[0x0f, 0x01, 0x3b]),
        ("lldt [ebx]",      &[0x0f, 0x00, 0x13]),
        ("ltr [ebx]",       &[0x0f, 0x00, 0x1b]),
        ("int 0x80",        &[0xcd, 0x80]),
        ("int3",            &[0xcc]),
        ("int1",            &[0xf1]),
        ("iret",            &[0xcf]),
        ("far return",      &[0xcb]),
        ("far call [ebx]",  &[0xff, 0x1b]),
        ("far jump [ebx]",  &[0xff, 0x2b]),
        ("call [ebx]",      &[0xff, 0x13]),
        ("jump [ebx]",      &[0xff, 0x23]),
        ("mov ss, [ebx]",   &[0x8e, 0x13]),
        ("mov cr0, eax",    &[0x0f, 0x22, 0xc0]),
        ("wrmsr",           &[0x0f, 0x30]),
        ("syscall",         &[0x0f, 0x05]),
        ("sysenter",        &[0x0f, 0x34]),
        ("clts",            &[0x0f, 0x06]),
    ];
    let old: [(&str, &[u8]); 4] = [
        ("into",            &[0xce]),
        ("far call direct", &[0x9a, 0, 0, 0, 0, 0x08, 0]),
        ("far jump direct", &[0xea, 0, 0, 0, 0, 0x08, 0]),
        ("les eax, [ebx]",  &[0xc4, 0x03]),
    ];
    let in_32 = both.iter().chain(&old).map(|row| (row, CodeSize::Bits32, Mode::Protected));
    let in_64 = both.iter().map(|row| (row, CodeSize::Bits64, Mode::Flat));
    for ((name, bytes), code, mode) in in_32.chain(in_64) {
        let (ended, registers, memory) = emulate(bytes, code, mode, &user(), 0x1000);
        assert!(matches!(ended, Err(Stop::Unemulated { .. })), "{name}: {ended:?}");
        assert_eq!((registers.rip, memory.written), (0x1000, 0), "{name}");
    }
}

#[test]
fn xsa_186_the_instruction_pointer_wraps_at_the_width_of_the_code() {
    // mov [bx], al; mov [ebx], al: two bytes (three with an address prefix in 16-bit code).
    for (code, rip, next) in [
        (CodeSize::Bits32, 0xffff_fffe, 0),
        (CodeSize::Bits32, 0xffff_ffff, 1),
        (CodeSize::Bits16, 0xfffe, 0),
        (CodeSize::Bits64, 0xffff_fffe, 0x1_0000_0000),
    ] {
        let bytes: &[u8] = if code == CodeSize::Bits16 {
            &[0x88, 0x07]
        } else {
            &[0x88, 0x03]
        };
        let mode = if code == CodeSize::Bits64 {
            Mode::Flat
        } else {
            Mode::Protected
        };
        let (ended, registers, _) = emulate(bytes, code, mode, &user(), rip);
        assert!(matches!(ended, Ok(Step::Finished { .. })), "{code:?} {ended:?}");
        assert_eq!(registers.rip, next, "{code:?} from {rip:#x}");
    }
}

#[test]
fn xsa_191_a_null_segment_cannot_be_used() {
    // Not present, or marked unusable whatever else its attributes say: what processors leave of a null selector.
    for attributes in [0, 0x1_0000, 0x1_c0f3] {
        let null = Segment {
            selector: 0,
            attributes,
            ..USER_DATA
        };
        let segments = Segments { ds: null, ..user() };
        let (ended, _, memory) = emulate(&[0x88, 0x03], CodeSize::Bits32, Mode::Protected, &segments, 0);
        assert_eq!(ended, Err(Stop::Exception(Exception::GP)), "{attributes:#x}");
        assert_eq!(memory.written, 0);
        // In 64-bit code segments are flat, null or not.
        let (ended, ..) = emulate(&[0x88, 0x03], CodeSize::Bits64, Mode::Flat, &segments, 0);
        assert!(ended.is_ok(), "{attributes:#x}");
    }
}

/// Guest-physical memory of eight-byte words; zero where nothing was put.
#[derive(Default)]
struct Tables(BTreeMap<u64, u64>);

impl GuestRam for Tables {
    fn read(&self, at: GuestAddr, into: &mut [u8]) -> Result<(), NotRam> {
        let word = self.0.get(&(at.raw() & !7)).copied().unwrap_or(0).to_le_bytes();
        let from = usize::try_from(at.raw() & 7).unwrap();
        into.copy_from_slice(&word[from..from + into.len()]);
        Ok(())
    }
    fn write(&self, _: GuestAddr, _: &[u8]) -> Result<(), NotRam> {
        Ok(())
    }
    fn compare_exchange(&self, _: GuestAddr, _: u64, _: u64) -> Result<bool, NotRam> {
        Ok(true)
    }
}

#[test]
fn xsa_176_a_large_page_where_there_is_none_is_a_reserved_bit() {
    const PRESENT_WRITABLE_LARGE: u64 = 0x83;
    let paging = |huge_pages| Paging {
        cr0: Cr0::PAGING | Cr0::WRITE_PROTECT,
        cr3: 0x1000,
        cr4: Cr4::PHYSICAL_ADDRESS_EXTENSION,
        efer: Efer::LONG_MODE_ACTIVE,
        pointers: None,
        protection_keys: 0,
        address_bits: 40,
        huge_pages,
    };
    let walk = |tables: &Tables, huge_pages| {
        let access = Access {
            kind: Kind::Read,
            privilege: Privilege::Supervisor {
                alignment_check: false,
            },
        };
        translate(tables, &paging(huge_pages), LinearAddr::new(0x1234), access)
    };
    let is_reserved = |ended: Result<_, WalkError>| matches!(ended, Err(WalkError::Fault(fault)) if fault.code.contains(PageFaultCode::RESERVED));
    // The fourth level has no large pages at all; the third has them where CPUID says so.
    let fourth = Tables([(0x1000, PRESENT_WRITABLE_LARGE)].into());
    assert!(is_reserved(walk(&fourth, true).map(drop)));
    let third = Tables([(0x1000, 0x2003), (0x2000, PRESENT_WRITABLE_LARGE)].into());
    assert!(is_reserved(walk(&third, false).map(drop)));
    assert_eq!(walk(&third, true).map(|found| found.at.raw()), Ok(0x1234));
}

/// An APIC that its guest has enabled, as x2APIC.
fn x2apic() -> LocalApic {
    let mut apic = LocalApic::new(VcpuId::new(0), 40);
    apic.write_mmio(0xf0, 4, 0x1ff, NOW);
    apic.set_base_msr(apic.base_msr() | 1 << 10).unwrap();
    apic
}

#[test]
fn xsa_108_the_x2apic_has_no_registers_beyond_its_page() {
    let mut apic = x2apic();
    for msr in 0x840..=0xbff {
        assert_eq!(apic.read_msr(msr, NOW), Err(Exception::GP), "{msr:#x}");
        assert_eq!(apic.write_msr(msr, 0, NOW), Err(Exception::GP), "{msr:#x}");
    }
    // What the page shows is one register in sixteen bytes, whatever the offset and the size.
    let xapic = LocalApic::new(VcpuId::new(0), 40);
    for offset in [0xff0, 0xff8, 0xfff, 0x1000, 0x3ff0, u64::MAX] {
        for size in [1, 2, 4, 8] {
            let shown = xapic.read_mmio(offset, size, NOW);
            assert!(
                shown == 0 || shown == u64::MAX >> (64 - 8 * u32::from(size)),
                "{offset:#x}: {shown:#x}"
            );
        }
    }
}

#[test]
fn xsa_462_an_illegal_vector_in_the_error_entry_is_an_error_that_ends() {
    let mut apic = x2apic();
    // The error entry itself has an illegal vector, and is not masked.
    apic.write_msr(0x837, 5, NOW).unwrap();
    // An interrupt to itself with an illegal vector: an error about sending, whose own interrupt is an error.
    for _ in 0..1000 {
        apic.write_msr(0x83f, 3, NOW).unwrap();
        assert!(!apic.accept(Vector::new(3), Trigger::Edge));
    }
    assert_eq!(apic.highest_pending(), None);
    apic.write_msr(0x828, 0, NOW).unwrap();
    assert_ne!(apic.read_msr(0x828, NOW).unwrap() & 0x60, 0, "the guest is told");
}

fn cpuid(leaf: u32) -> Leaf {
    // A processor that has everything.
    let everything = |leaf: u32, _: u32| match leaf {
        0 => Leaf {
            eax: 0xd,
            ebx: 0x6874_7541,
            ecx: 0x444d_4163,
            edx: 0x6974_6e65,
        },
        0x8000_0000 => Leaf {
            eax: 0x8000_0021,
            ..Leaf::NOTHING
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
        speculation_control: true,
        invpcid: true,
        tsc_aux: true,
        vcpus: 1,
    };
    let clock = Clock {
        khz: 1,
        host_khz: 1,
        offset: 0,
        multiplier: 1,
        shift: 0,
        reliable: true,
        rdtscp: true,
    };
    let live = Live {
        domain: DomainId::new(1),
        vcpu: VcpuId::new(0),
        cr4: 0,
        xcr0: 7,
        long_mode: true,
        apic: true,
    };
    CpuidPolicy::new(&everything, &offers, clock).answer(leaf, 0, &live)
}

#[test]
fn xsa_35_no_guest_is_shown_or_can_switch_on_nested_virtualisation() {
    assert_eq!(cpuid(1).ecx & 1 << 5, 0, "VMX");
    assert_eq!(cpuid(0x8000_0001).ecx & 1 << 2, 0, "SVM");
    assert_eq!(cpuid(0x8000_000a), Leaf::NOTHING);
    let world = World::new(1, XenDefault::default());
    for value in [0, 1, u64::MAX] {
        assert!(crate::host::set_param(&world, 1, 1, Index::NESTEDHVM, value) < 0);
    }
}

#[test]
fn xsa_472_475_504_there_is_no_interface_of_hyper_v() {
    let base = cpuid(0x4000_0000);
    assert_eq!(
        (base.ebx, base.ecx, base.edx),
        (0x566e_6558, 0x6558_4d4d, 0x4d4d_566e),
        "Xen's own signature"
    );
    for leaf in 0x4000_0100..0x4000_0110 {
        assert_eq!(cpuid(leaf), Leaf::NOTHING, "{leaf:#x}");
    }
    let world = World::new(1, XenDefault::default());
    assert!(crate::host::set_param(&world, 1, 1, Index::VIRIDIAN, 1) < 0);
    // Its calls are those of a number with the top bit set.
    let hyper_v = 1_u32 << 31;
    for number in [hyper_v, hyper_v | 2, hyper_v | 0x5c] {
        let unknown = -i64::from(xenvisor::abi::errno::ENOSYS);
        assert_eq!(world.call(1, number, &[0, 0, 0]), unknown);
    }
}

#[test]
fn xsa_121_503_a_port_with_nobody_behind_it_reads_as_ones_in_any_size() {
    let mut programs = xenvisor::sim::programs::Programs::standard();
    programs.add("ports", |guest: xenvisor::sim::guest::SimGuest| async move {
        // Timer, clock, serial line, PCI configuration, and a few of nobody's.
        for port in [0x40, 0x70, 0x71, 0x3f8, 0xcf8, 0xcfc, 0, 0xffff] {
            for bytes in [1_u8, 2, 4] {
                let read = guest.port_read(port, bytes).await;
                let ones = u64::MAX >> (64 - 8 * u32::from(bytes));
                if read != ones {
                    let what = format!("port {port:#x}, {bytes} bytes: {read:#x}");
                    return Err(xenvisor::sim::guest::Trouble::new(what));
                }
            }
        }
        guest.shut_down(xenvisor::abi::sched::SHUTDOWN_poweroff).await
    });
    let mut system = System::default();
    system.guest(crate::world::guest("ports", "ports"));
    let run = run(1, programs, system);
    if run.finished.ended != xenvisor::hypercalls::launch::Ended::Well {
        run.fail(1, "a port gave something else than ones");
    }
}
