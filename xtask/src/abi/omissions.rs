//! What the covered headers have and `xenvisor-abi` has not, each with its reason.
//!
//! A name that is neither in the crate nor here fails the check; so does one that is here for nothing.

/// Names, and why they are left out. A `*` at the end stands for any ending.
pub const OMITTED: &[(&str, &str)] = &[
    (
        "__guest_handle_*",
        "C's wrappers of pointers, one a type; here GuestHandle64 and GuestHandle32",
    ),
    ("PRI_xen_*", "formats of printf"),
    ("PRIu_xen_*", "formats of printf"),
    ("GNTTABOP_error_msgs", "texts for the grant statuses"),
    ("XS_WRITE_*", "texts of a request that no longer exists"),
    ("XEN_HAVE_*", "switches of the headers, on for x86"),
    ("XEN_EMULATE_PREFIX", "an assembler directive"),
    ("XEN_CPUID", "an assembler directive"),
    ("int64_aligned_t", "a name for a type; i64 here"),
    ("uint64_aligned_t", "a name for a type; u64 here"),
    ("xen_wc_sec_hi", "another name of a member of shared_info"),
    ("xen_vga_console_info*", "another name of dom0_vga_console_info"),
    ("xsd_errors", "a table of texts; the wire carries the text itself"),
    (
        "xen_add_to_physmap_batch_extra",
        "a union of two numbers of the same width; one field here",
    ),
    (
        "evtchn_op",
        "the argument of event_channel_op_compat, which HVM guests do not have",
    ),
    (
        "physdev_op",
        "the argument of physdev_op_compat, which HVM guests do not have",
    ),
    (
        "PHYSDEVOP_pirq_eoi_gmfn",
        "another name, by interface version, of one of the two that are here",
    ),
    ("UVMF_NONE", "no flag"),
    ("UVMF_MULTI", "no flag"),
    ("UVMF_LOCAL", "no flag"),
    (
        "FLAT_*",
        "PV: selectors of the segments that the hypervisor provides",
    ),
    (
        "HYPERVISOR_VIRT_*",
        "PV: the hypervisor's place in the guest's address space",
    ),
    (
        "__HYPERVISOR_VIRT_*",
        "PV: the hypervisor's place in the guest's address space",
    ),
    (
        "MACH2PHYS_*",
        "PV: the machine-to-guest table's place in the guest's address space",
    ),
    (
        "__MACH2PHYS_*",
        "PV: the machine-to-guest table's place in the guest's address space",
    ),
    (
        "machine_to_phys_mapping",
        "PV: the machine-to-guest table as a C array",
    ),
    ("VGCF_I387_VALID", "another name of VGCF_i387_valid"),
    ("VGCF_IN_KERNEL", "another name of VGCF_in_kernel"),
    ("VGCF_IN_SYSCALL", "another name of VGCF_in_syscall"),
];
