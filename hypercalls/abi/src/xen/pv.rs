//! `xen.h`: what only paravirtualized (PV) domains have: page-table operations, and how a domain is started.

constants! {
    u32 {
        /// [`MmuUpdate`]: writes a page-table entry.
        MMU_NORMAL_PT_UPDATE = 0;
        /// [`MmuUpdate`]: writes an entry of the machine-to-guest table.
        MMU_MACHPHYS_UPDATE = 1;
        /// [`MmuUpdate`]: writes a page-table entry but keeps its accessed and dirty bits.
        MMU_PT_UPDATE_PRESERVE_AD = 2;
        /// [`MmuUpdate`]: writes a page-table entry that holds a machine frame already.
        MMU_PT_UPDATE_NO_TRANSLATE = 3;

        /// Pins a table of level 1.
        MMUEXT_PIN_L1_TABLE = 0;
        /// Pins a table of level 2.
        MMUEXT_PIN_L2_TABLE = 1;
        /// Pins a table of level 3.
        MMUEXT_PIN_L3_TABLE = 2;
        /// Pins a table of level 4.
        MMUEXT_PIN_L4_TABLE = 3;
        /// Unpins a table.
        MMUEXT_UNPIN_TABLE = 4;
        /// Loads the kernel's root table.
        MMUEXT_NEW_BASEPTR = 5;
        /// Flushes this vcpu's translations.
        MMUEXT_TLB_FLUSH_LOCAL = 6;
        /// Flushes one of this vcpu's translations.
        MMUEXT_INVLPG_LOCAL = 7;
        /// Flushes some vcpus' translations.
        MMUEXT_TLB_FLUSH_MULTI = 8;
        /// Flushes one translation of some vcpus.
        MMUEXT_INVLPG_MULTI = 9;
        /// Flushes all vcpus' translations.
        MMUEXT_TLB_FLUSH_ALL = 10;
        /// Flushes one translation of all vcpus.
        MMUEXT_INVLPG_ALL = 11;
        /// Writes back and drops this pcpu's caches.
        MMUEXT_FLUSH_CACHE = 12;
        /// Loads a local segment table.
        MMUEXT_SET_LDT = 13;
        /// Loads the user's root table.
        MMUEXT_NEW_USER_BASEPTR = 15;
        /// Fills a page with zeros.
        MMUEXT_CLEAR_PAGE = 16;
        /// Copies a page.
        MMUEXT_COPY_PAGE = 17;
        /// Writes back and drops all pcpus' caches.
        MMUEXT_FLUSH_CACHE_GLOBAL = 18;
        /// Marks a superpage.
        MMUEXT_MARK_SUPER = 19;
        /// Unmarks it.
        MMUEXT_UNMARK_SUPER = 20;

        /// Bytes of a PV guest's command line.
        MAX_GUEST_CMDLINE = 1024;
    }
    u8 {
        /// `dom0_vga_console_info`: text mode 3.
        XEN_VGATYPE_TEXT_MODE_3 = 0x03;
        /// `dom0_vga_console_info`: linear frame buffer set up by VESA.
        XEN_VGATYPE_VESA_LFB = 0x23;
        /// `dom0_vga_console_info`: linear frame buffer set up by EFI.
        XEN_VGATYPE_EFI_LFB = 0x70;
    }
}

flags! {
    /// Which translations `update_va_mapping` flushes; beside these flags, bits 63:2 may hold the address of a
    /// bitmap of vcpus.
    struct UpdateVaMappingFlags: u64 {
        /// All translations.
        TLB_FLUSH = 1 << 0, "UVMF_TLB_FLUSH";
        /// That of the address.
        INVLPG = 2, "UVMF_INVLPG";
        /// The bits that say which.
        FLUSHTYPE_MASK = 3, "UVMF_FLUSHTYPE_MASK";
        /// On all vcpus.
        ALL = 1 << 2, "UVMF_ALL";
    }
}

