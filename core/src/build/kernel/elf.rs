//! Loads an ELF file as it streams by: each byte goes to its place in guest memory, or nowhere.
//!
//! The headers must lie in the first 64 KiB, which are kept until they are complete. Everything that the
//! headers alone can get wrong is found before the first byte is written. Segments go to their physical
//! addresses, as a PVH guest's do: its `VIRT_BASE` and `PADDR_OFFSET` notes count for nothing.

use alloc::vec::Vec;

use ::elf::abi::{EM_386, EM_X86_64, ET_DYN, ET_EXEC, PT_LOAD, PT_NOTE};
use ::elf::endian::LittleEndian;
use ::elf::file::{Class, FileHeader, parse_ident};
use ::elf::parse::{ParseAt, ParseError, ParsingTable};
use ::elf::segment::ProgramHeader;

use super::notes::Notes;
use super::payload::Sink;
use super::{Field, Format, Kernel, KernelError, Part, SEGMENTS_MAX};
use crate::build::{Extent, GuestRam};
use crate::memory::room;
use crate::number::GuestAddr;

/// What every ELF file starts with.
pub(super) const MAGIC: [u8; 4] = *b"\x7fELF";

/// How many of the first bytes are kept for the headers.
const PREFIX_MAX: usize = 64 << 10;
/// How many of the first bytes say how long the headers are.
const IDENT_BYTES: usize = 16;

/// A loader in the middle of a file.
pub(super) struct Loader<'l> {
    extents: &'l [Extent],
    ram: &'l mut dyn GuestRam,
    /// The file's first bytes, until the headers are complete.
    prefix: Vec<u8>,
    headers: Option<Headers>,
    /// How many bytes have come by.
    offset: u64,
}

struct Headers {
    class: Class,
    segments: heapless::Vec<Segment, SEGMENTS_MAX>,
    notes: Notes,
}

/// A segment to load.
#[derive(Clone, Copy)]
struct Segment {
    /// The index of its program header.
    index: u16,
    /// Where its bytes start in the file.
    offset: u64,
    /// Where they end.
    end: u64,
    /// Where it lies in memory; what the file does not fill is zero.
    at: Extent,
}

impl<'l> Loader<'l> {
    pub(super) fn new(extents: &'l [Extent], ram: &'l mut dyn GuestRam) -> Self {
        Self {
            extents,
            ram,
            prefix: Vec::new(),
            headers: None,
            offset: 0,
        }
    }

    /// Ends the file: all that was promised must have come.
    pub(super) fn finish(self, format: Option<Format>) -> Result<Kernel, KernelError> {
        let found = self.offset;
        let Some(headers) = self.headers else {
            // Too short even for its headers: the reader of the headers knows which.
            let error = match Headers::read(&self.prefix, self.extents) {
                Err(unread) => unread.at_the_end(found),
                Ok(_) => KernelError::NoSegments,
            };
            return Err(error);
        };
        let mut kept = heapless::Vec::new();
        for segment in &headers.segments {
            if segment.end > found && segment.offset != segment.end {
                let part = Part::Segment(segment.index);
                return Err(KernelError::Truncated {
                    part,
                    needed: segment.end,
                    found,
                });
            }
            let filled = segment.end.saturating_sub(segment.offset);
            if let Some(rest) = segment.at.length().checked_sub(filled)
                && rest != 0
                && let Some(from) = segment.at.start().checked_add(filled)
            {
                self.ram.zero(from, rest)?;
            }
            // As many as there are segments.
            let _ = kept.push(segment.at);
        }
        let findings = headers.notes.read(headers.class, found)?;
        let entry = findings.entry.ok_or(KernelError::NoEntryNote)?;
        let inside = headers
            .segments
            .iter()
            .any(|segment| segment.at.holds(GuestAddr::new(entry)));
        // The processor starts with 32-bit addresses.
        if !inside || u32::try_from(entry).is_err() {
            return Err(KernelError::EntryOutside { entry });
        }
        Ok(Kernel {
            entry: GuestAddr::new(entry),
            segments: kept,
            rsdp_anywhere: findings.rsdp_anywhere,
            format,
        })
    }

