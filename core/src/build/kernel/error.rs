//! What can be wrong with a kernel, each as its own meaning with the field that offends.
//!
//! The sentences say what was found and what would do, so that a person can act on them. None of them knows
//! the name of the module: [`BuildError`](crate::build::BuildError) puts that in front.

use core::fmt;

use super::Format;
use crate::build::{Extent, RamFault};
use crate::number::GuestAddr;

/// Why a kernel was not loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KernelError {
    /// The module is neither an ELF file nor a bzImage.
    Unrecognised {
        /// Its first four bytes (zeros where it has fewer).
        start: [u8; 4],
        /// How many bytes it has.
        length: u64,
    },
    /// A bzImage's payload decodes to something that is no ELF file.
    PayloadNotElf {
        /// What that starts with.
        start: [u8; 4],
    },
    /// A part of the file reaches past its end.
    Truncated {
        /// Which part.
        part: Part,
        /// The length the file would need to hold it, in bytes.
        needed: u64,
        /// The length the file has, in bytes.
        found: u64,
    },
    /// A field of a header has a value that cannot be used.
    Field {
        /// Which field.
        field: Field,
        /// Its value.
        found: u64,
    },
    /// A bzImage's payload begins like nothing known.
    UnknownPayload {
        /// Its first four bytes.
        start: [u8; 4],
    },
    /// A bzImage's payload is in a format which is known, but not decoded here.
    UnsupportedPayload {
        /// The format's name.
        format: Unsupported,
    },
    /// A bzImage's payload does not decode.
    Corrupted {
        /// Its format.
        format: Format,
        /// How many bytes of the kernel had been decoded when that was seen.
        at: u64,
        /// What was seen.
        what: Corruption,
    },
    /// The hypervisor has not the memory to decode the payload.
    OutOfMemory {
        /// The payload's format; `None` for the buffers of the ELF loader.
        format: Option<Format>,
        /// How many bytes were asked for.
        bytes: u64,
    },
    /// The kernel has nothing to load.
    NoSegments,
    /// The kernel carries no Xen note of type 18 (`PHYS32_ENTRY`), so it cannot start as a PVH guest.
    NoEntryNote,
    /// The entry note has a length that no address has.
    EntryNoteLength {
        /// Its length in bytes; 4 and 8 are known.
        found: u64,
    },
    /// A segment has more bytes in the file than in memory.
    SegmentSizes {
        /// The index of its program header.
        segment: u16,
        /// `p_filesz`.
        file: u64,
        /// `p_memsz`.
        memory: u64,
    },
    /// A segment would lie where the guest has no RAM.
    SegmentOutsideRam {
        /// The index of its program header.
        segment: u16,
        /// `p_paddr`.
        start: GuestAddr,
        /// `p_memsz`.
        length: u64,
    },
    /// Two segments would lie on each other.
    SegmentsOverlap {
        /// The program header of the one.
        segment: u16,
        /// Where it lies.
        at: Extent,
        /// The program header of the other.
        other: u16,
        /// Where that lies.
        other_at: Extent,
    },
    /// The entry point is in no segment.
    EntryOutside {
        /// The address in the note.
        entry: u64,
    },
    /// The guest's memory was not where its layout promised.
    Ram(RamFault),
}

impl From<RamFault> for KernelError {
    fn from(fault: RamFault) -> Self {
        Self::Ram(fault)
    }
}

/// A part of a kernel file that has a length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The setup header of a bzImage.
    SetupHeader,
    /// The compressed payload of a bzImage.
    Payload,
    /// The ELF header.
    ElfHeader,
    /// The ELF program headers.
    ProgramHeaders,
    /// The bytes of a segment, by the index of its program header.
    Segment(u16),
    /// The bytes of a note segment, by the index of its program header.
    Notes(u16),
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetupHeader => out.write_str("the bzImage setup header"),
            Self::Payload => out.write_str("the compressed payload (payload_offset, payload_length)"),
            Self::ElfHeader => out.write_str("the ELF header"),
            Self::ProgramHeaders => out.write_str("the table of program headers (e_phoff, e_phnum)"),
            Self::Segment(index) => write!(out, "program header {index} (PT_LOAD: p_offset, p_filesz)"),
            Self::Notes(index) => write!(out, "program header {index} (PT_NOTE: p_offset, p_filesz)"),
        }
    }
}

/// A field of a kernel's headers, by the name its specification gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// bzImage `version`: the boot protocol.
    SetupVersion,
    /// bzImage `payload_length`.
    PayloadLength,
    /// ELF `e_ident[EI_CLASS]`.
    Class,
    /// ELF `e_ident[EI_DATA]`.
    Data,
    /// ELF `e_ident[EI_VERSION]` and `e_version`.
    Version,
    /// ELF `e_type`.
    Type,
    /// ELF `e_machine`.
    Machine,
    /// ELF `e_phentsize`.
    ProgramHeaderSize,
    /// ELF `e_phoff`.
    ProgramHeaderOffset,
    /// How many program headers of type `PT_LOAD` there are.
    LoadCount,
    /// How many program headers of type `PT_NOTE` there are.
    NoteCount,
    /// `p_filesz` of a `PT_NOTE`.
    NoteSize,
    /// `p_offset` of a program header.
    SegmentOffset,
}

