//! Unpacking the payload of a bzImage: a stream of decoded bytes, in order, into a [`Sink`].
//!
//! No buffer ever holds the whole kernel on its own account; a decoder holds the history its format needs, no
//! more than the size of the kernel, and every buffer of it is asked for, never assumed. Payloads end with
//! the size of the kernel in four bytes (gzip has the same four as its own trailer), which bounds everything.

use alloc::vec::Vec;
use core::fmt;

use super::{Corruption, KernelError, Unsupported, gzip, lz4, xz, zstd};
use crate::memory::room;

/// The most history that is granted to a stream: what `zstd --ultra -22` asks for, and twice the dictionary
/// of `xz -9`.
pub(super) const HISTORY_MAX: u64 = 128 << 20;

/// How many decoded bytes a decoder hands over at a time, where it may choose.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// A compression format of kernels which is decoded here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// RFC 1952 around RFC 1951.
    Gzip,
    /// The .xz container with LZMA2, and the x86 branch filter.
    Xz,
    /// RFC 8878.
    Zstd,
    /// LZ4 blocks in the legacy frame that `lz4 -l` writes.
    Lz4,
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        })
    }
}

impl Format {
    /// Tells the format by how a payload begins.
    pub(super) fn recognise(payload: &[u8]) -> Result<Self, KernelError> {
        match payload {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [0x02, 0x21, 0x4c, 0x18, ..] => Ok(Self::Lz4),
            [b'B', b'Z', b'h', ..] => Err(KernelError::UnsupportedPayload {
                format: Unsupported::Bzip2,
            }),
            [0x5d, 0x00, 0x00, ..] => Err(KernelError::UnsupportedPayload {
                format: Unsupported::Lzma,
            }),
            [0x89, b'L', b'Z', b'O', ..] => Err(KernelError::UnsupportedPayload {
                format: Unsupported::Lzo,
            }),
            _ => Err(KernelError::UnknownPayload {
                start: super::first_four(payload),
            }),
        }
    }
}

/// Who takes the decoded bytes.
pub(super) trait Sink {
    /// Takes the next bytes of the kernel. An error ends the decoding and is what the caller gets.
    fn take(&mut self, bytes: &[u8]) -> Result<(), KernelError>;
}

/// Decodes `payload`, whose last four bytes are the kernel's size, into `sink`.
pub(super) fn unpack(payload: &[u8], sink: &mut dyn Sink) -> Result<(), KernelError> {
    let format = Format::recognise(payload)?;
    let (stream, size) = payload
        .split_last_chunk::<4>()
        .ok_or(KernelError::UnknownPayload {
            start: super::first_four(payload),
        })?;
    let size = u64::from(u32::from_le_bytes(*size));
    let mut out = Output {
        sink,
        format,
        expected: size,
        taken: 0,
    };
    match format {
        Format::Gzip => gzip::decode(payload, &mut out)?,
        Format::Xz => xz::decode(stream, &mut out)?,
        Format::Zstd => zstd::decode(stream, &mut out)?,
        Format::Lz4 => lz4::decode(stream, &mut out)?,
    }
    out.finish()
}

/// The sink, with a count of what went in, so that no stream yields more than it announced.
pub(super) struct Output<'s> {
    sink: &'s mut dyn Sink,
    format: Format,
    expected: u64,
    taken: u64,
}

impl Output<'_> {
    /// Passes decoded bytes on.
    pub(super) fn give(&mut self, bytes: &[u8]) -> Result<(), KernelError> {
        let taken = self.taken.saturating_add(bytes.len() as u64);
        if taken > self.expected {
            return Err(self.corrupted(Corruption::Length {
                expected: self.expected,
                found: taken,
            }));
        }
        self.sink.take(bytes)?;
        self.taken = taken;
        Ok(())
    }

    /// How many bytes the whole stream yields, by its own account.
    pub(super) const fn expected(&self) -> u64 {
        self.expected
    }

    /// The error for a stream that shows `what` at this point.
    pub(super) const fn corrupted(&self, what: Corruption) -> KernelError {
        KernelError::Corrupted {
            format: self.format,
            at: self.taken,
            what,
        }
    }

    /// The error for memory that is not to be had.
    pub(super) const fn out_of_memory(&self, bytes: u64) -> KernelError {
        KernelError::OutOfMemory {
            format: Some(self.format),
            bytes,
        }
    }

    /// A buffer of `bytes` zeros.
    pub(super) fn buffer(&self, bytes: usize) -> Result<Vec<u8>, KernelError> {
        let mut buffer = self.room(bytes)?;
        buffer.resize(bytes, 0);
        Ok(buffer)
    }

    /// Makes sure that a library which cannot report a failed allocation will not see one: `bytes` in one
    /// piece are free now. Nothing else allocates while a guest is built.
    pub(super) fn probe(&self, bytes: usize) -> Result<(), KernelError> {
        self.room(bytes).map(drop)
    }

    fn room(&self, bytes: usize) -> Result<Vec<u8>, KernelError> {
        room::vec(bytes).map_err(|_| self.out_of_memory(bytes as u64))
    }

    fn finish(self) -> Result<(), KernelError> {
        if self.taken == self.expected {
            return Ok(());
        }
        Err(self.corrupted(Corruption::Length {
            expected: self.expected,
            found: self.taken,
        }))
    }
}
