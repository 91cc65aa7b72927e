//! `xen.h`: the hypercall numbers, and what a domain shares with its hypervisor.

use crate::GuestHandle64;
use crate::arch_x86::xen::ArchSharedInfo;
use crate::arch_x86::xen_x86_64::ArchVcpuInfo;

constants! {
    u32 {
        /// PV: the interrupt table.
        HYPERVISOR_set_trap_table = 0, "__HYPERVISOR_set_trap_table";
        /// PV: page-table entries.
        HYPERVISOR_mmu_update = 1, "__HYPERVISOR_mmu_update";
        /// PV: the segment table.
        HYPERVISOR_set_gdt = 2, "__HYPERVISOR_set_gdt";
        /// PV: the kernel's stack.
        HYPERVISOR_stack_switch = 3, "__HYPERVISOR_stack_switch";
        /// PV: entry points.
        HYPERVISOR_set_callbacks = 4, "__HYPERVISOR_set_callbacks";
        /// PV: the task-switched flag.
        HYPERVISOR_fpu_taskswitch = 5, "__HYPERVISOR_fpu_taskswitch";
        /// The first form of `sched_op`.
        HYPERVISOR_sched_op_compat = 6, "__HYPERVISOR_sched_op_compat";
        /// The machine, for the control domain.
        HYPERVISOR_platform_op = 7, "__HYPERVISOR_platform_op";
        /// PV: sets a debug register.
        HYPERVISOR_set_debugreg = 8, "__HYPERVISOR_set_debugreg";
        /// PV: reads a debug register.
        HYPERVISOR_get_debugreg = 9, "__HYPERVISOR_get_debugreg";
        /// PV: one segment descriptor.
        HYPERVISOR_update_descriptor = 10, "__HYPERVISOR_update_descriptor";
        /// Memory: [`crate::memory`].
        HYPERVISOR_memory_op = 12, "__HYPERVISOR_memory_op";
        /// Several calls in one: an array of [`MulticallEntry`].
        HYPERVISOR_multicall = 13, "__HYPERVISOR_multicall";
        /// PV: one page-table entry.
        HYPERVISOR_update_va_mapping = 14, "__HYPERVISOR_update_va_mapping";
        /// The one-shot timer: absolute system time in nanoseconds, 0 to stop it.
        HYPERVISOR_set_timer_op = 15, "__HYPERVISOR_set_timer_op";
        /// The first form of `event_channel_op`.
        HYPERVISOR_event_channel_op_compat = 16, "__HYPERVISOR_event_channel_op_compat";
        /// Where the guest runs: [`crate::version`].
        HYPERVISOR_xen_version = 17, "__HYPERVISOR_xen_version";
        /// The hypervisor's own console: `CONSOLEIO_*`.
        HYPERVISOR_console_io = 18, "__HYPERVISOR_console_io";
        /// The first form of `physdev_op`.
        HYPERVISOR_physdev_op_compat = 19, "__HYPERVISOR_physdev_op_compat";
        /// Grants: [`crate::grant_table`].
        HYPERVISOR_grant_table_op = 20, "__HYPERVISOR_grant_table_op";
        /// Switches how the hypervisor treats the domain: `VMASST_*`.
        HYPERVISOR_vm_assist = 21, "__HYPERVISOR_vm_assist";
        /// PV: one page-table entry, of another domain's frame.
        HYPERVISOR_update_va_mapping_otherdomain = 22, "__HYPERVISOR_update_va_mapping_otherdomain";
        /// PV: returns from an interrupt.
        HYPERVISOR_iret = 23, "__HYPERVISOR_iret";
        /// Vcpus: [`crate::vcpu`].
        HYPERVISOR_vcpu_op = 24, "__HYPERVISOR_vcpu_op";
        /// PV: a segment base.
        HYPERVISOR_set_segment_base = 25, "__HYPERVISOR_set_segment_base";
        /// PV: pinning, flushing: array of [`pv::MmuextOp`].
        HYPERVISOR_mmuext_op = 26, "__HYPERVISOR_mmuext_op";
        /// The security module.
        HYPERVISOR_xsm_op = 27, "__HYPERVISOR_xsm_op";
        /// Non-maskable interrupts: [`crate::nmi`].
        HYPERVISOR_nmi_op = 28, "__HYPERVISOR_nmi_op";
        /// Giving up the processor: [`crate::sched`].
        HYPERVISOR_sched_op = 29, "__HYPERVISOR_sched_op";
        /// PV: entry points: [`crate::callback`].
        HYPERVISOR_callback_op = 30, "__HYPERVISOR_callback_op";
        /// Profiling.
        HYPERVISOR_xenoprof_op = 31, "__HYPERVISOR_xenoprof_op";
        /// Event channels: [`crate::event_channel`].
        HYPERVISOR_event_channel_op = 32, "__HYPERVISOR_event_channel_op";
        /// Physical devices: [`crate::physdev`].
        HYPERVISOR_physdev_op = 33, "__HYPERVISOR_physdev_op";
        /// HVM guests: [`crate::hvm::hvm_op`].
        HYPERVISOR_hvm_op = 34, "__HYPERVISOR_hvm_op";
        /// The hypervisor, for the toolstack.
        HYPERVISOR_sysctl = 35, "__HYPERVISOR_sysctl";
        /// Domains, for the toolstack.
        HYPERVISOR_domctl = 36, "__HYPERVISOR_domctl";
        /// Crash kernels.
        HYPERVISOR_kexec_op = 37, "__HYPERVISOR_kexec_op";
        /// Transcendent memory; removed.
        HYPERVISOR_tmem_op = 38, "__HYPERVISOR_tmem_op";
        /// Message rings between domains.
        HYPERVISOR_argo_op = 39, "__HYPERVISOR_argo_op";
        /// Performance counters.
        HYPERVISOR_xenpmu_op = 40, "__HYPERVISOR_xenpmu_op";
        /// Device models.
        HYPERVISOR_dm_op = 41, "__HYPERVISOR_dm_op";
        /// The hypervisor's file system of settings.
        HYPERVISOR_hypfs_op = 42, "__HYPERVISOR_hypfs_op";
        /// x86: machine checks.
        HYPERVISOR_arch_0 = 48, "__HYPERVISOR_arch_0";
        /// x86: goes on with a paging operation of the toolstack.
        HYPERVISOR_arch_1 = 49, "__HYPERVISOR_arch_1";
        /// Unassigned.
        HYPERVISOR_arch_2 = 50, "__HYPERVISOR_arch_2";
        /// Unassigned.
        HYPERVISOR_arch_3 = 51, "__HYPERVISOR_arch_3";
        /// Unassigned.
        HYPERVISOR_arch_4 = 52, "__HYPERVISOR_arch_4";
        /// Unassigned.
        HYPERVISOR_arch_5 = 53, "__HYPERVISOR_arch_5";
        /// Unassigned.
        HYPERVISOR_arch_6 = 54, "__HYPERVISOR_arch_6";
        /// Unassigned.
        HYPERVISOR_arch_7 = 55, "__HYPERVISOR_arch_7";

        /// A timer of the vcpu ran out. Per vcpu.
        VIRQ_TIMER = 0;
        /// Somebody asks the guest to show its state. Per vcpu.
        VIRQ_DEBUG = 1;
        /// Input for the hypervisor's console.
        VIRQ_CONSOLE = 2;
        /// A domain ended or changed.
        VIRQ_DOM_EXC = 3;
        /// The trace buffer has data.
        VIRQ_TBUF = 4;
        /// A domain stopped for its debugger.
        VIRQ_DEBUGGER = 6;
        /// A profiler's overflow. Per vcpu.
        VIRQ_XENOPROF = 7;
        /// The hypervisor's log has data.
        VIRQ_CON_RING = 8;
        /// A pcpu came or went.
        VIRQ_PCPU_STATE = 9;
        /// A memory event.
        VIRQ_MEM_EVENT = 10;
        /// A message on an argo ring.
        VIRQ_ARGO = 11;
        /// Memory is short.
        VIRQ_ENOMEM = 12;
        /// A performance counter's overflow. Per vcpu.
        VIRQ_XENPMU = 13;
        /// x86: a machine check.
        VIRQ_ARCH_0 = 16;
        /// Unassigned.
        VIRQ_ARCH_1 = 17;
        /// Unassigned.
        VIRQ_ARCH_2 = 18;
        /// Unassigned.
        VIRQ_ARCH_3 = 19;
        /// Unassigned.
        VIRQ_ARCH_4 = 20;
        /// Unassigned.
        VIRQ_ARCH_5 = 21;
        /// Unassigned.
        VIRQ_ARCH_6 = 22;
        /// Unassigned.
        VIRQ_ARCH_7 = 23;
        /// Number of virtual interrupts.
        NR_VIRQS = 24;

        /// Writes to the hypervisor's console. Arguments: count, buffer.
        CONSOLEIO_write = 0;
        /// Reads from it. Arguments: count, buffer; the result is bytes read.
        CONSOLEIO_read = 1;

        /// Switches an assist on.
        VMASST_CMD_enable = 0;
        /// Switches it off.
        VMASST_CMD_disable = 1;
        /// PV, 32-bit: segments of 4 GiB.
        VMASST_TYPE_4gb_segments = 0;
        /// PV, 32-bit: tell the guest when that was needed.
        VMASST_TYPE_4gb_segments_notify = 1;
        /// PV: page tables look writable.
        VMASST_TYPE_writable_pagetables = 2;
        /// PV, 32-bit: root tables above 4 GiB.
        VMASST_TYPE_pae_extended_cr3 = 3;
        /// PV: the I/O privilege level as the processor has it.
        VMASST_TYPE_architectural_iopl = 4;
        /// Mark runstate records while they change ([`crate::vcpu::XEN_RUNSTATE_UPDATE`]).
        VMASST_TYPE_runstate_update_flag = 5;
        /// PV: the machine-to-guest table is hidden from user mode.
        VMASST_TYPE_m2p_strict = 32;

    }
    u16 {
        /// From here on domain ids have a special meaning.
        DOMID_FIRST_RESERVED = 0x7ff0;
        /// The caller.
        DOMID_SELF = 0x7ff0;
        /// Owner of what is not memory: devices.
        DOMID_IO = 0x7ff1;
        /// The hypervisor.
        DOMID_XEN = 0x7ff2;
        /// Owner of shared frames that are copied when written.
        DOMID_COW = 0x7ff3;
        /// No domain.
        DOMID_INVALID = 0x7ff4;
        /// The idle domain.
        DOMID_IDLE = 0x7fff;
        /// The bits of a domain id.
        DOMID_MASK = 0x7fff;
    }
}

