//! `grant_table.h`: `grant_table_op`, and the tables through which a granter offers its frames.
//!
//! A *shared entry* is written by the granter and read by the hypervisor: version 1 is 8 bytes, version 2 is 16
//! bytes with its status bits in a table of their own. Sub-operations take arrays of structures; each element has
//! its own `status`, one of `GNTST_*`.

use crate::GuestHandle64;

constants! {
    u32 {
        /// Maps grants. Argument: array of [`MapGrantRef`].
        GNTTABOP_map_grant_ref = 0;
        /// Gives mappings up. Argument: array of [`UnmapGrantRef`].
        GNTTABOP_unmap_grant_ref = 1;
        /// Grows the table and lists its frames. Argument: one [`SetupTable`].
        GNTTABOP_setup_table = 2;
        /// Prints a table on the hypervisor's console. Argument: [`DumpTable`].
        GNTTABOP_dump_table = 3;
        /// Gives frames away. Argument: array of [`Transfer`].
        GNTTABOP_transfer = 4;
        /// Copies bytes. Argument: array of [`CopyOp`].
        GNTTABOP_copy = 5;
        /// Asks for the size of a table. Argument: one [`QuerySize`].
        GNTTABOP_query_size = 6;
        /// Gives mappings up and puts other frames in their place. Argument: array of [`UnmapAndReplace`].
        GNTTABOP_unmap_and_replace = 7;
        /// Chooses the version of entries. Argument: one [`SetVersion`].
        GNTTABOP_set_version = 8;
        /// Lists the frames of the status table. Argument: [`GetStatusFrames`].
        GNTTABOP_get_status_frames = 9;
        /// Asks for the version of entries. Argument: [`GetVersion`].
        GNTTABOP_get_version = 10;
        /// Exchanges two entries. Argument: array of [`SwapGrantRef`].
        GNTTABOP_swap_grant_ref = 11;
        /// Maintains caches over a granted frame (Arm). Argument: array of [`CacheFlush`].
        GNTTABOP_cache_flush = 12;

        /// Number of entries, from 0, that the domain builder fills.
        GNTTAB_NR_RESERVED_ENTRIES = 8;
        /// The entry that grants the console ring.
        GNTTAB_RESERVED_CONSOLE = 0;
        /// The entry that grants the xenstore ring.
        GNTTAB_RESERVED_XENSTORE = 1;

        /// [`MapFlags`]: lowest of the bits the guest has for itself.
        GNTMAP_GUEST_AVAIL_SHIFT = 16, "_GNTMAP_guest_avail0";
        /// [`MapFlags`]: all bits the guest has for itself.
        GNTMAP_guest_avail_mask = 0xffff_0000;
    }
    u16 {
        /// Type of an entry: it offers nothing.
        GTF_invalid = 0;
        /// Type of an entry: `domid` may map or copy.
        GTF_permit_access = 1;
        /// Type of an entry: `domid` may give a frame.
        GTF_accept_transfer = 2;
        /// Type of an entry, version 2: `domid` may copy through a grant made to this domain.
        GTF_transitive = 3;
        /// The bits of `flags` that hold the type.
        GTF_type_mask = 3;
    }
    i16 {
        /// Done.
        GNTST_okay = 0;
        /// Failed, for no more particular reason.
        GNTST_general_error = -1;
        /// No such domain.
        GNTST_bad_domain = -2;
        /// The reference names nothing, or something of another kind.
        GNTST_bad_gntref = -3;
        /// The handle names no mapping.
        GNTST_bad_handle = -4;
        /// The caller's address is no place for a mapping.
        GNTST_bad_virt_addr = -5;
        /// The device address is not that of the mapping.
        GNTST_bad_dev_addr = -6;
        /// The I/O MMU has no room.
        GNTST_no_device_space = -7;
        /// The grant does not allow this.
        GNTST_permission_denied = -8;
        /// The frame is not usable for this.
        GNTST_bad_page = -9;
        /// A copy would cross a page boundary.
        GNTST_bad_copy_arg = -10;
        /// The frame number is too large for the receiver.
        GNTST_address_too_big = -11;
        /// Not now; try again.
        GNTST_eagain = -12;
        /// No room, or not enough memory.
        GNTST_no_space = -13;
    }
}

