//! zstd (RFC 8878), as the kernel's build uses it: one frame of `--ultra -22`, whose window is 128 MiB.
//!
//! A window larger than the kernel holds nothing but the kernel, so the window that the frame's header
//! announces is replaced, as the library reads it, by the smallest one that holds the announced size.
//! The library allocates without a way to say no; therefore its one large buffer is asked for first.

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io::{Error, ErrorKind, Read, Write};

use super::payload::{HISTORY_MAX, Output};
use super::{Corruption, KernelError};

/// The most that the library allocates beside its ring of history: tables, the literals and the sequences of a
/// block, and their predecessors while they grow.
const SCRATCH_BYTES: usize = 6 << 20;

/// Decodes one frame, which must be all of `stream`.
pub(super) fn decode(stream: &[u8], out: &mut Output<'_>) -> Result<(), KernelError> {
    let mut source = Source::new(stream, out)?;
    out.probe(ring_bytes(source.window))?;
    out.probe(SCRATCH_BYTES)?;
    let mut decoder = FrameDecoder::new();
    // So that no header gets it to allocate more than was asked for.
    decoder.set_max_window_size(source.window as u64);
    // The first initialisation learns the window; the second reserves all of it at once, where the decoder
    // would otherwise grow it by doubling and need half as much again while it copies.
    for _ in 0..2 {
        source.position = 0;
        decoder.init(&mut source).map_err(|error| meaning(out, &error))?;
    }
    loop {
        let last = decoder
            .decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|error| meaning(out, &error))?;
        let mut drain = Drain {
            out: &mut *out,
            fault: None,
        };
        let drained = decoder.collect_to_writer(&mut drain);
        if let Some(fault) = drain.fault {
            return Err(fault);
        }
        drained.map_err(|_| out.corrupted(Corruption::Data))?;
        if last {
            break;
        }
    }
    if source.position != stream.len() {
        return Err(out.corrupted(Corruption::TrailingBytes));
    }
    match decoder.get_checksum_from_data() {
        Some(expected) if decoder.get_calculated_checksum() != Some(expected) => {
            Err(out.corrupted(Corruption::Checksum))
        }
        _ => Ok(()),
    }
}

/// How large the library makes its ring for a window: it rounds what exceeds two blocks to a power of two.
fn ring_bytes(window: usize) -> usize {
    const SLACK: usize = 256 << 10;
    window
        .saturating_sub(SLACK)
        .next_power_of_two()
        .saturating_add(SLACK)
        .saturating_add(1)
}

/// The stream as the library reads it, with the window descriptor replaced.
struct Source<'s> {
    bytes: &'s [u8],
    position: usize,
    descriptor: Option<u8>,
    window: usize,
}

/// Where the window descriptor stands in a frame that has one: behind the magic number and the flags.
const DESCRIPTOR_AT: usize = 5;
/// The flag of frames that have none: their window is their content.
const SINGLE_SEGMENT: u8 = 1 << 5;

impl<'s> Source<'s> {
    fn new(bytes: &'s [u8], out: &Output<'_>) -> Result<Self, KernelError> {
        let [_, _, _, _, flags, descriptor, ..] = *bytes else {
            return Err(out.corrupted(Corruption::EndsEarly));
        };
        let content = out.expected();
        if flags & SINGLE_SEGMENT != 0 {
            // Such a frame's window is its content, whose size the library reads from the frame itself; one
            // that exceeds what the payload says is refused for its window.
            let window = usize::try_from(content.min(HISTORY_MAX)).unwrap_or(usize::MAX);
            return Ok(Self {
                bytes,
                position: 0,
                descriptor: None,
                window,
            });
        }
        let replaced = (0..=descriptor)
            .find(|candidate| window_of(*candidate) >= content)
            .unwrap_or(descriptor);
        let needed = window_of(replaced);
        if needed > HISTORY_MAX {
            return Err(out.corrupted(Corruption::Window {
                needed,
                most: HISTORY_MAX,
            }));
        }
        let window = usize::try_from(needed).map_err(|_| out.out_of_memory(needed))?;
        Ok(Self {
            bytes,
            position: 0,
            descriptor: Some(replaced),
            window,
        })
    }
}

/// The window that a descriptor stands for, in bytes (RFC 8878 §3.1.1.1.2).
fn window_of(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + u32::from(descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let count = rest.len().min(into.len());
        let (Some(into), Some(from)) = (into.get_mut(..count), rest.get(..count)) else {
            return Ok(0);
        };
        into.copy_from_slice(from);
        if let Some(descriptor) = self.descriptor
            && let Some(at) = DESCRIPTOR_AT.checked_sub(self.position)
            && let Some(byte) = into.get_mut(at)
        {
            *byte = descriptor;
        }
        self.position = self.position.saturating_add(count);
        Ok(count)
    }
}

/// Passes decoded bytes on and keeps the reason where they were refused.
struct Drain<'d, 's> {
    out: &'d mut Output<'s>,
    fault: Option<KernelError>,
}

impl Write for Drain<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        match self.out.give(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(fault) => {
                self.fault = Some(fault);
                Err(Error::from(ErrorKind::Other))
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// What the library's error means to us.
fn meaning(out: &Output<'_>, error: &FrameDecoderError) -> KernelError {
    out.corrupted(match error {
        FrameDecoderError::WindowSizeTooBig { requested, max } => Corruption::Window {
            needed: *requested,
            most: *max,
        },
        FrameDecoderError::DictNotProvided { .. } => Corruption::Feature,
        _ => Corruption::Data,
    })
}
