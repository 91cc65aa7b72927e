//! The legacy frame of LZ4: a magic number, then blocks of up to 8 MiB, each preceded by its compressed size.
//!
//! Blocks know nothing of each other, so that one block is all the history there is. There is no checksum:
//! only the length that a payload announces tells a whole stream from one cut between blocks.

use super::payload::Output;
use super::{Corruption, KernelError};

/// What every frame starts with. It may also appear between blocks, where frames were joined.
const MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();

/// The most bytes that a block yields.
const BLOCK_BYTES: usize = 8 << 20;

/// Decodes frames until the stream ends.
pub(super) fn decode(stream: &[u8], out: &mut Output<'_>) -> Result<(), KernelError> {
    let room = usize::try_from(out.expected())
        .unwrap_or(BLOCK_BYTES)
        .min(BLOCK_BYTES);
    let mut block = out.buffer(room)?;
    let mut rest = stream;
    while let Some((word, after)) = rest.split_first_chunk::<4>() {
        if *word == MAGIC {
            rest = after;
            continue;
        }
        let length = usize::try_from(u32::from_le_bytes(*word)).unwrap_or(usize::MAX);
        let (compressed, after) = after
            .split_at_checked(length)
            .ok_or_else(|| out.corrupted(Corruption::EndsEarly))?;
        let written = lz4_flex::block::decompress_into(compressed, &mut block)
            .map_err(|_| out.corrupted(Corruption::Data))?;
        out.give(block.get(..written).unwrap_or_default())?;
        rest = after;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(out.corrupted(Corruption::TrailingBytes))
    }
}
