//! `memory.h`: operations of a control domain on another domain's memory: paging, access, sharing.

use crate::GuestHandle64;

constants! {
    u8 {
        /// [`PagingOp`]: a frame may be paged out.
        XENMEM_paging_op_nominate = 0;
        /// [`PagingOp`]: it was saved, and goes away.
        XENMEM_paging_op_evict = 1;
        /// [`PagingOp`]: it comes back.
        XENMEM_paging_op_prep = 2;

        /// [`AccessOp`]: restricts access to a range of frames.
        XENMEM_access_op_set_access = 0;
        /// [`AccessOp`]: reads it.
        XENMEM_access_op_get_access = 1;
        /// [`AccessOp`]: restricts access to frames of a list.
        XENMEM_access_op_set_access_multi = 4;

        /// No access.
        XENMEM_access_n = 0;
        /// Read.
        XENMEM_access_r = 1;
        /// Write.
        XENMEM_access_w = 2;
        /// Read and write.
        XENMEM_access_rw = 3;
        /// Execute.
        XENMEM_access_x = 4;
        /// Read and execute.
        XENMEM_access_rx = 5;
        /// Write and execute.
        XENMEM_access_wx = 6;
        /// All access.
        XENMEM_access_rwx = 7;
        /// Read and execute; becomes read and write when written, after an event.
        XENMEM_access_rx2rw = 8;
        /// No access; becomes all access when touched, after an event.
        XENMEM_access_n2rwx = 9;
        /// What the domain has unless restricted.
        XENMEM_access_default = 10;

        /// [`SharingOp`]: a frame may be shared. [`SharingNominate`].
        XENMEM_sharing_op_nominate_gfn = 0;
        /// [`SharingOp`]: a granted frame may be shared. [`SharingNominate`].
        XENMEM_sharing_op_nominate_gref = 1;
        /// [`SharingOp`]: two frames become one. [`SharingShare`].
        XENMEM_sharing_op_share = 2;
        /// [`SharingOp`]: prints what is known of a guest frame. [`SharingDebug`].
        XENMEM_sharing_op_debug_gfn = 3;
        /// [`SharingOp`]: prints what is known of a machine frame. [`SharingDebug`].
        XENMEM_sharing_op_debug_mfn = 4;
        /// [`SharingOp`]: prints what is known of a granted frame. [`SharingDebug`].
        XENMEM_sharing_op_debug_gref = 5;
        /// [`SharingOp`]: puts a shared frame where a domain has none. [`SharingShare`].
        XENMEM_sharing_op_add_physmap = 6;
        /// [`SharingOp`]: checks the hypervisor's own tables. No argument.
        XENMEM_sharing_op_audit = 7;
        /// [`SharingOp`]: shares all equal frames of a range. [`SharingRange`].
        XENMEM_sharing_op_range_share = 8;
        /// [`SharingOp`]: makes a domain a fork of another. [`SharingFork`].
        XENMEM_sharing_op_fork = 9;
        /// [`SharingOp`]: takes a fork back to where it began. [`SharingFork`].
        XENMEM_sharing_op_fork_reset = 10;
    }
    i32 {
        /// Answer to a share: the source's handle is stale.
        XENMEM_SHARING_OP_S_HANDLE_INVALID = -10;
        /// Answer to a share: the client's handle is stale.
        XENMEM_SHARING_OP_C_HANDLE_INVALID = -9;
    }
    u64 {
        /// Bit of [`SharingShare`]'s frames: it is a grant reference.
        XENMEM_SHARING_OP_FIELD_IS_GREF_FLAG = 1 << 62;
    }
}