impl Field {
    /// The field's name and what it should have been.
    const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::SetupVersion => ("boot protocol (version)", "0x208 or later"),
            Self::PayloadLength => ("payload_length", "more than the four bytes of its own size"),
            Self::Class => ("EI_CLASS", "1 (ELF32) or 2 (ELF64)"),
            Self::Data => ("EI_DATA", "1 (little-endian)"),
            Self::Version => ("EI_VERSION", "1"),
            Self::Type => ("e_type", "2 (ET_EXEC) or 3 (ET_DYN)"),
            Self::Machine => ("e_machine", "62 (x86-64) in an ELF64, 3 (i386) in an ELF32"),
            Self::ProgramHeaderSize => ("e_phentsize", "56 in an ELF64, 32 in an ELF32"),
            Self::ProgramHeaderOffset => ("e_phoff", "program headers within the first 64 KiB"),
            Self::LoadCount => ("number of PT_LOAD headers", "at most 16"),
            Self::NoteCount => ("number of PT_NOTE headers", "at most 8"),
            Self::NoteSize => ("p_filesz of the PT_NOTE headers", "at most 64 KiB together"),
            Self::SegmentOffset => ("p_offset", "a range that ends within 64 bits"),
        }
    }
}

/// What was seen in a payload that does not decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Corruption {
    /// The compressed stream breaks the rules of its format.
    Data,
    /// The stream ends before it is complete.
    EndsEarly,
    /// Bytes follow where the stream should have ended.
    TrailingBytes,
    /// A checksum within the stream does not match the data.
    Checksum,
    /// The stream holds another number of bytes than the kernel says it has.
    Length {
        /// What the last four bytes of the payload say.
        expected: u64,
        /// How many there were, or that there were more than this.
        found: u64,
    },
    /// The stream wants a larger window of history than is granted.
    Window {
        /// What it wants, in bytes.
        needed: u64,
        /// What it may have, in bytes.
        most: u64,
    },
    /// The stream uses a feature of its format which no kernel build uses.
    Feature,
}

impl fmt::Display for Corruption {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => out.write_str("the stream breaks the rules of its format"),
            Self::EndsEarly => out.write_str("the stream ends before it is complete"),
            Self::TrailingBytes => out.write_str("bytes follow where the stream should have ended"),
            Self::Checksum => out.write_str("a checksum does not match"),
            Self::Length { expected, found } => {
                write!(out, "the payload announces {expected} bytes and holds {found}")
            }
            Self::Window { needed, most } => {
                write!(out, "it wants a window of {needed} bytes, and may have {most}")
            }
            Self::Feature => out.write_str("it uses a feature of the format that is not decoded here"),
        }
    }
}

/// Payload formats which Linux offers and which are not decoded here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsupported {
    /// `CONFIG_KERNEL_BZIP2`.
    Bzip2,
    /// `CONFIG_KERNEL_LZMA`.
    Lzma,
    /// `CONFIG_KERNEL_LZO`.
    Lzo,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Bzip2 => "bzip2",
            Self::Lzma => "LZMA",
            Self::Lzo => "LZO",
        })
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrecognised { start, length } => write!(
                out,
                "neither an ELF file nor a bzImage: it has {length} bytes and starts with {start:02x?}"
            ),
            Self::PayloadNotElf { start } => write!(
                out,
                "its payload decodes to something that is no ELF file: it starts with {start:02x?}"
            ),
            Self::Truncated { part, needed, found } => {
                write!(
                    out,
                    "cut short: {part} ends at byte {needed}, the file at byte {found}"
                )
            }
            Self::Field { field, found } => {
                let (name, expected) = field.describe();
                write!(out, "{name} is {found:#x}; expected {expected}")
            }
            Self::UnknownPayload { start } => write!(
                out,
                "its payload starts with {start:02x?}; known are gzip, xz, zstd and lz4 (legacy frames)"
            ),
            Self::UnsupportedPayload { format } => write!(
                out,
                "its payload is compressed with {format}; use a kernel compressed with gzip, xz, zstd or lz4, \
                 or hand over the uncompressed vmlinux"
            ),
            Self::Corrupted { format, at, what } => {
                write!(
                    out,
                    "its {format} payload is corrupted after {at} decoded bytes: {what}"
                )
            }
            Self::OutOfMemory {
                format: Some(format),
                bytes,
            } => {
                write!(out, "no {bytes} bytes of memory to decode its {format} payload")
            }
            Self::OutOfMemory { format: None, bytes } => write!(out, "no {bytes} bytes of memory to load it"),
            Self::NoSegments => out.write_str("it has no PT_LOAD segment, so there is nothing to run"),
            Self::NoEntryNote => out.write_str(
                "it has no PHYS32_ENTRY note (owner \"Xen\", type 18), so it cannot start as a PVH guest; \
                 Linux has it when built with CONFIG_PVH or CONFIG_XEN_PVH",
            ),
            Self::EntryNoteLength { found } => {
                write!(out, "its PHYS32_ENTRY note has {found} bytes; expected 4 or 8")
            }
            Self::SegmentSizes {
                segment,
                file,
                memory,
            } => write!(
                out,
                "program header {segment}: p_filesz is {file:#x}, more than p_memsz, which is {memory:#x}"
            ),
            Self::SegmentOutsideRam {
                segment,
                start,
                length,
            } => write!(
                out,
                "program header {segment}: p_paddr {:#x}, p_memsz {length:#x} is not in the guest's RAM; \
                 give the guest more memory",
                start.raw()
            ),
            Self::SegmentsOverlap {
                segment,
                at,
                other,
                other_at,
            } => write!(
                out,
                "program headers {segment} (at {at}) and {other} (at {other_at}) overlap in memory"
            ),
            Self::EntryOutside { entry } => {
                write!(
                    out,
                    "its PHYS32_ENTRY note says {entry:#x}, which lies in none of its segments"
                )
            }
            Self::Ram(fault) => fault.fmt(out),
        }
    }
}

impl core::error::Error for KernelError {}
