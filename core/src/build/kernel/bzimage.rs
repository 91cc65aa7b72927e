//! The Linux/x86 boot protocol, as far as a builder needs it: where in a bzImage the compressed kernel lies.
//!
//! The real kernel, with its notes, is the payload; the code around it is for boot loaders and is not used.
//! Source: the kernel's description of the x86 boot protocol (fields `setup_sects`, `header`, `version`,
//! `payload_offset`, `payload_length`).

use super::{Field, KernelError, Part};

const SETUP_SECTS: usize = 0x1f1;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SETUP_END: u64 = 0x250;

/// The first protocol which says where the payload lies.
const OLDEST_VERSION: u16 = 0x208;
/// What `setup_sects` = 0 means, for kernels from before it was filled in.
const DEFAULT_SETUP_SECTS: u8 = 4;
const SECTOR_BYTES: u64 = 512;

/// The payload of a bzImage, with the four bytes of its size at the end.
pub(super) fn payload(file: &[u8]) -> Result<&[u8], KernelError> {
    let found = file.len() as u64;
    if bytes::<4>(file, HEADER) != Some(*b"HdrS") {
        return Err(KernelError::Unrecognised {
            start: super::first_four(file),
            length: found,
        });
    }
    let cut = |part, needed| KernelError::Truncated { part, needed, found };
    let header = || cut(Part::SetupHeader, SETUP_END);
    let version = u16::from_le_bytes(bytes(file, VERSION).ok_or_else(header)?);
    if version < OLDEST_VERSION {
        return Err(KernelError::Field {
            field: Field::SetupVersion,
            found: version.into(),
        });
    }
    let [sectors] = bytes(file, SETUP_SECTS).ok_or_else(header)?;
    let offset = u32::from_le_bytes(bytes(file, PAYLOAD_OFFSET).ok_or_else(header)?);
    let length = u32::from_le_bytes(bytes(file, PAYLOAD_LENGTH).ok_or_else(header)?);
    if length <= 4 {
        return Err(KernelError::Field {
            field: Field::PayloadLength,
            found: length.into(),
        });
    }
    let sectors = if sectors == 0 {
        DEFAULT_SETUP_SECTS
    } else {
        sectors
    };
    // Three 32-bit numbers at most: nothing here can pass 64 bits.
    let start = (u64::from(sectors) + 1) * SECTOR_BYTES + u64::from(offset);
    let end = start + u64::from(length);
    usize::try_from(start)
        .ok()
        .zip(usize::try_from(end).ok())
        .and_then(|(start, end)| file.get(start..end))
        .ok_or_else(|| cut(Part::Payload, end))
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..).and_then(<[u8]>::first_chunk).copied()
}
