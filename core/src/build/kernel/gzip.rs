//! gzip (RFC 1952): a header, one deflate stream through a window of 64 KiB, a checksum and a length.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags::TINFL_FLAG_HAS_MORE_INPUT};

use super::payload::{CHUNK_BYTES, Output};
use super::{Corruption, KernelError};

const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Decodes one gzip member, which must be all of `stream`.
pub(super) fn decode(stream: &[u8], out: &mut Output<'_>) -> Result<(), KernelError> {
    let mut input = after_header(stream, out)?;
    let mut window = out.buffer(CHUNK_BYTES)?;
    out.probe(size_of::<DecompressorOxide>())?;
    let mut inflate = alloc::boxed::Box::<DecompressorOxide>::default();
    let mut checksum = crc32fast::Hasher::new();
    let mut position = 0;
    // The flag says that more may come, so that the end of the input is told apart from nonsense.
    loop {
        let (status, read, written) = decompress(
            &mut inflate,
            input,
            &mut window,
            position,
            TINFL_FLAG_HAS_MORE_INPUT,
        );
        let end = position.saturating_add(written);
        let bytes = window
            .get(position..end)
            .ok_or_else(|| out.corrupted(Corruption::Data))?;
        checksum.update(bytes);
        out.give(bytes)?;
        input = input.get(read..).unwrap_or_default();
        position = if end == window.len() { 0 } else { end };
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput => {}
            TINFLStatus::NeedsMoreInput => return Err(out.corrupted(Corruption::EndsEarly)),
            _ => return Err(out.corrupted(Corruption::Data)),
        }
    }
    // The length that follows is the size which `Output` counts against.
    match input {
        [a, b, c, d, _, _, _, _] => {
            if u32::from_le_bytes([*a, *b, *c, *d]) == checksum.finalize() {
                Ok(())
            } else {
                Err(out.corrupted(Corruption::Checksum))
            }
        }
        [_, _, _, _, _, _, _, _, ..] => Err(out.corrupted(Corruption::TrailingBytes)),
        _ => Err(out.corrupted(Corruption::EndsEarly)),
    }
}

/// What follows the member's header.
fn after_header<'s>(stream: &'s [u8], out: &Output<'_>) -> Result<&'s [u8], KernelError> {
    let early = || out.corrupted(Corruption::EndsEarly);
    let (header, mut rest) = stream.split_first_chunk::<10>().ok_or_else(early)?;
    let [_, _, method, flags, ..] = *header;
    if method != 8 || flags & RESERVED != 0 {
        return Err(out.corrupted(Corruption::Feature));
    }
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>().ok_or_else(early)?;
        rest = after
            .get(usize::from(u16::from_le_bytes(*length))..)
            .ok_or_else(early)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(early)?;
            rest = rest.get(end..).and_then(|rest| rest.get(1..)).ok_or_else(early)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        rest = rest.get(2..).ok_or_else(early)?;
    }
    Ok(rest)
}