    /// Adds to the prefix, and reads the headers as soon as they are complete.
    fn collect(&mut self, bytes: &[u8]) -> Result<(), KernelError> {
        if self.prefix.capacity() == 0 {
            self.prefix = room::vec(PREFIX_MAX).map_err(|_| KernelError::OutOfMemory {
                format: None,
                bytes: PREFIX_MAX as u64,
            })?;
        }
        let room = PREFIX_MAX.saturating_sub(self.prefix.len());
        let bytes = bytes.get(..room).unwrap_or(bytes);
        self.prefix.extend_from_slice(bytes);
        match Headers::read(&self.prefix, self.extents) {
            Ok(headers) => self.headers = Some(headers),
            Err(Unread::Wrong(error)) => return Err(error),
            Err(Unread::Incomplete(..)) => {}
        }
        Ok(())
    }
}

/// Judges the headers of a whole file.
pub(super) fn examine(file: &[u8], extents: &[Extent]) -> Result<(), KernelError> {
    let prefix = file.get(..PREFIX_MAX).unwrap_or(file);
    Headers::read(prefix, extents)
        .map(drop)
        .map_err(|unread| unread.at_the_end(file.len() as u64))
}

impl Sink for Loader<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), KernelError> {
        if self.headers.is_none() {
            self.collect(bytes)?;
            let Some(headers) = &mut self.headers else {
                self.offset = self.offset.saturating_add(bytes.len() as u64);
                return Ok(());
            };
            // What went by before, and was only kept. The rest of these bytes is placed below.
            let seen = usize::try_from(self.offset).unwrap_or(usize::MAX);
            let before = self.prefix.get(..seen).unwrap_or_default();
            headers.place(0, before, self.ram)?;
            self.prefix = Vec::new();
        }
        if let Some(headers) = &mut self.headers {
            headers.place(self.offset, bytes, self.ram)?;
        }
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

/// Why headers were not read.
enum Unread {
    /// There is not enough of the file yet: the part, and the length that would do.
    Incomplete(Part, u64),
    /// They are wrong, and no further byte will help.
    Wrong(KernelError),
}

impl Unread {
    /// What it means when the file, of `found` bytes, has ended.
    const fn at_the_end(self, found: u64) -> KernelError {
        match self {
            Self::Wrong(error) => error,
            Self::Incomplete(part, needed) => KernelError::Truncated { part, needed, found },
        }
    }
}

impl From<KernelError> for Unread {
    fn from(error: KernelError) -> Self {
        Self::Wrong(error)
    }
}

const fn wrong(field: Field, found: u64) -> Unread {
    Unread::Wrong(KernelError::Field { field, found })
}

impl Headers {
    /// Reads and judges the headers at the start of a file.
    fn read(prefix: &[u8], extents: &[Extent]) -> Result<Self, Unread> {
        let header = file_header(prefix)?;
        let size = ProgramHeader::size_for(header.class);
        if usize::from(header.e_phentsize) != size && header.e_phnum != 0 {
            return Err(wrong(Field::ProgramHeaderSize, header.e_phentsize.into()));
        }
        let length = size.saturating_mul(header.e_phnum.into());
        let end = header.e_phoff.saturating_add(length as u64);
        if end > PREFIX_MAX as u64 {
            return Err(wrong(Field::ProgramHeaderOffset, header.e_phoff));
        }
        let table = usize::try_from(header.e_phoff)
            .ok()
            .and_then(|start| prefix.get(start..))
            .and_then(|rest| rest.get(..length))
            .ok_or(Unread::Incomplete(Part::ProgramHeaders, end))?;
        let mut headers = Self {
            class: header.class,
            segments: heapless::Vec::new(),
            notes: Notes::default(),
        };
        let table = ParsingTable::<LittleEndian, ProgramHeader>::new(LittleEndian, header.class, table);
        for (index, program) in (0..=u16::MAX).zip(table.iter()) {
            match program.p_type {
                PT_LOAD => headers.add_segment(index, &program, extents)?,
                PT_NOTE => headers.notes.expect(index, program.p_offset, program.p_filesz)?,
                _ => {}
            }
        }
        if headers.segments.is_empty() {
            return Err(Unread::Wrong(KernelError::NoSegments));
        }
        Ok(headers)
    }

