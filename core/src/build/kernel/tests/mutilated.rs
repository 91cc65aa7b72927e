//! Kernels that are broken: each is refused with the error that names what is wrong, and none is a panic.

use std::string::ToString;
use std::vec::Vec;

use super::synthetic::{BODY, Elf, Header, LOAD, NOTE, bzimage, kernel, note};
use super::whole::FIXTURES;
use super::*;
use crate::build::kernel::{Corruption, Field, Part, Unsupported};

/// Memory just where the synthetic kernel goes.
fn small_memory() -> Memory {
    Memory::at(Extent::new(GuestAddr::new(0x100_0000), 0x30_0000).unwrap())
}

/// How loading fails. Where the file need not be unpacked to know, it is known before.
fn refusal(file: &[u8]) -> KernelError {
    let mut memory = small_memory();
    let examined = examine(file, &memory.extents());
    let error = load_into(&mut memory, file).unwrap_err();
    assert!(
        examined.is_ok() || examined == Err(error),
        "{examined:?} {error:?}"
    );
    error
}

/// How loading fails for the synthetic kernel after a change.
fn refusal_of(wide: bool, change: impl FnOnce(&mut Elf)) -> KernelError {
    let mut elf = kernel(wide);
    change(&mut elf);
    refusal(&elf.file())
}

/// How loading fails for the synthetic 64-bit kernel's file after a change.
fn refusal_of_file(change: impl FnOnce(&mut Vec<u8>)) -> KernelError {
    let mut file = kernel(true).file();
    change(&mut file);
    refusal(&file)
}

#[test]
fn what_is_no_kernel_at_all_is_named_by_its_first_bytes() {
    for file in [&b""[..], b"\x7f", b"MZ", b"#!/bin/sh\n", &[0; 5000]] {
        let start = crate::build::kernel::first_four(file);
        assert_eq!(
            refusal(file),
            KernelError::Unrecognised {
                start,
                length: file.len() as u64
            }
        );
    }
}

#[test]
fn each_field_of_the_elf_header_is_judged() {
    let field = |at: usize, value: u8| refusal_of_file(|file| file[at] = value);
    let wrong = |field, found| KernelError::Field { field, found };
    assert_eq!(field(4, 3), wrong(Field::Class, 3));
    assert_eq!(field(5, 2), wrong(Field::Data, 2));
    assert_eq!(field(6, 9), wrong(Field::Version, 9));
    assert_eq!(field(16, 1), wrong(Field::Type, 1));
    assert_eq!(field(18, 183), wrong(Field::Machine, 183));
    assert_eq!(field(54, 57), wrong(Field::ProgramHeaderSize, 57));
    assert_eq!(field(35, 0x7f), wrong(Field::ProgramHeaderOffset, 0x7f00_0040));
    assert_eq!(field(56, 0), KernelError::NoSegments);
    // A 64-bit file for a 32-bit machine, which there is not; and a 32-bit file for another machine.
    assert_eq!(field(18, 3), wrong(Field::Machine, 3));
    let mut narrow = kernel(false).file();
    narrow[18] = 40;
    assert_eq!(refusal(&narrow), wrong(Field::Machine, 40));
}

#[test]
fn a_32_bit_file_may_hold_code_that_becomes_64_bit() {
    let mut narrow = kernel(false).file();
    narrow[18] = 62;
    let mut memory = Memory::ram(64 * MIB);
    assert!(load_into(&mut memory, &narrow).is_ok());
}

#[test]
fn a_kernel_without_a_usable_entry_is_refused() {
    assert_eq!(
        refusal_of(true, |elf| elf.headers.truncate(2)),
        KernelError::NoEntryNote
    );
    let with_note = |bytes: Vec<u8>| {
        refusal_of(true, |elf| {
            elf.body[0x2000..][..bytes.len()].copy_from_slice(&bytes);
            elf.headers[2].file = bytes.len() as u64;
        })
    };
    // The type is right, the owner is not.
    assert_eq!(with_note(note(b"Linux\0", 18, &[0; 8])), KernelError::NoEntryNote);
    assert_eq!(
        with_note(note(b"Xen\0", 18, &[0; 6])),
        KernelError::EntryNoteLength { found: 6 }
    );
    for entry in [0_u64, 0xff_ffff, 0x100_3000, 0x120_5000, 0x1_0100_0040, u64::MAX] {
        let refused = with_note(note(b"Xen\0", 18, &entry.to_le_bytes()));
        assert_eq!(refused, KernelError::EntryOutside { entry });
    }
}

