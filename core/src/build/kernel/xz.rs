//! xz, as the kernel's build uses it: one stream, one block, LZMA2 behind the x86 branch filter, CRC32.
//!
//! The dictionary is the one large buffer. A stream asks for the size its encoder was told (32 or 128 MiB),
//! and gets what can matter: no distance is longer than the kernel. Blocks with CRC64 are checked too.

use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

use super::payload::{CHUNK_BYTES, HISTORY_MAX, Output};
use super::{Corruption, KernelError};

/// Decodes one stream, which must be all of `stream`.
pub(super) fn decode(stream: &[u8], out: &mut Output<'_>) -> Result<(), KernelError> {
    let mut dictionary = alloc::vec::Vec::new();
    let mut chunk = out.buffer(CHUNK_BYTES)?;
    loop {
        match run(stream, &mut dictionary, &mut chunk, out)? {
            Run::Complete => return Ok(()),
            Run::NeedsDictionary(bytes) => {
                dictionary = out.buffer(bytes)?;
            }
        }
    }
}

/// How far a run came.
enum Run {
    /// To the end.
    Complete,
    /// To the first block's header, which wants a dictionary of so many bytes.
    NeedsDictionary(usize),
}

fn run(
    stream: &[u8],
    dictionary: &mut [u8],
    chunk: &mut [u8],
    out: &mut Output<'_>,
) -> Result<Run, KernelError> {
    let granted = dictionary.len() as u64;
    let mut decoder = XzDecoder::with_fixed_size_dict(dictionary);
    let mut input = stream;
    loop {
        match decoder.decode(input, chunk) {
            Ok(result) => {
                out.give(chunk.get(..result.output_produced()).unwrap_or_default())?;
                input = input.get(result.input_consumed()..).unwrap_or_default();
                match result {
                    XzNextBlockResult::EndOfStream(..) if input.is_empty() => return Ok(Run::Complete),
                    XzNextBlockResult::EndOfStream(..) => {
                        return Err(out.corrupted(Corruption::TrailingBytes));
                    }
                    XzNextBlockResult::NeedMoreData(..) => {}
                }
            }
            Err(XzError::DictionaryTooLarge(needed)) if needed > granted && needed <= HISTORY_MAX => {
                let bytes = usize::try_from(needed).map_err(|_| out.out_of_memory(needed))?;
                return Ok(Run::NeedsDictionary(bytes));
            }
            Err(error) => return Err(out.corrupted(meaning(&error))),
        }
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
