//! `grant_table.h`, layouts of a 32-bit caller: frame numbers and pointers are 32 bits wide there.

use crate::GuestHandle32;

layouts! {
    /// As [`super::SetupTable`].
    struct SetupTable = "gnttab_setup_table" {
        /// In: whose.
        dom: u16,
        /// Padding.
        padding0: u16 = "",
        /// In: how many frames it shall have at least.
        nr_frames: u32,
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding1: u16 = "",
        /// In: array of `u32` for the frame numbers.
        frame_list: GuestHandle32,
    }

    /// As [`super::Transfer`].
    struct Transfer = "gnttab_transfer" {
        /// In: the frame.
        mfn: u32,
        /// In: who gets it.
        domid: u16,
        /// Padding.
        padding0: u16 = "",
        /// In: reference of the receiver's entry.
        reference: u32 = "ref",
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding1: u16 = "",
    }

    /// As [`super::CopyPointer`].
    struct CopyPointer = "gnttab_copy_ptr" {
        /// A grant reference, or a frame number.
        u: u32,
        /// Whose.
        domid: u16,
        /// First byte in the frame.
        offset: u16,
    }

    /// As [`super::CopyOp`].
    struct CopyOp = "gnttab_copy" {
        /// In: from.
        source: CopyPointer,
        /// In: to.
        dest: CopyPointer,
        /// In: number of bytes.
        len: u16,
        /// In: [`super::CopyFlags`].
        flags: u16,
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding: u16 = "",
    }

    /// As [`super::GetStatusFrames`].
    struct GetStatusFrames = "gnttab_get_status_frames" {
        /// In: how many are wanted.
        nr_frames: u32,
        /// In: whose.
        dom: u16,
        /// Out: `GNTST_*`.
        status: i16,
        /// In: array of `u64` for the frame numbers.
        frame_list: GuestHandle32,
    }
}