#[test]
fn segments_that_cannot_lie_where_they_want_are_named() {
    let moved = |index: usize, at: u64, memory: u64| {
        refusal_of(true, |elf| {
            elf.headers[index].at = at;
            elf.headers[index].memory = memory;
        })
    };
    for (at, memory) in [
        (0x0f_f000, 0x5000),
        (0x12f_f000, 0x5000),
        (0x7fff_ffff_f000, 0x5000),
        (0xffff_ffff_ffff_f000, 0x5000),
        (0x120_0000, u64::MAX),
    ] {
        let expected = KernelError::SegmentOutsideRam {
            segment: 1,
            start: GuestAddr::new(at),
            length: memory,
        };
        assert_eq!(moved(1, at, memory), expected);
    }
    let overlapping = moved(1, 0x100_2fff, 0x5000);
    assert!(
        matches!(
            overlapping,
            KernelError::SegmentsOverlap {
                segment: 1,
                other: 0,
                ..
            }
        ),
        "{overlapping:?}"
    );
    let sizes = KernelError::SegmentSizes {
        segment: 1,
        file: 0x1000,
        memory: 0xfff,
    };
    assert_eq!(moved(1, 0x120_0000, 0xfff), sizes);
    let offset = refusal_of(true, |elf| elf.headers[1].offset = u64::MAX);
    assert_eq!(
        offset,
        KernelError::Field {
            field: Field::SegmentOffset,
            found: u64::MAX
        }
    );
}

#[test]
fn counts_and_sizes_have_bounds() {
    let many = |kind: u32, count: usize| {
        refusal_of(false, |elf| {
            elf.headers = (0..count as u64)
                .map(|index| Header {
                    kind,
                    offset: BODY,
                    at: 0x100_0000 + index,
                    file: 1,
                    memory: 1,
                })
                .collect();
        })
    };
    assert_eq!(
        many(LOAD, 17),
        KernelError::Field {
            field: Field::LoadCount,
            found: 17
        }
    );
    assert_eq!(
        many(NOTE, 9),
        KernelError::Field {
            field: Field::NoteCount,
            found: 9
        }
    );
    let large = refusal_of(true, |elf| elf.headers[2].file = 65_537);
    assert_eq!(
        large,
        KernelError::Field {
            field: Field::NoteSize,
            found: 65_537
        }
    );
}

#[test]
fn an_elf_file_cut_anywhere_is_refused_with_the_part_that_is_missing() {
    for wide in [false, true] {
        let file = kernel(wide).file();
        let needed = BODY + 0x4000;
        for length in (4..needed as usize).filter(|length| *length < 0x500 || length % 61 == 0) {
            let KernelError::Truncated { part, needed, found } = refusal(&file[..length]) else {
                panic!("cut to {length} bytes it is not called cut");
            };
            assert!(
                needed > found && found == length as u64,
                "{part:?} {needed} {found}"
            );
            let headers = if wide {
                [64, 64 + 3 * 56]
            } else {
                [52, 52 + 3 * 32]
            };
            match length {
                length if length < headers[0] => assert_eq!(part, Part::ElfHeader),
                length if length < headers[1] => {
                    assert_eq!((part, needed), (Part::ProgramHeaders, headers[1] as u64))
                }
                _ => assert!(matches!(part, Part::Segment(0 | 1) | Part::Notes(2))),
            }
        }
        assert!(
            load_into(&mut small_memory(), &file[..needed as usize]).is_ok(),
            "the rest is not needed"
        );
    }
}

#[test]
fn a_bzimage_with_a_wrong_setup_header_is_refused_by_the_field() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut file = bzimage(FIXTURES[0].1);
        change(&mut file);
        refusal(&file)
    };
    let old = with(|file| file[0x206] = 7);
    assert_eq!(
        old,
        KernelError::Field {
            field: Field::SetupVersion,
            found: 0x207
        }
    );
    let empty = with(|file| file[0x24c..0x250].fill(0));
    assert_eq!(
        empty,
        KernelError::Field {
            field: Field::PayloadLength,
            found: 0
        }
    );
    let far = with(|file| file[0x248..0x250].fill(0xff));
    let needed = 2048 + 2 * u64::from(u32::MAX);
    assert!(matches!(far, KernelError::Truncated { part: Part::Payload, needed: n, .. } if n == needed));
    let header = with(|file| file.truncate(0x24f));
    assert_eq!(
        header,
        KernelError::Truncated {
            part: Part::SetupHeader,
            needed: 0x250,
            found: 0x24f
        }
    );
    let payload = with(|file| file.truncate(file.len() - 101));
    assert!(matches!(
        payload,
        KernelError::Truncated {
            part: Part::Payload,
            ..
        }
    ));
}

#[test]
fn payloads_in_other_formats_are_told_apart() {
    let with = |start: &[u8]| {
        let mut payload = start.to_vec();
        payload.resize(100, 1);
        refusal(&bzimage(&payload))
    };
    let unsupported = |format| KernelError::UnsupportedPayload { format };
    assert_eq!(with(b"BZh9"), unsupported(Unsupported::Bzip2));
    assert_eq!(with(&[0x5d, 0, 0, 0x80]), unsupported(Unsupported::Lzma));
    assert_eq!(with(b"\x89LZO"), unsupported(Unsupported::Lzo));
    assert_eq!(with(b"what"), KernelError::UnknownPayload { start: *b"what" });
    assert!(with(b"BZh9").to_string().contains("bzip2"));
}