flags! {
    /// The `flags` of a shared entry beside its type.
    struct EntryFlags: u16 {
        /// Access: the grantee may not write.
        READONLY = 1 << 2, "GTF_readonly";
        /// Access: the frame is mapped or being read. Set by the hypervisor.
        READING = 1 << 3, "GTF_reading";
        /// Access: the frame is mapped writable or being written. Set by the hypervisor.
        WRITING = 1 << 4, "GTF_writing";
        /// Access: mappings use the cache type with this bit.
        PWT = 1 << 5, "GTF_PWT";
        /// Access: mappings use the cache type with this bit.
        PCD = 1 << 6, "GTF_PCD";
        /// Access: mappings use the cache type with this bit.
        PAT = 1 << 7, "GTF_PAT";
        /// Access, version 2: only part of the frame, and only for copying.
        SUB_PAGE = 1 << 8, "GTF_sub_page";
        /// Transfer: the hypervisor has begun. Set by the hypervisor.
        TRANSFER_COMMITTED = 1 << 2, "GTF_transfer_committed";
        /// Transfer: the frame number is in place. Set by the hypervisor.
        TRANSFER_COMPLETED = 1 << 3, "GTF_transfer_completed";
    }

    /// How to map a grant.
    struct MapFlags: u32 {
        /// For devices: the answer has a device address.
        DEVICE_MAP = 1 << 0, "GNTMAP_device_map";
        /// For the processor, at `host_addr`.
        HOST_MAP = 1 << 1, "GNTMAP_host_map";
        /// Not writable.
        READONLY = 1 << 2, "GNTMAP_readonly";
        /// PV: accessible to the guest's user mode too.
        APPLICATION_MAP = 1 << 3, "GNTMAP_application_map";
        /// PV: `host_addr` is the machine address of a page-table entry.
        CONTAINS_PTE = 1 << 4, "GNTMAP_contains_pte";
    }

    /// What the two ends of a copy are.
    struct CopyFlags: u16 {
        /// The source is a grant reference.
        SOURCE_GREF = 1 << 0, "GNTCOPY_source_gref";
        /// The destination is a grant reference.
        DEST_GREF = 1 << 1, "GNTCOPY_dest_gref";
    }

    /// What to do with caches.
    struct CacheFlushFlags: u32 {
        /// Write dirty lines back.
        CLEAN = 1 << 0, "GNTTAB_CACHE_CLEAN";
        /// Drop lines.
        INVAL = 1 << 1, "GNTTAB_CACHE_INVAL";
        /// The frame is named by a grant reference.
        SOURCE_GREF = 1 << 31, "GNTTAB_CACHE_SOURCE_GREF";
    }
}

