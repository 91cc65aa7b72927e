//! xz, as the kernel's build uses it: one stream, one block, LZMA2 behind the x86 branch filter, CRC32.
//!
//! The dictionary is the one large buffer. The block's header announces the size that the encoder was told
//! (32 or 128 MiB). A dictionary larger than the kernel holds nothing but the kernel, so the library is shown a
//! header with the smallest size that holds the announced kernel. Further blocks, which no build makes, may use
//! no more than that. Source: the .xz file format, version 1.2.0, §2.1.1 and §3.1.

use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

use super::payload::{CHUNK_BYTES, HISTORY_MAX, Output};
use super::{Corruption, KernelError};

/// Bytes in the header of a stream.
const STREAM_HEADER: usize = 12;
/// The most bytes in the header of a block.
const BLOCK_HEADER_MAX: usize = 1024;
/// The filter that has a dictionary.
const LZMA2: u64 = 0x21;

/// Decodes one stream, which must be all of `stream`.
pub(super) fn decode(stream: &[u8], out: &mut Output<'_>) -> Result<(), KernelError> {
    let (head, mut rest) = Head::read(stream, out)?;
    let mut dictionary = out.buffer(head.dictionary)?;
    let mut chunk = out.buffer(CHUNK_BYTES)?;
    let mut decoder = XzDecoder::with_fixed_size_dict(&mut dictionary);
    let mut input: &[u8] = &head.bytes;
    loop {
        if input.is_empty() {
            input = core::mem::take(&mut rest);
        }
        let result = decoder
            .decode(input, &mut chunk)
            .map_err(|error| out.corrupted(meaning(&error)))?;
        out.give(chunk.get(..result.output_produced()).unwrap_or_default())?;
        input = input.get(result.input_consumed()..).unwrap_or_default();
        if let XzNextBlockResult::EndOfStream(..) = result {
            let complete = input.is_empty() && rest.is_empty();
            return if complete {
                Ok(())
            } else {
                Err(out.corrupted(Corruption::TrailingBytes))
            };
        }
    }
}

/// The headers of the stream and of its first block, as the library is shown them.
struct Head {
    bytes: heapless::Vec<u8, { STREAM_HEADER + BLOCK_HEADER_MAX }>,
    /// The size of the dictionary they ask for.
    dictionary: usize,
}

impl Head {
    /// Reads the headers and lowers what they ask for; returns also what follows them.
    fn read<'s>(stream: &'s [u8], out: &Output<'_>) -> Result<(Self, &'s [u8]), KernelError> {
        let early = || out.corrupted(Corruption::EndsEarly);
        let size = *stream.get(STREAM_HEADER).ok_or_else(early)?;
        let length = STREAM_HEADER + (usize::from(size) + 1) * 4;
        let (head, rest) = stream.split_at_checked(length).ok_or_else(early)?;
        let (body, checksum) = head.split_last_chunk::<4>().ok_or_else(early)?;
        let block = body.get(STREAM_HEADER..).ok_or_else(early)?;
        // A size of zero is the index of a stream without blocks; the library would go on to judge it.
        if size == 0 || crc32fast::hash(block) != u32::from_le_bytes(*checksum) {
            return Err(out.corrupted(Corruption::Checksum));
        }
        let at = dictionary_field(block).ok_or_else(|| out.corrupted(Corruption::Feature))?;
        let mut bytes = heapless::Vec::new();
        bytes.extend_from_slice(body).map_err(|_| early())?;
        let field = bytes.get_mut(STREAM_HEADER + at).ok_or_else(early)?;
        *field = (0..=*field)
            .find(|code| dictionary_of(*code) >= out.expected())
            .unwrap_or(*field);
        let needed = dictionary_of(*field);
        if needed > HISTORY_MAX {
            return Err(out.corrupted(Corruption::Window {
                needed,
                most: HISTORY_MAX,
            }));
        }
        let checksum = crc32fast::hash(bytes.get(STREAM_HEADER..).unwrap_or_default());
        bytes
            .extend_from_slice(&checksum.to_le_bytes())
            .map_err(|_| early())?;
        let dictionary = usize::try_from(needed).map_err(|_| out.out_of_memory(needed))?;
        Ok((Self { bytes, dictionary }, rest))
    }
}

/// Where in a block's header the dictionary size of its LZMA2 filter stands; `None` where there is no such
/// filter, or no sense.
fn dictionary_field(block: &[u8]) -> Option<usize> {
    const COMPRESSED_SIZE: u8 = 1 << 6;
    const UNCOMPRESSED_SIZE: u8 = 1 << 7;
    let flags = *block.get(1)?;
    let mut at = 2;
    for size in [COMPRESSED_SIZE, UNCOMPRESSED_SIZE] {
        if flags & size != 0 {
            number(block, &mut at)?;
        }
    }
    for _ in 0..=flags & 3 {
        let filter = number(block, &mut at)?;
        let properties = usize::try_from(number(block, &mut at)?).ok()?;
        if filter == LZMA2 && properties == 1 {
            return Some(at);
        }
        at = at.checked_add(properties)?;
    }
    None
}

/// Reads a number of seven bits to a byte (§1.2).
fn number(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at = at.checked_add(1)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The size that a code stands for, in bytes (§5.3.1); codes that stand for none are larger than all others.
const fn dictionary_of(code: u8) -> u64 {
    match code {
        0..=39 => (2 | (code & 1) as u64) << (code / 2 + 11),
        40 => u32::MAX as u64,
        _ => u64::MAX,
    }
}

/// What the library's error means to us.
fn meaning(error: &XzError) -> Corruption {
    match error {
        XzError::NeedsLargerInputBuffer => Corruption::EndsEarly,
        XzError::DictionaryTooLarge(needed) => Corruption::Window {
            needed: *needed,
            most: HISTORY_MAX,
        },
        XzError::ContentCrc32Mismatch(..)
        | XzError::ContentCrc64Mismatch(..)
        | XzError::IndexCrc32Mismatch(..)
        | XzError::StreamHeaderCrc32Mismatch(..)
        | XzError::BlockHeaderCrc32Mismatch(..)
        | XzError::FooterCrc32Mismatch(..) => Corruption::Checksum,
        XzError::UnsupportedBcjFilter(_)
        | XzError::UnsupportedCheckType(_)
        | XzError::UnsupportedLzmaProperties(_)
        | XzError::UnsupportedStreamHeaderOption
        | XzError::UnsupportedBlockHeaderOption
        | XzError::Sha256NotSupported => Corruption::Feature,
        _ => Corruption::Data,
    }
}