    fn add_segment(&mut self, index: u16, program: &ProgramHeader, extents: &[Extent]) -> Result<(), Unread> {
        let (file, memory) = (program.p_filesz, program.p_memsz);
        if file > memory {
            return Err(KernelError::SegmentSizes {
                segment: index,
                file,
                memory,
            }
            .into());
        }
        if memory == 0 {
            return Ok(());
        }
        let end = program
            .p_offset
            .checked_add(file)
            .ok_or(wrong(Field::SegmentOffset, program.p_offset))?;
        let start = GuestAddr::new(program.p_paddr);
        let at = Extent::new(start, memory)
            .filter(|at| extents.iter().any(|extent| extent.contains(*at)))
            .ok_or(KernelError::SegmentOutsideRam {
                segment: index,
                start,
                length: memory,
            })?;
        if let Some(other) = self.segments.iter().find(|other| other.at.overlaps(at)) {
            let (other, other_at) = (other.index, other.at);
            return Err(KernelError::SegmentsOverlap {
                segment: index,
                at,
                other,
                other_at,
            }
            .into());
        }
        self.segments
            .push(Segment {
                index,
                offset: program.p_offset,
                end,
                at,
            })
            .map_err(|_| wrong(Field::LoadCount, SEGMENTS_MAX as u64 + 1))
    }

    /// Puts the bytes at `offset` of the file where segments and notes want them.
    fn place(&mut self, offset: u64, bytes: &[u8], ram: &mut dyn GuestRam) -> Result<(), KernelError> {
        let end = offset.saturating_add(bytes.len() as u64);
        for segment in &self.segments {
            let from = segment.offset.max(offset);
            let to = segment.end.min(end);
            let Some(length) = to.checked_sub(from).filter(|length| *length != 0) else {
                continue;
            };
            // `from` lies in the segment and in the bytes: neither difference can be negative or pass its span.
            let skip = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let wanted = bytes
                .get(skip..)
                .and_then(|rest| rest.get(..length))
                .unwrap_or_default();
            if let Some(at) = segment
                .at
                .start()
                .checked_add(from.saturating_sub(segment.offset))
            {
                ram.write(at, wanted)?;
            }
        }
        self.notes.see(offset, bytes);
        Ok(())
    }
}

/// Reads the file header, which says for what machine the file is.
fn file_header(prefix: &[u8]) -> Result<FileHeader<LittleEndian>, Unread> {
    let incomplete = |needed| Unread::Incomplete(Part::ElfHeader, needed);
    let ident = prefix
        .get(..IDENT_BYTES)
        .ok_or_else(|| incomplete(IDENT_BYTES as u64))?;
    let ident = parse_ident::<LittleEndian>(ident).map_err(|error| match error {
        ParseError::UnsupportedElfClass(found) => wrong(Field::Class, found.into()),
        ParseError::UnsupportedElfEndianness(found) => wrong(Field::Data, found.into()),
        ParseError::UnsupportedVersion((found, _)) => wrong(Field::Version, found),
        _ => Unread::Wrong(KernelError::Unrecognised {
            start: super::first_four(prefix),
            length: prefix.len() as u64,
        }),
    })?;
    // A PVH guest starts in 32-bit mode whatever it becomes: 64-bit code may come in the 32-bit format.
    let (length, machines) = match ident.1 {
        Class::ELF32 => (52, &[EM_386, EM_X86_64][..]),
        Class::ELF64 => (64, &[EM_X86_64][..]),
    };
    let tail = prefix
        .get(IDENT_BYTES..length)
        .ok_or_else(|| incomplete(length as u64))?;
    let header = FileHeader::parse_tail(ident, tail).map_err(|_| incomplete(length as u64))?;
    if header.e_type != ET_EXEC && header.e_type != ET_DYN {
        return Err(wrong(Field::Type, header.e_type.into()));
    }
    if !machines.contains(&header.e_machine) {
        return Err(wrong(Field::Machine, header.e_machine.into()));
    }
    Ok(header)
}
