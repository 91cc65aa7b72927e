//! `hvm/hvm_op.h`: `hvm_op`, by which an HVM or PVH guest and its builder agree.

pub mod altp2m;

constants! {
    u32 {
        /// Sets a parameter. Argument: [`Param`].
        HVMOP_set_param = 0;
        /// Reads it. Argument: [`Param`].
        HVMOP_get_param = 1;
        /// Flushes the translations of all vcpus. No argument.
        HVMOP_flush_tlbs = 5;
        /// Hints that a page table is about to go away. Argument: [`PagetableDying`].
        HVMOP_pagetable_dying = 9;
        /// Asks for the system time. Argument: [`GetTime`].
        HVMOP_get_time = 10;
        /// Adds a record to the trace. Argument: [`Xentrace`].
        HVMOP_xentrace = 11;
        /// Removed.
        HVMOP_set_mem_access = 12;
        /// Removed.
        HVMOP_get_mem_access = 13;
        /// Asks what is at a guest frame. Argument: [`GetMemType`].
        HVMOP_get_mem_type = 15;
        /// Chooses the interrupt by which a vcpu is told of events. Argument: [`EvtchnUpcallVector`].
        HVMOP_set_evtchn_upcall_vector = 23;
        /// Sends an event to a monitor. No argument.
        HVMOP_guest_request_vm_event = 24;
        /// Alternative second-stage tables. Argument: [`altp2m::Op`].
        HVMOP_altp2m = 25;
        /// Version of that argument.
        HVMOP_ALTP2M_INTERFACE_VERSION = 1;
        /// An ioreq server without a page of buffered requests.
        HVM_IOREQSRV_BUFIOREQ_OFF = 0;
        /// An ioreq server with one, whose pointers are not updated atomically.
        HVM_IOREQSRV_BUFIOREQ_LEGACY = 1;
        /// An ioreq server with one, whose pointers are.
        HVM_IOREQSRV_BUFIOREQ_ATOMIC = 2;
    }
    u16 {
        /// Memory.
        HVMMEM_ram_rw = 0;
        /// Memory that cannot be written.
        HVMMEM_ram_ro = 1;
        /// Nothing: the device model answers.
        HVMMEM_mmio_dm = 2;
        /// Unused.
        HVMMEM_unused = 3;
        /// Memory whose writes go to an ioreq server.
        HVMMEM_ioreq_server = 4;
    }
}

layouts! {
    /// A parameter.
    struct Param = "xen_hvm_param" {
        /// In: whose.
        domid: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
        /// In: `HVM_PARAM_*`.
        index: u32,
        /// In or out: its value.
        value: u64,
    }

    /// A page table about to go away.
    struct PagetableDying = "xen_hvm_pagetable_dying" {
        /// Whose.
        domid: u16,
        /// Padding, named by the header.
        padding: [u16; 3] = "pad",
        /// Guest address of its root.
        gpa: u64,
    }

    /// The time.
    struct GetTime = "xen_hvm_get_time" {
        /// Out: system time in nanoseconds.
        now: u64,
    }

    /// A record for the trace.
    struct Xentrace = "xen_hvm_xentrace" {
        /// Its number.
        event: u16,
        /// Bytes used.
        extra_bytes: u16,
        /// The bytes.
        extra: [u8; 28],
    }

    /// What is at a guest frame.
    struct GetMemType = "xen_hvm_get_mem_type" {
        /// In: whose.
        domid: u16,
        /// Out: `HVMMEM_*`.
        mem_type: u16,
        /// Padding, named by the header.
        padding0: [u16; 2] = "pad",
        /// In: the frame.
        pfn: u64,
    }

    /// The interrupt by which a vcpu is told of events.
    struct EvtchnUpcallVector = "xen_hvm_evtchn_upcall_vector" {
        /// Which vcpu.
        vcpu: u32,
        /// The vector; 16 or more, or 0 for none.
        vector: u8,
        /// Padding.
        padding: [u8; 3] = "",
    }
}
