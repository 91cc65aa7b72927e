//! `elfnote.h`: types of the ELF notes named "Xen", by which a kernel says how it wants to be started.

constants! {
    u32 {
        /// A string of `key=value` pairs, from before the other notes existed.
        XEN_ELFNOTE_INFO = 0;
        /// PV: virtual address of the entry point.
        XEN_ELFNOTE_ENTRY = 1;
        /// Virtual address of the page to hold the hypercall stubs.
        XEN_ELFNOTE_HYPERCALL_PAGE = 2;
        /// PV: virtual address at which the kernel's memory starts.
        XEN_ELFNOTE_VIRT_BASE = 3;
        /// What to take from the ELF physical addresses to get offsets into guest memory.
        XEN_ELFNOTE_PADDR_OFFSET = 4;
        /// A string: the interface the kernel was written for (`xen-3.0`).
        XEN_ELFNOTE_XEN_VERSION = 5;
        /// A string: the name of the guest's system.
        XEN_ELFNOTE_GUEST_OS = 6;
        /// A string: its version.
        XEN_ELFNOTE_GUEST_VERSION = 7;
        /// A string: which loader to use (`generic`).
        XEN_ELFNOTE_LOADER = 8;
        /// PV, 32-bit: a string saying whether the kernel runs in PAE mode.
        XEN_ELFNOTE_PAE_MODE = 9;
        /// A string: features needed (with `!`) and supported, separated by `|`.
        XEN_ELFNOTE_FEATURES = 10;
        /// A string: load the symbol table (`yes`).
        XEN_ELFNOTE_BSD_SYMTAB = 11;
        /// PV, 32-bit: lowest address the hypervisor may begin at.
        XEN_ELFNOTE_HV_START_LOW = 12;
        /// PV: which bits make a not-present page-table entry hold no frame; pairs of mask and value.
        XEN_ELFNOTE_L1_MFN_VALID = 13;
        /// Suspending can be cancelled and returns to the caller.
        XEN_ELFNOTE_SUSPEND_CANCEL = 14;
        /// PV: virtual address at which the initial frame table should be.
        XEN_ELFNOTE_INIT_P2M = 15;
        /// PV: the module's frame number, not its address, is wanted.
        XEN_ELFNOTE_MOD_START_PFN = 16;
        /// A bitmap of the `XENFEAT_*` the kernel can use or needs.
        XEN_ELFNOTE_SUPPORTED_FEATURES = 17;
        /// PVH: physical address of the 32-bit entry point.
        XEN_ELFNOTE_PHYS32_ENTRY = 18;
        /// The highest type there is.
        XEN_ELFNOTE_MAX = XEN_ELFNOTE_PHYS32_ENTRY;

        /// Crash image: information on the hypervisor.
        XEN_ELFNOTE_CRASH_INFO = 0x0100_0001;
        /// Crash image: registers of one processor.
        XEN_ELFNOTE_CRASH_REGS = 0x0100_0002;

        /// Core of a guest: marks that the notes are there; no content.
        XEN_ELFNOTE_DUMPCORE_NONE = 0x0200_0000;
        /// Core of a guest: magic, numbers of vcpus and pages, page size.
        XEN_ELFNOTE_DUMPCORE_HEADER = 0x0200_0001;
        /// Core of a guest: version of the hypervisor.
        XEN_ELFNOTE_DUMPCORE_XEN_VERSION = 0x0200_0002;
        /// Core of a guest: version of the core's format.
        XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION = 0x0200_0003;
    }
}
