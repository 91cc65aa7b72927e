//! `io/console.h`: the page of a guest's console.
//!
//! Indexes only grow, modulo 2^32; the place in a ring is the index modulo its size.

layouts! {
    /// The console page.
    struct Interface = "xencons_interface" {
        /// Bytes to the guest.
        input: [u8; 1024] = "in",
        /// Bytes from the guest.
        output: [u8; 2048] = "out",
        /// How far the guest has read.
        in_cons: u32,
        /// How far its input is written.
        in_prod: u32,
        /// How far its output was taken.
        out_cons: u32,
        /// How far the guest has written.
        out_prod: u32,
    }
}
