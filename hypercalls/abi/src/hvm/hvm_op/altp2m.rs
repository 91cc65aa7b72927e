//! `hvm/hvm_op.h`: the argument of [`super::HVMOP_altp2m`], alternative second-stage tables (*views*).

use crate::GuestHandle64;

constants! {
    u32 {
        /// Whether views are on. Argument: [`DomainState`].
        HVMOP_altp2m_get_domain_state = 1;
        /// Switches them on or off. Argument: [`DomainState`].
        HVMOP_altp2m_set_domain_state = 2;
        /// Has violations told to the guest. Argument: [`VcpuEnableNotify`].
        HVMOP_altp2m_vcpu_enable_notify = 3;
        /// Makes a view. Argument: [`View`].
        HVMOP_altp2m_create_p2m = 4;
        /// Removes it. Argument: [`View`].
        HVMOP_altp2m_destroy_p2m = 5;
        /// Has all vcpus use it. Argument: [`View`].
        HVMOP_altp2m_switch_p2m = 6;
        /// Restricts access to a frame. Argument: [`MemAccess`].
        HVMOP_altp2m_set_mem_access = 7;
        /// Has a frame be another. Argument: [`ChangeGfn`].
        HVMOP_altp2m_change_gfn = 8;
        /// Restricts access to many frames. Argument: [`SetMemAccessMulti`].
        HVMOP_altp2m_set_mem_access_multi = 9;
        /// Sets whether violations of a frame go to the hypervisor. Argument: [`SuppressVe`].
        HVMOP_altp2m_set_suppress_ve = 10;
        /// Reads it. Argument: [`SuppressVe`].
        HVMOP_altp2m_get_suppress_ve = 11;
        /// Reads how access to a frame is restricted. Argument: [`MemAccess`].
        HVMOP_altp2m_get_mem_access = 12;
        /// Ends [`HVMOP_altp2m_vcpu_enable_notify`]. Argument: [`VcpuDisableNotify`].
        HVMOP_altp2m_vcpu_disable_notify = 13;
        /// Asks which view a vcpu uses. Argument: [`GetVcpuP2mIdx`].
        HVMOP_altp2m_get_p2m_idx = 14;
        /// As [`HVMOP_altp2m_set_suppress_ve`], for many frames. Argument: [`SuppressVeMulti`].
        HVMOP_altp2m_set_suppress_ve_multi = 15;
        /// Sets whether the guest may switch to a view. Argument: [`SetVisibility`].
        HVMOP_altp2m_set_visibility = 16;
    }
}

layouts! {
    /// The argument.
    struct Op = "xen_hvm_altp2m_op" {
        /// [`super::HVMOP_ALTP2M_INTERFACE_VERSION`].
        version: u32,
        /// `HVMOP_altp2m_*`.
        cmd: u32,
        /// Whose views.
        domain: u16,
        /// Padding, named by the header; 0.
        padding1: u16 = "pad1",
        /// Padding, named by the header; 0.
        padding2: u32 = "pad2",
        /// By `cmd`: the bytes of one of the structures below.
        u: [u64; 8],
    }

    /// Whether views are on.
    struct DomainState = "xen_hvm_altp2m_domain_state" {
        /// 1 or 0.
        state: u8,
    }

    /// Where to tell a vcpu of violations.
    struct VcpuEnableNotify = "xen_hvm_altp2m_vcpu_enable_notify" {
        /// Which vcpu.
        vcpu_id: u32,
        /// Padding, named by the header.
        padding: u32 = "pad",
        /// The frame to write them to.
        gfn: u64,
    }

    /// A vcpu not to be told.
    struct VcpuDisableNotify = "xen_hvm_altp2m_vcpu_disable_notify" {
        /// Which vcpu.
        vcpu_id: u32,
    }

    /// A view.
    struct View = "xen_hvm_altp2m_view" {
        /// Its number.
        view: u16,
        /// To make one: the access that frames have at first.
        hvmmem_default_access: u16,
    }

    /// Access to a frame.
    struct MemAccess = "xen_hvm_altp2m_mem_access" {
        /// In which view.
        view: u16,
        /// `XENMEM_access_*`.
        access: u16,
        /// Padding, named by the header.
        padding: u32 = "pad",
        /// The frame.
        gfn: u64,
    }

    /// Access to many frames.
    struct SetMemAccessMulti = "xen_hvm_altp2m_set_mem_access_multi" {
        /// In which view.
        view: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
        /// Number of frames.
        nr: u32,
        /// How far a continued call has come.
        opaque: u64,
        /// Array of `u64` frames.
        pfn_list: GuestHandle64,
        /// Array of `u8`: `XENMEM_access_*`.
        access_list: GuestHandle64,
    }

    /// A frame to be another.
    struct ChangeGfn = "xen_hvm_altp2m_change_gfn" {
        /// In which view.
        view: u16,
        /// Padding, named by the header.
        padding1: u16 = "pad1",
        /// Padding, named by the header.
        padding2: u32 = "pad2",
        /// The frame.
        old_gfn: u64,
        /// What it shall be; all ones to undo it.
        new_gfn: u64,
    }

    /// Whether violations of a frame go to the hypervisor.
    struct SuppressVe = "xen_hvm_altp2m_suppress_ve" {
        /// In which view.
        view: u16,
        /// 1: to the hypervisor; 0: to the guest.
        suppress_ve: u8,
        /// Padding, named by the header.
        padding1: u8 = "pad1",
        /// Padding, named by the header.
        padding2: u32 = "pad2",
        /// The frame.
        gfn: u64,
    }

    /// Whether violations of many frames go to the hypervisor.
    struct SuppressVeMulti = "xen_hvm_altp2m_suppress_ve_multi" {
        /// In which view.
        view: u16,
        /// 1: to the hypervisor; 0: to the guest.
        suppress_ve: u8,
        /// Padding, named by the header.
        padding1: u8 = "pad1",
        /// Out: the first error; 0 for none.
        first_error: i32,
        /// First frame; changes as the call goes on.
        first_gfn: u64,
        /// Last frame.
        last_gfn: u64,
        /// Out: the frame of the first error.
        first_error_gfn: u64,
    }

    /// The view a vcpu uses.
    struct GetVcpuP2mIdx = "xen_hvm_altp2m_get_vcpu_p2m_idx" {
        /// In: which vcpu.
        vcpu_id: u32,
        /// Out: the view.
        altp2m_idx: u16,
        /// Padding.
        padding: u16 = "",
    }

    /// Whether the guest may switch to a view.
    struct SetVisibility = "xen_hvm_altp2m_set_visibility" {
        /// Which view.
        altp2m_idx: u16,
        /// 1 or 0.
        visible: u8,
        /// Padding, named by the header.
        padding: u8 = "pad",
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    use crate::{CompatU64, GuestHandle32};

    layouts! {
        /// As [`super::SetMemAccessMulti`].
        struct SetMemAccessMulti = "xen_hvm_altp2m_set_mem_access_multi" {
            /// In which view.
            view: u16,
            /// Padding, named by the header.
            padding: u16 = "pad",
            /// Number of frames.
            nr: u32,
            /// How far a continued call has come.
            opaque: CompatU64,
            /// Array of `u64` frames.
            pfn_list: GuestHandle32,
            /// Array of `u8`: `XENMEM_access_*`.
            access_list: GuestHandle32,
        }
    }
}
