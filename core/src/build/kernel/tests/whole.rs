//! Kernels that load: both classes, every format, whatever the pieces the stream comes in.
//!
//! The payloads in `fixtures/` are `synthetic::kernel(true)` as the kernel's build compresses it:
//! `gzip -n -f -9`, `xz --check=crc32 --x86 --lzma2=dict=32MiB`, `zstd -22 --ultra` from a pipe, `lz4 -l -9`,
//! each but gzip followed by the size in four bytes.

use super::synthetic::{BODY, Header, LOAD, NOTE, bzimage, code, kernel, linux_notes, note};
use super::*;
use crate::build::kernel::elf::Loader;

pub(crate) const FIXTURES: [(Format, &[u8]); 4] = [
    (Format::Gzip, include_bytes!("../fixtures/kernel.gz")),
    (Format::Xz, include_bytes!("../fixtures/kernel.xz")),
    (Format::Zstd, include_bytes!("../fixtures/kernel.zst")),
    (Format::Lz4, include_bytes!("../fixtures/kernel.lz4")),
];

/// That the kernel of `synthetic::kernel` is in memory.
fn assert_loaded(memory: &Memory, kernel: &Kernel) {
    let body = super::synthetic::kernel(true).body;
    assert_eq!(memory.bytes(0x100_0000, 0x3000), &body[..0x3000]);
    assert_eq!(memory.bytes(0x120_0000, 0x1000), &body[0x3000..0x4000]);
    assert!(
        memory.bytes(0x120_1000, 0x4000).iter().all(|byte| *byte == 0),
        "the tail is not zero"
    );
    assert_eq!(
        memory.bytes(0xff_fff0, 16),
        [0xa5; 16],
        "bytes were written before the first segment"
    );
    assert_eq!(
        memory.bytes(0x100_3000, 16),
        [0xa5; 16],
        "bytes were written behind the first segment"
    );
    assert_eq!(
        memory.bytes(0x120_5000, 16),
        [0xa5; 16],
        "bytes were written behind the last segment"
    );
    assert_eq!(kernel.entry, GuestAddr::new(0x100_0040));
    assert!(kernel.rsdp_anywhere);
    let starts: std::vec::Vec<_> = kernel
        .segments
        .iter()
        .map(|segment| segment.start().raw())
        .collect();
    assert_eq!(starts, [0x100_0000, 0x120_0000]);
}

#[test]
fn a_raw_elf_file_of_either_class_loads() {
    for wide in [false, true] {
        let mut memory = Memory::ram(32 * MIB);
        let loaded = load_into(&mut memory, &kernel(wide).file()).unwrap();
        assert_loaded(&memory, &loaded);
        assert_eq!(loaded.format, None);
    }
}

#[test]
fn a_kernel_of_every_format_is_unpacked_to_the_elf_file_in_it() {
    let expected = kernel(true).file();
    let packed = FIXTURES.iter().map(|(_, payload)| bzimage(payload));
    for file in packed.chain([expected.clone()]) {
        let mut found = std::vec::Vec::new();
        assert_eq!(unpack(&file, &mut |bytes| found.extend_from_slice(bytes)), Ok(()));
        assert_eq!(found, expected);
    }
    assert!(unpack(b"no kernel", &mut |_| {}).is_err());
}

#[test]
fn a_bzimage_of_every_format_loads() {
    for (format, payload) in FIXTURES {
        let mut memory = Memory::ram(32 * MIB);
        assert_eq!(examine(&bzimage(payload), &memory.extents()), Ok(()));
        let loaded = load_into(&mut memory, &bzimage(payload)).unwrap();
        assert_loaded(&memory, &loaded);
        assert_eq!(loaded.format, Some(format));
    }
}

#[test]
fn the_pieces_of_the_stream_do_not_matter() {
    let file = kernel(true).file();
    for size in [1, 7, 16, 63, 64, 500, 4096, 16384] {
        let mut memory = Memory::ram(32 * MIB);
        let extents = memory.extents();
        let mut loader = Loader::new(&extents, &mut memory);
        for piece in file.chunks(size) {
            loader.take(piece).unwrap();
        }
        let loaded = loader.finish(None).unwrap();
        assert_loaded(&memory, &loaded);
    }
}

#[test]
fn an_entry_note_of_four_bytes_is_an_address_too() {
    let mut elf = kernel(false);
    let notes = note(b"Xen\0", 18, &0x100_0010_u32.to_le_bytes());
    elf.body[0x2000..][..notes.len()].copy_from_slice(&notes);
    elf.headers[2].file = notes.len() as u64;
    let loaded = load_into(&mut Memory::ram(32 * MIB), &elf.file()).unwrap();
    assert_eq!((loaded.entry.raw(), loaded.rsdp_anywhere), (0x100_0010, false));
}

#[test]
fn notes_may_lie_outside_of_all_segments_and_before_them() {
    let mut elf = kernel(true);
    let notes = linux_notes(0x120_0004);
    elf.headers.truncate(2);
    let length = notes.len() as u64;
    let empty = Header {
        kind: NOTE,
        offset: BODY + 0x4ff0,
        at: 0,
        file: 0,
        memory: 0,
    };
    let apart = Header {
        kind: NOTE,
        offset: BODY + 0x4800,
        at: 0,
        file: length,
        memory: length,
    };
    elf.headers.splice(0..0, [empty, apart]);
    elf.body[0x4800..][..notes.len()].copy_from_slice(&notes);
    let loaded = load_into(&mut Memory::ram(32 * MIB), &elf.file()).unwrap();
    assert_eq!(loaded.entry.raw(), 0x120_0004);
}

#[test]
fn segments_may_share_bytes_of_the_file_and_come_in_any_order() {
    let mut elf = kernel(true);
    let again = Header {
        kind: LOAD,
        offset: BODY + 0x10,
        at: 0x80_0000,
        file: 0x100,
        memory: 0x100,
    };
    elf.headers.push(again);
    let mut memory = Memory::ram(32 * MIB);
    load_into(&mut memory, &elf.file()).unwrap();
    assert_eq!(memory.bytes(0x80_0000, 0x100), &code(20_000)[0x10..0x110]);
}

/// Writes the fixtures anew, with the tools that a kernel's build uses.
#[test]
#[ignore = "for a person with gzip, xz, zstd and lz4, when the synthetic kernel has changed"]
fn fixtures_anew() {
    let file = kernel(true).file();
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/build/kernel/fixtures");
    let input = std::env::temp_dir().join(format!("xenvisor-kernel-{}", std::process::id()));
    std::fs::write(&input, &file).unwrap();
    for (name, command) in [
        ("kernel.gz", "gzip -n -f -9"),
        ("kernel.xz", "xz --check=crc32 --x86 --lzma2=dict=32MiB"),
        ("kernel.zst", "zstd -22 --ultra"),
        ("kernel.lz4", "lz4 -l -9 - -"),
    ] {
        let shell = format!("cat {} | {command}", input.display());
        let output = std::process::Command::new("sh")
            .args(["-c", &shell])
            .output()
            .unwrap();
        assert!(output.status.success(), "{shell}");
        let mut bytes = output.stdout;
        if name != "kernel.gz" {
            bytes.extend((file.len() as u32).to_le_bytes());
        }
        std::fs::write(directory.join(name), bytes).unwrap();
    }
    std::fs::remove_file(input).unwrap();
}