flags! {
    /// How to fork a domain, or what to take back.
    struct ForkFlags: u16 {
        /// Although it has an I/O MMU.
        WITH_IOMMU_ALLOWED = 1 << 0, "XENMEM_FORK_WITH_IOMMU_ALLOWED";
        /// The fork gets no interrupts.
        BLOCK_INTERRUPTS = 1 << 1, "XENMEM_FORK_BLOCK_INTERRUPTS";
        /// The state of vcpus.
        RESET_STATE = 1 << 2, "XENMEM_FORK_RESET_STATE";
        /// Memory.
        RESET_MEMORY = 1 << 3, "XENMEM_FORK_RESET_MEMORY";
    }
}

layouts! {
    /// Argument of [`super::XENMEM_paging_op`].
    struct PagingOp = "xen_mem_paging_op" {
        /// `XENMEM_paging_op_*`.
        op: u8,
        /// Padding.
        padding0: u8 = "",
        /// Whose memory.
        domain: u16,
        /// Padding.
        padding1: u32 = "",
        /// To come back: what the frame holds.
        buffer: GuestHandle64,
        /// The frame.
        gfn: u64,
    }

    /// Argument of [`super::XENMEM_access_op`].
    struct AccessOp = "xen_mem_access_op" {
        /// `XENMEM_access_op_*`.
        op: u8,
        /// `XENMEM_access_*`.
        access: u8,
        /// Whose memory.
        domid: u16,
        /// Number of frames.
        nr: u32,
        /// First frame; all ones for the domain's default.
        pfn: u64,
        /// Array of `u64` frames, for a list.
        pfn_list: GuestHandle64,
        /// Array of `u8` with their access.
        access_list: GuestHandle64,
    }

    /// Argument of [`super::XENMEM_sharing_op`].
    struct SharingOp = "xen_mem_sharing_op" {
        /// `XENMEM_sharing_op_*`.
        op: u8,
        /// Padding.
        padding0: u8 = "",
        /// Whose memory.
        domain: u16,
        /// Padding.
        padding1: u32 = "",
        /// By `op`: the bytes of one of the structures below.
        u: [u64; 5],
    }

    /// A frame that may be shared.
    struct SharingNominate = "mem_sharing_op_nominate" {
        /// In: the frame, or a grant reference in bits 31:0.
        u: u64,
        /// Out: its handle.
        handle: u64,
    }

    /// Two frames to become one.
    struct SharingShare = "mem_sharing_op_share" {
        /// The frame that stays.
        source_gfn: u64,
        /// Its handle.
        source_handle: u64,
        /// The frame that goes.
        client_gfn: u64,
        /// Its handle.
        client_handle: u64,
        /// The client.
        client_domain: u16,
        /// Padding.
        padding: [u16; 3] = "",
    }

    /// Frames to share where they are equal.
    struct SharingRange = "mem_sharing_op_range" {
        /// First frame.
        first_gfn: u64,
        /// Last frame.
        last_gfn: u64,
        /// How far a continued call has come.
        opaque: u64,
        /// The client.
        client_domain: u16,
        /// Padding, named by the header.
        padding: [u16; 3] = "_pad",
    }

    /// A frame to print.
    struct SharingDebug = "mem_sharing_op_debug" {
        /// The frame, or a grant reference in bits 31:0.
        u: u64,
    }

    /// A domain to fork.
    struct SharingFork = "mem_sharing_op_fork" {
        /// Of which it becomes a fork.
        parent_domain: u16,
        /// [`ForkFlags`].
        flags: u16,
        /// Padding, named by the header.
        padding: u32 = "pad",
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    use crate::GuestHandle32;

    layouts! {
        /// As [`super::AccessOp`].
        struct AccessOp = "xen_mem_access_op" {
            /// `XENMEM_access_op_*`.
            op: u8,
            /// `XENMEM_access_*`.
            access: u8,
            /// Whose memory.
            domid: u16,
            /// Number of frames.
            nr: u32,
            /// First frame; all ones for the domain's default.
            pfn: u64,
            /// Array of `u64` frames, for a list.
            pfn_list: GuestHandle32,
            /// Array of `u8` with their access.
            access_list: GuestHandle32,
        }
    }
}