layouts! {
    /// A shared entry, version 1.
    struct EntryV1 = "grant_entry_v1" {
        /// Type and [`EntryFlags`].
        flags: u16,
        /// The grantee.
        domid: u16,
        /// The frame offered.
        frame: u32,
    }

    /// The first word of a shared entry, version 2.
    struct EntryHeader = "grant_entry_header" {
        /// Type and [`EntryFlags`].
        flags: u16,
        /// The grantee.
        domid: u16,
    }

    /// A shared entry, version 2, of a kind not yet known; read it as one of the three below.
    struct EntryV2 = "grant_entry_v2" {
        /// Its bytes.
        words: [u64; 2] = "__spacer",
    }

    /// A shared entry, version 2, that offers a frame.
    struct EntryV2FullPage = "grant_entry_v2::full_page" {
        /// Type and grantee.
        header: EntryHeader = "hdr",
        /// Padding, named by the header.
        padding: u32 = "pad0",
        /// The frame offered.
        frame: u64,
    }

    /// A shared entry, version 2, that offers part of a frame for copying.
    struct EntryV2SubPage = "grant_entry_v2::sub_page" {
        /// Type and grantee.
        header: EntryHeader = "hdr",
        /// First byte offered.
        page_off: u16,
        /// Bytes offered.
        length: u16,
        /// The frame.
        frame: u64,
    }

    /// The first 12 bytes of a shared entry, version 2, that passes on a grant made to this domain.
    struct EntryV2Transitive = "grant_entry_v2::transitive" {
        /// Type and grantee.
        header: EntryHeader = "hdr",
        /// The domain that made the grant.
        trans_domid: u16,
        /// Padding, named by the header.
        padding: u16 = "pad0",
        /// The grant's reference in that domain.
        gref: u32,
    }

    /// A mapping wanted.
    struct MapGrantRef = "gnttab_map_grant_ref" {
        /// In: where; for a translated guest, a guest address.
        host_addr: u64,
        /// In: [`MapFlags`].
        flags: u32,
        /// In: the grant's reference.
        reference: u32 = "ref",
        /// In: the granter.
        dom: u16,
        /// Out: `GNTST_*`.
        status: i16,
        /// Out: the receipt.
        handle: u32,
        /// Out: address for devices.
        dev_bus_addr: u64,
    }

    /// A mapping given up.
    struct UnmapGrantRef = "gnttab_unmap_grant_ref" {
        /// In: where it is; 0 leaves the processor's mapping.
        host_addr: u64,
        /// In: its address for devices; 0 leaves that.
        dev_bus_addr: u64,
        /// In: the receipt.
        handle: u32,
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding: u16 = "",
    }

    /// The frames of a table.
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
        padding1: [u16; 3] = "",
        /// In: array for the frame numbers.
        frame_list: GuestHandle64,
    }

    /// A table to print.
    struct DumpTable = "gnttab_dump_table" {
        /// In: whose.
        dom: u16,
        /// Out: `GNTST_*`.
        status: i16,
    }

    /// A frame given away.
    struct Transfer = "gnttab_transfer" {
        /// In: the frame.
        mfn: u64,
        /// In: who gets it.
        domid: u16,
        /// Padding.
        padding0: u16 = "",
        /// In: reference of the receiver's entry.
        reference: u32 = "ref",
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding1: [u16; 3] = "",
    }

    /// One end of a copy.
    struct CopyPointer = "gnttab_copy_ptr" {
        /// A grant reference in bits 31:0 (the others are not defined then), or a frame number.
        u: u64,
        /// Whose.
        domid: u16,
        /// First byte in the frame.
        offset: u16,
        /// Padding.
        padding: u32 = "",
    }

    /// Bytes to copy.
    struct CopyOp = "gnttab_copy" {
        /// In: from.
        source: CopyPointer,
        /// In: to.
        dest: CopyPointer,
        /// In: number of bytes.
        len: u16,
        /// In: [`CopyFlags`].
        flags: u16,
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding: u16 = "",
    }

    /// The size of a table.
    struct QuerySize = "gnttab_query_size" {
        /// In: whose.
        dom: u16,
        /// Padding.
        padding0: u16 = "",
        /// Out: frames it has.
        nr_frames: u32,
        /// Out: frames it may have.
        max_nr_frames: u32,
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding1: u16 = "",
    }

    /// A mapping given up, with a successor.
    struct UnmapAndReplace = "gnttab_unmap_and_replace" {
        /// In: where it is.
        host_addr: u64,
        /// In: where the successor is mapped now.
        new_addr: u64,
        /// In: the receipt.
        handle: u32,
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding: u16 = "",
    }

    /// The version of entries to use.
    struct SetVersion = "gnttab_set_version" {
        /// In: the version wanted; out: the version in use.
        version: u32,
    }

    /// The frames of the status table.
    struct GetStatusFrames = "gnttab_get_status_frames" {
        /// In: how many are wanted.
        nr_frames: u32,
        /// In: whose.
        dom: u16,
        /// Out: `GNTST_*`.
        status: i16,
        /// In: array of `u64` for the frame numbers.
        frame_list: GuestHandle64,
    }

    /// The version of entries in use.
    struct GetVersion = "gnttab_get_version" {
        /// In: whose table.
        dom: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
        /// Out: the version.
        version: u32,
    }

    /// Two entries to exchange.
    struct SwapGrantRef = "gnttab_swap_grant_ref" {
        /// In: one.
        ref_a: u32,
        /// In: the other.
        ref_b: u32,
        /// Out: `GNTST_*`.
        status: i16,
        /// Padding.
        padding: u16 = "",
    }

    /// Part of a frame whose cache lines are to be maintained.
    struct CacheFlush = "gnttab_cache_flush" {
        /// A grant reference in bits 31:0 (the others are not defined then), or an address for devices.
        a: u64,
        /// First byte in the frame.
        offset: u16,
        /// Number of bytes.
        length: u16,
        /// [`CacheFlushFlags`].
        op: u32,
    }
}

/// The status of a version 2 entry, in the status table: [`EntryFlags::READING`] and [`EntryFlags::WRITING`].
pub type GrantStatus = u16;

/// Layouts of a 32-bit caller.
pub mod compat;
