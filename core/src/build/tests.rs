//! Whole guests: what is in memory, and what is said about it.

use std::format;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::kernel::tests::synthetic::{Elf, Header, LOAD, bzimage, kernel};
use super::kernel::tests::whole::FIXTURES;
use super::kernel::{Corruption, Format, Part};
use super::testing::Memory;
use super::*;
use crate::memory::room::starve;
use crate::number::{GIB, MIB};

fn plan<'a>(kernel: &'a [u8], initrd: Option<&'a [u8]>) -> Plan<'a> {
    Plan {
        kernel: Module {
            name: "vmlinuz",
            bytes: kernel,
        },
        initrd: initrd.map(|bytes| Module {
            name: "initrd",
            bytes,
        }),
        command_line: "console=hvc0 quiet",
        vcpus: 2,
    }
}

fn built(memory: u64, plan: &Plan<'_>) -> (Memory, Built) {
    let layout = Layout::new(memory).unwrap();
    let mut ram = Memory::backing(&layout);
    let built = build(plan, &layout, &mut ram).unwrap();
    (ram, built)
}

/// The string at an address, up to its zero.
fn text(ram: &Memory, at: u64) -> Vec<u8> {
    (at..)
        .map(|at| ram.bytes(at, 1)[0])
        .take_while(|byte| *byte != 0)
        .collect()
}

#[test]
fn the_start_info_leads_to_everything_the_guest_was_given() {
    let file = bzimage(FIXTURES[1].1);
    let initrd = vec![0x42; 5_000_001];
    let (ram, built) = built(64 * MIB, &plan(&file, Some(&initrd)));
    let info = built.start_info.start().raw();
    assert_eq!(
        (ram.u32(info), ram.u32(info + 4), ram.u32(info + 8)),
        (0x336e_c578, 1, 0)
    );
    assert_eq!(ram.u32(info + 12), 1, "one module");
    let module = ram.u64(info + 16);
    let (at, length) = (ram.u64(module), ram.u64(module + 8));
    assert_eq!(Extent::new(GuestAddr::new(at), length), built.initrd);
    assert_eq!(ram.bytes(at, initrd.len()), initrd);
    assert_eq!((ram.u64(module + 16), ram.u64(module + 24)), (0, 0));
    assert_eq!(text(&ram, ram.u64(info + 24)), b"console=hvc0 quiet");
    let rsdp = ram.u64(info + 32);
    assert_eq!(ram.bytes(rsdp, 8), b"RSD PTR ");
    assert_eq!((rsdp, rsdp % 16), (built.rsdp.raw(), 0));
    assert_eq!(ram.bytes(ram.u64(rsdp + 24), 4), b"XSDT");
    let map: Vec<_> = (0..u64::from(ram.u32(info + 48)))
        .map(|index| ram.u64(info + 40) + 24 * index)
        .map(|entry| {
            (
                ram.u64(entry),
                ram.u64(entry + 8),
                ram.u32(entry + 16),
                ram.u32(entry + 20),
            )
        })
        .collect();
    assert_eq!(
        map,
        [
            (0, 64 * MIB, 1, 0),
            (0xfc00_1000, 0x4000, 3, 0),
            (0xfeff_8000, 0x8000, 2, 0)
        ]
    );
    assert_eq!(ram.u32(info + 52), 0);
}

#[test]
fn the_first_vcpu_starts_at_the_entry_note_with_the_start_info_in_ebx() {
    let (_, built) = built(64 * MIB, &plan(&kernel(true).file(), None));
    let start = built.start;
    assert_eq!(start.registers.rip, 0x100_0040);
    assert_eq!(start.registers.rbx, built.start_info.start().raw());
    assert_eq!((start.cr0, start.cr3, start.cr4, start.efer), (0x11, 0, 0, 0));
    assert_eq!(start.registers.rflags, 2);
    assert_eq!(
        (start.cs.attributes, start.cs.limit, start.cs.base),
        (0xc09b, u32::MAX, 0)
    );
    for data in [start.ds, start.es, start.ss] {
        assert_eq!((data.attributes, data.limit, data.base), (0xc093, u32::MAX, 0));
    }
    assert_eq!(
        (start.tr.attributes, start.tr.limit, start.tr.base),
        (0x8b, 0x67, 0)
    );
}