#[test]
fn a_payload_cut_anywhere_is_refused_as_corrupted() {
    for (format, payload) in FIXTURES {
        let (stream, size) = payload.split_last_chunk::<4>().unwrap();
        for length in (10..stream.len()).filter(|length| *length < 100 || length % 97 == 0) {
            let cut = [&stream[..length], size].concat();
            let refused = refusal(&bzimage(&cut));
            assert!(
                matches!(refused, KernelError::Corrupted { format: f, .. } if f == format),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn a_payload_that_lies_about_its_size_is_refused() {
    let real = kernel(true).file().len() as u64;
    for (format, payload) in FIXTURES {
        for (said, found_less) in [
            (real - 1, false),
            (real + 1, true),
            (1, false),
            (u32::MAX.into(), true),
        ] {
            let mut payload = payload.to_vec();
            let at = payload.len() - 4;
            payload[at..].copy_from_slice(&(said as u32).to_le_bytes());
            match refusal(&bzimage(&payload)) {
                KernelError::Corrupted {
                    what: Corruption::Length { expected, found },
                    ..
                } => {
                    assert_eq!((expected, found < expected), (said, found_less), "{format}");
                }
                // A frame that fits no window of the size it would need is noticed by that.
                KernelError::Corrupted {
                    what: Corruption::Data | Corruption::Window { .. },
                    ..
                } => {}
                other => panic!("{format}, {said}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_payload_that_holds_no_elf_file_is_told_apart_from_a_file_that_is_no_kernel() {
    let text = b"What is this doing in a kernel?";
    // One block of one sequence: literals only.
    let mut block = std::vec![0xf0, text.len() as u8 - 15];
    block.extend(text);
    let parts: [&[u8]; 4] = [
        &[0x02, 0x21, 0x4c, 0x18],
        &(block.len() as u32).to_le_bytes(),
        &block,
        &(text.len() as u32).to_le_bytes(),
    ];
    assert_eq!(
        refusal(&bzimage(&parts.concat())),
        KernelError::PayloadNotElf { start: *b"What" }
    );
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn a_flipped_bit_never_goes_unnoticed_where_there_is_a_checksum() {
    let mut numbers = Numbers(0x1234_5678);
    let mut whole = small_memory();
    load_into(&mut whole, &bzimage(FIXTURES[0].1)).unwrap();
    let mut memory = small_memory();
    for (format, payload) in FIXTURES {
        let mut accepted = 0;
        for round in 0..800 {
            let mut payload = payload.to_vec();
            // The head of the stream, where its structure is, gets more than its share.
            let at = if round % 4 == 0 {
                numbers.below(64)
            } else {
                numbers.below(payload.len() - 4)
            };
            payload[at] ^= 1 << numbers.below(8);
            match load_into(&mut memory, &bzimage(&payload)) {
                Ok(_) if format == Format::Lz4 => accepted += 1,
                Ok(_) => {
                    // Such as the time in a gzip header: it does not reach the kernel.
                    let mut memory = small_memory();
                    load_into(&mut memory, &bzimage(&payload)).unwrap();
                    assert!(memory.contents().eq(whole.contents()), "{format}: bit at {at}");
                    accepted += 1;
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        assert!(accepted < 800, "{format}");
    }
}

#[test]
fn heavy_damage_is_an_error_or_a_kernel_and_never_a_panic() {
    let mut numbers = Numbers(0x9876_5432_1234);
    let mut memory = small_memory();
    let mut files: Vec<_> = FIXTURES.iter().map(|(_, payload)| bzimage(payload)).collect();
    files.extend([kernel(false).file(), kernel(true).file()]);
    for file in &files {
        for _ in 0..400 {
            let mut file = file.clone();
            for _ in 0..=numbers.below(8) {
                let start = match numbers.below(3) {
                    // The headers of an ELF file or of a bzImage; the start of the payload; anywhere.
                    0 => numbers.below(0x250),
                    1 => 2048 + 0x2cc + numbers.below(64),
                    _ => numbers.below(file.len()),
                };
                let value = [0, 0xff, 0x80, numbers.below(256) as u8][numbers.below(4)];
                for byte in file.iter_mut().skip(start).take(1 + numbers.below(8)) {
                    *byte = value;
                }
            }
            if let Ok(kernel) = load_into(&mut memory, &file) {
                let segments = &kernel.segments;
                assert!(segments.iter().any(|segment| segment.holds(kernel.entry)));
                assert!(
                    segments
                        .iter()
                        .all(|segment| memory.extents()[0].contains(*segment))
                );
            }
        }
    }
}
