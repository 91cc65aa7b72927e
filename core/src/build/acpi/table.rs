//! Bytes of an ACPI table in the making: little-endian fields, a header, a sum that comes to zero.

use alloc::vec::Vec;

use crate::build::OutOfMemory;

/// Who made the tables, as Xen says it.
pub(super) const OEM: [u8; 6] = *b"Xen\0\0\0";
const OEM_TABLE: [u8; 8] = *b"HVM\0\0\0\0\0";
const CREATOR: [u8; 4] = *b"xenv";

const HEADER_BYTES: usize = 36;
const LENGTH_AT: usize = 4;
const CHECKSUM_AT: usize = 9;

/// A table in the making. It has the room that it was made with, and drops what does not fit:
/// a test makes the largest of each and looks at its end.
pub(super) struct Table {
    bytes: Vec<u8>,
}

impl Table {
    /// A table with a header and room for `body` bytes behind it.
    pub(super) fn new(signature: [u8; 4], revision: u8, body: usize) -> Result<Self, OutOfMemory> {
        let mut table = Self::bare(HEADER_BYTES.saturating_add(body))?;
        // Length and checksum come last.
        table
            .bytes(&signature)
            .u32(0)
            .u8(revision)
            .u8(0)
            .bytes(&OEM)
            .bytes(&OEM_TABLE)
            .u32(0);
        table.bytes(&CREATOR).u32(1);
        Ok(table)
    }

    /// Room for `room` bytes, without a header.
    pub(super) fn bare(room: usize) -> Result<Self, OutOfMemory> {
        let bytes = OutOfMemory::or_room(room)?;
        Ok(Self { bytes })
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        if self.bytes.capacity().saturating_sub(self.bytes.len()) >= bytes.len() {
            self.bytes.extend_from_slice(bytes);
        }
        self
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn zeros(&mut self, count: usize) -> &mut Self {
        for _ in 0..count {
            self.u8(0);
        }
        self
    }

    /// A generic address: `bits` bits at an I/O port (§5.2.3.1).
    pub(super) fn port(&mut self, port: u16, bits: u8) -> &mut Self {
        const SYSTEM_IO: u8 = 1;
        self.u8(SYSTEM_IO).u8(bits).u8(0).u8(0).u64(port.into())
    }

    /// Sets the byte at `at` so that the first `length` bytes add up to zero.
    pub(super) fn checksum(&mut self, at: usize, length: usize) {
        let sum = self
            .bytes
            .iter()
            .take(length)
            .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte = byte.wrapping_sub(sum);
        }
    }

    /// The table with a header, complete.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len();
        let field = u32::try_from(length).unwrap_or(0).to_le_bytes();
        for (into, from) in self.bytes.iter_mut().skip(LENGTH_AT).zip(field) {
            *into = from;
        }
        self.checksum(CHECKSUM_AT, length);
        self.bytes
    }

    /// The table without a header, filled up with zeros to `length` bytes.
    pub(super) fn bare_of(mut self, length: usize) -> Vec<u8> {
        let missing = length.saturating_sub(self.bytes.len());
        self.zeros(missing);
        self.bytes
    }
}
