//! `arch-x86/hvm/start_info.h`: what a PVH guest finds at the address in `EBX` when it starts.
//!
//! All addresses are guest physical; 0 means that there is none.

constants! {
    u32 {
        /// First word of [`StartInfo`].
        XEN_HVM_START_MAGIC_VALUE = 0x336e_c578;
        /// Memory.
        XEN_HVM_MEMMAP_TYPE_RAM = 1;
        /// Not to be used.
        XEN_HVM_MEMMAP_TYPE_RESERVED = 2;
        /// ACPI tables; memory once they are read.
        XEN_HVM_MEMMAP_TYPE_ACPI = 3;
        /// ACPI's, to be kept over sleep.
        XEN_HVM_MEMMAP_TYPE_NVS = 4;
        /// Faulty.
        XEN_HVM_MEMMAP_TYPE_UNUSABLE = 5;
        /// Switched off.
        XEN_HVM_MEMMAP_TYPE_DISABLED = 6;
        /// Persistent memory.
        XEN_HVM_MEMMAP_TYPE_PMEM = 7;
    }
}

layouts! {
    /// What the guest is started with.
    struct StartInfo = "hvm_start_info" {
        /// [`XEN_HVM_START_MAGIC_VALUE`].
        magic: u32,
        /// 0, or 1: then the memory map is there.
        version: u32,
        /// [`crate::xen::StartFlags`].
        flags: u32,
        /// Number of modules.
        nr_modules: u32,
        /// Array of [`ModlistEntry`].
        modlist_paddr: u64,
        /// The command line, ended by a zero byte.
        cmdline_paddr: u64,
        /// ACPI's root pointer.
        rsdp_paddr: u64,
        /// Array of [`MemmapTableEntry`].
        memmap_paddr: u64,
        /// Number of them.
        memmap_entries: u32,
        /// 0.
        reserved: u32,
    }

    /// One module.
    struct ModlistEntry = "hvm_modlist_entry" {
        /// Its address.
        paddr: u64,
        /// Its bytes.
        size: u64,
        /// Its command line.
        cmdline_paddr: u64,
        /// 0.
        reserved: u64,
    }

    /// One range of the memory map.
    struct MemmapTableEntry = "hvm_memmap_table_entry" {
        /// Its first address.
        addr: u64,
        /// Its bytes.
        size: u64,
        /// `XEN_HVM_MEMMAP_TYPE_*`.
        kind: u32 = "type",
        /// 0.
        reserved: u32,
    }
}