layouts! {
    /// One page-table operation.
    struct MmuextOp = "mmuext_op" {
        /// `MMUEXT_*`.
        cmd: u32,
        /// Padding.
        padding: u32 = "",
        /// A frame, or a linear address.
        arg1: u64,
        /// A number of entries (bits 31:0), a pointer to a bitmap of vcpus, or a frame.
        arg2: u64,
    }

    /// One page-table write.
    struct MmuUpdate = "mmu_update" {
        /// Machine address of the entry; `MMU_*` in its low 2 bits.
        ptr: u64,
        /// What to write.
        val: u64,
    }

    /// What a domain is started with.
    struct StartInfo = "start_info" {
        /// A string: which interface.
        magic: [u8; 32],
        /// Pages the domain has.
        nr_pages: u64,
        /// Machine address of its [`super::SharedInfo`].
        shared_info: u64,
        /// [`super::StartFlags`].
        flags: u32,
        /// Padding.
        padding0: u32 = "",
        /// Machine frame of the xenstore ring.
        store_mfn: u64,
        /// Port of the xenstore ring.
        store_evtchn: u32,
        /// Padding.
        padding1: u32 = "",
        /// The console.
        console: StartInfoConsole,
        /// Virtual address of the root page table.
        pt_base: u64,
        /// Frames of page tables.
        nr_pt_frames: u64,
        /// Virtual address of the frame table.
        mfn_list: u64,
        /// Virtual address of the module; its frame, by `flags`.
        mod_start: u64,
        /// Its bytes.
        mod_len: u64,
        /// The command line, ended by a zero byte.
        cmd_line: [u8; 1024],
        /// First frame of the frame table, if it is not in the initial mapping.
        first_p2m_pfn: u64,
        /// Its frames.
        nr_p2m_frames: u64,
    }

    /// The console of a domain.
    struct StartInfoConsole = "start_info::console" {
        /// Machine frame of its ring; for the first domain, in bits 31:0 where in [`StartInfo`] its
        /// [`VgaConsoleInfo`] is, in bits 63:32 how long that is.
        mfn: u64 = "domU.mfn",
        /// Port of its ring.
        evtchn: u32 = "domU.evtchn",
        /// Padding.
        padding: u32 = "",
    }

    /// The screen the first domain finds.
    struct VgaConsoleInfo = "dom0_vga_console_info" {
        /// `XEN_VGATYPE_*`.
        video_type: u8,
        /// Padding.
        padding: [u8; 3] = "",
        /// By `video_type`: the bytes of a [`VgaTextMode3`] or a [`VgaLinearFrameBuffer`].
        u: [u32; 9],
    }

    /// A text screen.
    struct VgaTextMode3 = "dom0_vga_console_info::u.text_mode_3" {
        /// Height of a character in lines.
        font_height: u16,
        /// Column of the cursor.
        cursor_x: u16,
        /// Row of the cursor.
        cursor_y: u16,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    }

    /// A linear frame buffer.
    struct VgaLinearFrameBuffer = "dom0_vga_console_info::u.vesa_lfb" {
        /// Pixels in a line.
        width: u16,
        /// Lines.
        height: u16,
        /// Bytes in a line.
        bytes_per_line: u16,
        /// Bits in a pixel.
        bits_per_pixel: u16,
        /// Machine address, bits 31:0.
        lfb_base: u32,
        /// Size in units of 64 KiB.
        lfb_size: u32,
        /// Red: lowest bit.
        red_pos: u8,
        /// Red: bits.
        red_size: u8,
        /// Green: lowest bit.
        green_pos: u8,
        /// Green: bits.
        green_size: u8,
        /// Blue: lowest bit.
        blue_pos: u8,
        /// Blue: bits.
        blue_size: u8,
        /// Unused: lowest bit.
        rsvd_pos: u8,
        /// Unused: bits.
        rsvd_size: u8,
        /// VESA's capabilities.
        gbl_caps: u32,
        /// VESA's attributes of the mode.
        mode_attrs: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
        /// Machine address, bits 63:32.
        ext_lfb_base: u32,
    }

    /// A module handed to a PV domain that got several.
    struct MultibootModList = "xen_multiboot_mod_list" {
        /// Its first address.
        mod_start: u32,
        /// The address behind it.
        mod_end: u32,
        /// Address of its string.
        cmdline: u32,
        /// Padding, named by the header.
        padding: u32 = "pad",
    }
}