#[test]
fn a_guest_without_an_initrd_has_no_module() {
    let (ram, built) = built(64 * MIB, &plan(&kernel(true).file(), None));
    let info = built.start_info.start().raw();
    assert_eq!(
        (ram.u32(info + 12), ram.u64(info + 16), built.initrd),
        (0, 0, None)
    );
}

#[test]
fn no_part_of_a_guest_lies_on_another() {
    let file = kernel(true).file();
    let initrd = vec![0x42; 3_000_000];
    for memory in [32 * MIB, 64 * MIB + 4096, 700 * MIB] {
        let (_, built) = built(memory, &plan(&file, Some(&initrd)));
        let layout = Layout::new(memory).unwrap();
        let mut parts: Vec<Extent> = built.kernel.segments.iter().copied().collect();
        parts.extend([built.start_info, built.initrd.unwrap()]);
        for (index, part) in parts.iter().enumerate() {
            assert!(layout.low().contains(*part), "{part}");
            assert!(
                parts[..index].iter().all(|other| !other.overlaps(*part)),
                "{parts:?}"
            );
        }
        assert!(layout.acpi().holds(built.rsdp));
    }
}

#[test]
fn an_initrd_that_only_fits_below_the_kernel_goes_there() {
    let initrd = vec![0x42; 14 << 20];
    let (_, built) = built(30 * MIB, &plan(&kernel(true).file(), Some(&initrd)));
    assert!(built.initrd.unwrap().end().raw() <= 16 * MIB);
}

#[test]
fn a_kernel_that_looks_below_1_mib_finds_the_root_pointer_there() {
    let mut elf = kernel(true);
    // The bit map of supported features: its type field is made unknown.
    let at = elf
        .body
        .windows(4)
        .position(|bytes| bytes == 0x8801_u32.to_le_bytes())
        .unwrap();
    elf.body[at + 1] = 0;
    let (ram, built) = built(64 * MIB, &plan(&elf.file(), None));
    assert_eq!(built.rsdp.raw(), 0xf_ffc0);
    assert_eq!(ram.bytes(0xf_ffc0, 8), b"RSD PTR ");
    let in_the_way = Header {
        kind: LOAD,
        offset: 0,
        at: 0xf_f000,
        file: 0,
        memory: 0x1000,
    };
    elf.headers.push(in_the_way);
    assert!(matches!(
        failure(64 * MIB, &elf).0,
        BuildError::RootPointerRoom { .. }
    ));
}

/// How building a small guest from this kernel fails, and the sentence for it.
fn failure(memory: u64, elf: &Elf) -> (BuildError<'static>, std::string::String) {
    let layout = Layout::new(memory).unwrap();
    let file = elf.file().leak();
    let error = build(&plan(file, None), &layout, &mut Memory::backing(&layout)).unwrap_err();
    (error, error.to_string())
}

#[test]
fn what_does_not_fit_is_named_with_its_module() {
    let initrd = vec![0; 16 << 20];
    let file = kernel(true).file();
    let layout = Layout::new(30 * MIB).unwrap();
    let error = build(
        &plan(&file, Some(&initrd)),
        &layout,
        &mut Memory::backing(&layout),
    )
    .unwrap_err();
    assert_eq!(
        error,
        BuildError::InitrdRoom {
            module: "initrd",
            length: 16 << 20
        }
    );
    assert!(
        error
            .to_string()
            .contains("initrd module \"initrd\" has 16777216 bytes"),
        "{error}"
    );

    let (error, sentence) = failure(16 * MIB, &kernel(true));
    assert!(matches!(
        error,
        BuildError::Kernel {
            module: "vmlinuz",
            ..
        }
    ));
    assert!(
        sentence.starts_with("kernel module \"vmlinuz\": program header 0: p_paddr 0x1000000"),
        "{sentence}"
    );
}