flags! {
    /// What a guest may make of its clock.
    struct PvclockFlags: u8 {
        /// The clock never runs backwards from one vcpu to another.
        TSC_STABLE = 1 << 0, "XEN_PVCLOCK_TSC_STABLE_BIT";
        /// The guest was stopped.
        GUEST_STOPPED = 1 << 1, "XEN_PVCLOCK_GUEST_STOPPED";
    }

    /// What a domain is started as; in `hvm_start_info` too.
    struct StartFlags: u32 {
        /// It may control the machine.
        PRIVILEGED = 1 << 0, "SIF_PRIVILEGED";
        /// It is the first domain.
        INITDOMAIN = 1 << 1, "SIF_INITDOMAIN";
        /// Its module is a list of modules.
        MULTIBOOT_MOD = 1 << 2, "SIF_MULTIBOOT_MOD";
        /// The module's address is a frame number.
        MOD_START_PFN = 1 << 3, "SIF_MOD_START_PFN";
        /// The toolstack shall make a linear frame table.
        VIRT_P2M_4TOOLS = 1 << 4, "SIF_VIRT_P2M_4TOOLS";
        /// Bits for the power-management settings of the hypervisor.
        PM_MASK = 0xff << 8, "SIF_PM_MASK";
    }

}

layouts! {
    /// One call of several.
    struct MulticallEntry = "multicall_entry" {
        /// In: the hypercall's number.
        op: u64,
        /// Out: its result.
        result: u64,
        /// In: its arguments.
        args: [u64; 6],
    }

    /// From time stamp counter to system time. Changes are bracketed by `version`.
    struct VcpuTimeInfo = "vcpu_time_info" {
        /// Odd while the record changes; another number after each change.
        version: u32,
        /// Padding, named by the header.
        padding0: u32 = "pad0",
        /// The counter when the record was made.
        tsc_timestamp: u64,
        /// System time then, in nanoseconds since the machine started.
        system_time: u64,
        /// Nanoseconds = ((ticks << `tsc_shift`) × this) >> 32.
        tsc_to_system_mul: u32,
        /// Left shift of ticks; negative for a right shift.
        tsc_shift: i8,
        /// [`PvclockFlags`].
        flags: u8,
        /// Padding, named by the header.
        padding1: [u8; 2] = "pad1",
    }

    /// What a vcpu shares with the hypervisor.
    struct VcpuInfo = "vcpu_info" {
        /// Not 0: an event is pending. Set by the hypervisor, cleared by the guest.
        evtchn_upcall_pending: u8,
        /// Not 0: the guest does not want to be told (PV).
        evtchn_upcall_mask: u8,
        /// Padding.
        padding: [u8; 6] = "",
        /// Bit `w`: word `w` of `evtchn_pending` has news for this vcpu (2-level).
        evtchn_pending_sel: u64,
        /// The processor's part.
        arch: ArchVcpuInfo,
        /// The time.
        time: VcpuTimeInfo,
    }

    /// What a domain shares with the hypervisor: the first bytes of a page.
    struct SharedInfo = "shared_info" {
        /// Of the first 32 vcpus, unless moved elsewhere.
        vcpu_info: [VcpuInfo; 32],
        /// A bit for each port: an event is pending (2-level).
        evtchn_pending: [u64; 64],
        /// A bit for each port: it is masked (2-level).
        evtchn_mask: [u64; 64],
        /// Odd while the wall clock changes; another number after each change.
        wc_version: u32,
        /// Wall clock when system time was 0: seconds since 1970, bits 31:0.
        wc_sec: u32,
        /// And nanoseconds.
        wc_nsec: u32,
        /// Seconds, bits 63:32.
        wc_sec_hi: u32,
        /// The processor's part.
        arch: ArchSharedInfo,
    }

    /// Sixteen bytes that name a domain or an object, in the order in which they are written.
    struct Uuid = "xen_uuid_t" {
        /// The bytes.
        bytes: [u8; 16] = "a",
    }

    /// A bitmap of the toolstack.
    struct CtlBitmap = "xenctl_bitmap" {
        /// Its bytes.
        bitmap: GuestHandle64,
        /// Number of bits.
        nr_bits: u32,
        /// Padding.
        padding: u32 = "",
    }
}

/// Layouts of a 32-bit caller.
pub mod compat;
pub mod pv;
