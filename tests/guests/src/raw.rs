//! Without comfort: any hypercall, any byte of memory that is nobody's in this program.

pub use crate::hypercall::call;

/// Writes to memory behind the program's end.
pub fn write(at: u64, bytes: &[u8]) {
    for (place, byte) in (at..).zip(bytes) {
        // SAFETY: all of the first 4 GiB is mapped to itself, and the caller keeps to what is nobody's.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(place as usize).write_volatile(*byte) };
    }
}

/// Reads memory.
pub fn read(at: u64, bytes: &mut [u8]) {
    for (place, byte) in (at..).zip(bytes) {
        // SAFETY: as in `write`; any bytes are a value.
        *byte = unsafe { core::ptr::with_exposed_provenance::<u8>(place as usize).read_volatile() };
    }
}
