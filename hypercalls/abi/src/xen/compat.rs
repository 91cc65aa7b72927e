//! `xen.h`, layouts of a 32-bit caller: `unsigned long` is 32 bits wide there.

use crate::CompatU64;
use crate::arch_x86::xen::compat::ArchSharedInfo;
use crate::arch_x86::xen_x86_32::ArchVcpuInfo;

layouts! {
    /// As [`super::pv::MmuextOp`].
    struct MmuextOp = "mmuext_op" {
        /// `MMUEXT_*`.
        cmd: u32,
        /// A frame, or a linear address.
        arg1: u32,
        /// A number of entries, a pointer to a bitmap of vcpus, or a frame.
        arg2: u32,
    }

    /// As [`super::MulticallEntry`].
    struct MulticallEntry = "multicall_entry" {
        /// In: the hypercall's number.
        op: u32,
        /// Out: its result.
        result: u32,
        /// In: its arguments.
        args: [u32; 6],
    }

    /// As [`super::VcpuTimeInfo`]: the same bytes, aligned less.
    struct VcpuTimeInfo = "vcpu_time_info" {
        /// Odd while the record changes; another number after each change.
        version: u32,
        /// Padding, named by the header.
        padding0: u32 = "pad0",
        /// The counter when the record was made.
        tsc_timestamp: CompatU64,
        /// System time then, in nanoseconds since the machine started.
        system_time: CompatU64,
        /// Nanoseconds = ((ticks << `tsc_shift`) × this) >> 32.
        tsc_to_system_mul: u32,
        /// Left shift of ticks; negative for a right shift.
        tsc_shift: i8,
        /// [`super::PvclockFlags`].
        flags: u8,
        /// Padding, named by the header.
        padding1: [u8; 2] = "pad1",
    }

    /// As [`super::VcpuInfo`].
    struct VcpuInfo = "vcpu_info" {
        /// Not 0: an event is pending.
        evtchn_upcall_pending: u8,
        /// Not 0: the guest does not want to be told (PV).
        evtchn_upcall_mask: u8,
        /// Padding.
        padding: [u8; 2] = "",
        /// Bit `w`: word `w` of `evtchn_pending` has news for this vcpu.
        evtchn_pending_sel: u32,
        /// The processor's part.
        arch: ArchVcpuInfo,
        /// The time.
        time: VcpuTimeInfo,
    }

    /// As [`super::SharedInfo`]; 1024 ports, in words of 32 bits.
    struct SharedInfo = "shared_info" {
        /// Of the first 32 vcpus.
        vcpu_info: [VcpuInfo; 32],
        /// A bit for each port: an event is pending.
        evtchn_pending: [u32; 32],
        /// A bit for each port: it is masked.
        evtchn_mask: [u32; 32],
        /// Odd while the wall clock changes.
        wc_version: u32,
        /// Wall clock when system time was 0: seconds since 1970, bits 31:0; the others are in `arch`.
        wc_sec: u32,
        /// And nanoseconds.
        wc_nsec: u32,
        /// The processor's part.
        arch: ArchSharedInfo,
    }

    /// As [`super::pv::StartInfo`].
    struct StartInfo = "start_info" {
        /// A string: which interface.
        magic: [u8; 32],
        /// Pages the domain has.
        nr_pages: u32,
        /// Machine address of its [`SharedInfo`].
        shared_info: u32,
        /// [`super::StartFlags`].
        flags: u32,
        /// Machine frame of the xenstore ring.
        store_mfn: u32,
        /// Port of the xenstore ring.
        store_evtchn: u32,
        /// The console.
        console: StartInfoConsole,
        /// Virtual address of the root page table.
        pt_base: u32,
        /// Frames of page tables.
        nr_pt_frames: u32,
        /// Virtual address of the frame table.
        mfn_list: u32,
        /// Virtual address of the module; its frame, by `flags`.
        mod_start: u32,
        /// Its bytes.
        mod_len: u32,
        /// The command line, ended by a zero byte.
        cmd_line: [u8; 1024],
        /// First frame of the frame table, if it is not in the initial mapping.
        first_p2m_pfn: u32,
        /// Its frames.
        nr_p2m_frames: u32,
    }

    /// As [`super::pv::StartInfoConsole`].
    struct StartInfoConsole = "start_info::console" {
        /// Machine frame of its ring; for the first domain, where in [`StartInfo`] its screen is described.
        mfn: u32 = "domU.mfn",
        /// Port of its ring; for the first domain, how long that is.
        evtchn: u32 = "domU.evtchn",
    }
}
