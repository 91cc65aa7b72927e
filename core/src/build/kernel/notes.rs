//! ELF notes, captured as the file streams by, and what the ones of Xen say.
//!
//! Source: the public header `elfnote.h` (types) and `features.h` (feature bits).

use alloc::vec::Vec;

use ::elf::endian::LittleEndian;
use ::elf::file::Class;
use ::elf::note::{Note, NoteIterator};
use xenvisor_abi::elfnote::{XEN_ELFNOTE_PHYS32_ENTRY, XEN_ELFNOTE_SUPPORTED_FEATURES};
use xenvisor_abi::features::XENFEAT_linux_rsdp_unrestricted;

use super::{Field, KernelError, Part};
use crate::memory::room;

/// How many note segments are looked at.
const SPANS_MAX: usize = 8;
/// How many bytes they may have together.
const BYTES_MAX: u64 = 64 << 10;

/// Who owns the notes that matter here, with the terminator that belongs to the name.
const OWNER: &[u8] = b"Xen\0";

/// One note segment: its place in the file, and its bytes so far.
struct Span {
    /// Index of its program header.
    index: u16,
    offset: u64,
    bytes: Vec<u8>,
    size: usize,
}

/// The note segments of a file.
#[derive(Default)]
pub(super) struct Notes {
    spans: heapless::Vec<Span, SPANS_MAX>,
    total: u64,
}

/// What the notes of Xen say.
#[derive(Default)]
pub(super) struct Findings {
    /// The entry point.
    pub(super) entry: Option<u64>,
    /// See [`Kernel`](super::Kernel).
    pub(super) rsdp_anywhere: bool,
}

impl Notes {
    /// Looks out for the note segment of program header `index`.
    pub(super) fn expect(&mut self, index: u16, offset: u64, size: u64) -> Result<(), KernelError> {
        self.total = self.total.saturating_add(size);
        if self.total > BYTES_MAX {
            return Err(KernelError::Field {
                field: Field::NoteSize,
                found: self.total,
            });
        }
        let out_of_memory = KernelError::OutOfMemory {
            format: None,
            bytes: size,
        };
        let length = usize::try_from(size).map_err(|_| out_of_memory)?;
        let bytes = room::vec(length).map_err(|_| out_of_memory)?;
        self.spans
            .push(Span {
                index,
                offset,
                bytes,
                size: length,
            })
            .map_err(|_| KernelError::Field {
                field: Field::NoteCount,
                found: SPANS_MAX as u64 + 1,
            })
    }

    /// Sees the bytes of the file at `offset`. They come in order, without gaps.
    pub(super) fn see(&mut self, offset: u64, bytes: &[u8]) {
        for span in &mut self.spans {
            let missing = span.size.saturating_sub(span.bytes.len());
            if missing == 0 {
                continue;
            }
            // In order and without gaps: what is missing starts within these bytes or later.
            let next = span.offset.saturating_add(span.bytes.len() as u64);
            if let Some(skip) = next.checked_sub(offset)
                && let Ok(skip) = usize::try_from(skip)
                && let Some(rest) = bytes.get(skip..)
            {
                // Within the capacity reserved above.
                span.bytes.extend_from_slice(rest.get(..missing).unwrap_or(rest));
            }
        }
    }

    /// Reads what has been captured; `found` is the length of the file.
    pub(super) fn read(&self, class: Class, found: u64) -> Result<Findings, KernelError> {
        let mut findings = Findings::default();
        for span in &self.spans {
            if span.bytes.len() < span.size {
                let needed = span.offset.saturating_add(span.size as u64);
                return Err(KernelError::Truncated {
                    part: Part::Notes(span.index),
                    needed,
                    found,
                });
            }
            // Four, whatever p_align says: so are the notes of Xen laid out in either class.
            for note in NoteIterator::new(LittleEndian, class, 4, &span.bytes) {
                if let Note::Unknown(note) = note
                    && note.name == OWNER
                {
                    findings.learn(u32::try_from(note.n_type).unwrap_or(u32::MAX), note.desc)?;
                }
            }
        }
        Ok(findings)
    }
}

impl Findings {
    fn learn(&mut self, kind: u32, value: &[u8]) -> Result<(), KernelError> {
        match kind {
            XEN_ELFNOTE_PHYS32_ENTRY => {
                let entry = match *value {
                    [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
                    [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
                    _ => {
                        return Err(KernelError::EntryNoteLength {
                            found: value.len() as u64,
                        });
                    }
                };
                self.entry = Some(entry);
            }
            XEN_ELFNOTE_SUPPORTED_FEATURES => {
                let bits = value.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                self.rsdp_anywhere = bits & (1 << XENFEAT_linux_rsdp_unrestricted) != 0;
            }
            _ => {}
        }
        Ok(())
    }
}
