//! A virtual machine control structure, seen as its fields.
//!
//! The structure's layout is the processor's secret: fields are read and written by their encodings
//! (SDM vol. 3 appendix B), of which `x86::vmx::vmcs` has the list. A field of 64 bits is one, by the encoding of the
//! whole; the encodings of upper halves are for 32-bit hypervisors and stay unused.

pub use super::field_name::name;

/// A control structure.
pub trait Fields {
    /// A field, extended with zeros. A field that the processor does not have reads as 0.
    fn get(&self, field: u32) -> u64;

    /// Changes a field. What is beyond its width is lost.
    fn set(&mut self, field: u32, value: u64);
}

/// The lower half of a field: what a field of 32 bits holds.
#[must_use]
pub(super) fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
