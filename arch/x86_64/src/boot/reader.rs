//! Reading a loader's structures: by machine address, by copy, never by reference.
//!
//! The parsers of this folder see memory through [`LoaderMemory`] alone, so that they run on byte arrays in
//! tests. A read outside of memory is an error, not a fault.

use heapless::String;

use super::info::BootInfoError;

/// Machine memory before our own page tables exist.
pub(crate) trait LoaderMemory {
    /// Fills `into` from machine address `at`; false where that is not all memory.
    fn read(&self, at: u64, into: &mut [u8]) -> bool;
}

/// Reads little-endian fields one after the other.
pub(crate) struct Cursor<'a, M: ?Sized> {
    memory: &'a M,
    at: u64,
}

impl<'a, M: LoaderMemory + ?Sized> Cursor<'a, M> {
    /// Starts at machine address `at`.
    pub(crate) fn new(memory: &'a M, at: u64) -> Self {
        Self { memory, at }
    }

    /// Where the next field lies.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Leaves out `bytes`.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes);
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], BootInfoError> {
        let mut field = [0; N];
        if !self.memory.read(self.at, &mut field) {
            return Err(BootInfoError::Unreadable(self.at));
        }
        self.skip(N as u64);
        Ok(field)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Result<u8, BootInfoError> {
        self.bytes().map(u8::from_le_bytes)
    }

    /// The next 32 bits.
    pub(crate) fn u32(&mut self) -> Result<u32, BootInfoError> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// The next 64 bits.
    pub(crate) fn u64(&mut self) -> Result<u64, BootInfoError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A text up to its 0 byte; `None` where more than `N` bytes come before that.
    pub(crate) fn text<const N: usize>(&mut self) -> Result<Option<String<N>>, BootInfoError> {
        let start = self.at;
        let mut text = heapless::Vec::<u8, N>::new();
        loop {
            let [byte] = self.bytes()?;
            if byte == 0 {
                break;
            }
            if text.push(byte).is_err() {
                return Ok(None);
            }
        }
        String::from_utf8(text)
            .map(Some)
            .map_err(|_| BootInfoError::NotText(start))
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! Loader memory for tests: a few byte arrays at chosen addresses.

    use super::LoaderMemory;
    use std::vec::Vec;

    /// Memory that exists only where something was put.
    #[derive(Default)]
    pub(crate) struct FakeMemory(Vec<(u64, Vec<u8>)>);

    impl FakeMemory {
        /// Puts `bytes` at `at`.
        pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) -> &mut Self {
            self.0.push((at, bytes.to_vec()));
            self
        }

        /// Puts numbers at `at`, one after the other.
        pub(crate) fn words(&mut self, at: u64, words: &[u32]) -> &mut Self {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.put(at, &bytes)
        }
    }

    impl LoaderMemory for FakeMemory {
        fn read(&self, at: u64, into: &mut [u8]) -> bool {
            let len = into.len();
            self.0.iter().any(|(start, bytes)| {
                let Some(from) = at.checked_sub(*start).and_then(|from| usize::try_from(from).ok()) else {
                    return false;
                };
                let Some(found) = bytes.get(from..).and_then(|rest| rest.get(..len)) else {
                    return false;
                };
                into.copy_from_slice(found);
                true
            })
        }
    }
}