#[test]
fn what_is_wrong_with_the_description_is_found_before_the_guest_has_memory() {
    let layout = Layout::new(64 * MIB).unwrap();
    let rubbish = plan(b"rubbish", None);
    let fails = |plan: Plan<'static>| examine(&plan, &layout).unwrap_err();
    assert_eq!(
        fails(Plan { vcpus: 0, ..rubbish }),
        BuildError::Vcpus { found: 0 }
    );
    assert_eq!(
        fails(Plan {
            vcpus: 129,
            ..rubbish
        }),
        BuildError::Vcpus { found: 129 }
    );
    let line: &'static str = "x".repeat(4096).leak();
    assert!(matches!(
        fails(Plan {
            command_line: line,
            ..rubbish
        }),
        BuildError::CommandLine(_)
    ));
    assert!(matches!(
        fails(Plan {
            command_line: "a\0b",
            ..rubbish
        }),
        BuildError::CommandLine(_)
    ));
    let sentence = fails(rubbish).to_string();
    assert_eq!(
        sentence,
        "kernel module \"vmlinuz\": neither an ELF file nor a bzImage: it has 7 bytes and starts with [72, 75, 62, 62]"
    );
}

#[test]
fn memory_that_is_missing_is_a_fault_and_not_a_panic() {
    let layout = Layout::new(64 * MIB).unwrap();
    let file = kernel(true).file();
    for missing in 0..3 {
        let backed = layout
            .backed()
            .enumerate()
            .filter(|(index, _)| *index != missing)
            .map(|(_, extent)| extent);
        let error = build(&plan(&file, None), &layout, &mut Memory::of(backed)).unwrap_err();
        let memory_is_named = matches!(
            error,
            BuildError::Ram(_)
                | BuildError::Kernel {
                    error: KernelError::Ram(_),
                    ..
                }
        );
        assert!(memory_is_named, "{error:?}");
    }
}

#[test]
fn without_memory_a_build_is_refused_at_whatever_step_it_runs_out() {
    let layout = Layout::new(64 * MIB).unwrap();
    let mut ram = Memory::backing(&layout);
    let mut files: Vec<_> = FIXTURES.iter().map(|(_, payload)| bzimage(payload)).collect();
    files.push(kernel(true).file());
    for file in files {
        let mut refused = 0;
        loop {
            starve::after(refused);
            let outcome = build(&plan(&file, Some(b"initrd")), &layout, &mut ram).map(drop);
            starve::feed();
            match outcome {
                Ok(()) => break,
                Err(
                    BuildError::OutOfMemory(_)
                    | BuildError::Kernel {
                        error: KernelError::OutOfMemory { .. },
                        ..
                    },
                ) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refused > 5, "{refused} requests for memory can be refused");
    }
}

#[test]
fn a_large_guest_is_told_of_its_ram_above_4_gib() {
    // Only the low parts are backed: nothing is written above.
    let layout = Layout::new(5 * GIB).unwrap();
    let low = Extent::new(GuestAddr::new(0), 64 * MIB).unwrap();
    let mut ram = Memory::of([low, layout.acpi(), layout.special()]);
    let built = build(&plan(&kernel(true).file(), None), &layout, &mut ram).unwrap();
    let info = built.start_info.start().raw();
    assert_eq!(ram.u32(info + 48), 4);
    let last = ram.u64(info + 40) + 3 * 24;
    assert_eq!(
        (ram.u64(last), ram.u64(last + 8)),
        (4 * GIB, 5 * GIB - 0xfc00_0000)
    );
}

#[test]
fn errors_tell_what_to_do() {
    let truncated = KernelError::Truncated {
        part: Part::Segment(1),
        needed: 300,
        found: 200,
    };
    let corrupted = KernelError::Corrupted {
        format: Format::Xz,
        at: 12,
        what: Corruption::Checksum,
    };
    for (error, sentence) in [
        (
            truncated,
            "cut short: program header 1 (PT_LOAD: p_offset, p_filesz) ends at byte 300, the file at byte 200",
        ),
        (
            corrupted,
            "its xz payload is corrupted after 12 decoded bytes: a checksum does not match",
        ),
    ] {
        let error = BuildError::Kernel { module: "k", error };
        assert_eq!(error.to_string(), format!("kernel module \"k\": {sentence}"));
    }
}
