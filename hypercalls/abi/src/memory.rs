//! `memory.h`: `memory_op`, by which a guest gets, gives back, places and lists its memory.
//!
//! The command is in the low 6 bits of the first argument; the bits above hold how far a continued call has come.

use crate::GuestHandle64;

constants! {
    u32 {
        /// Allocates extents without placing them. Argument: [`Reservation`]; the result is extents done.
        XENMEM_increase_reservation = 0;
        /// Gives extents back. Argument: [`Reservation`]; the result is extents done.
        XENMEM_decrease_reservation = 1;
        /// No argument; the result is the highest machine frame.
        XENMEM_maximum_ram_page = 2;
        /// Argument: [`Domain`]; the result is the pages it has.
        XENMEM_current_reservation = 3;
        /// Argument: [`Domain`]; the result is the pages it may have.
        XENMEM_maximum_reservation = 4;
        /// Lists the frames of the machine-to-guest table. Argument: [`MachphysMfnList`].
        XENMEM_machphys_mfn_list = 5;
        /// Allocates extents at given guest frames. Argument: [`Reservation`]; the result is extents done.
        XENMEM_populate_physmap = 6;
        /// Places one frame of a special kind. Argument: [`AddToPhysmap`].
        XENMEM_add_to_physmap = 7;
        /// Reads the caller's memory map. Argument: [`MemoryMap`].
        XENMEM_memory_map = 9;
        /// Reads the machine's memory map. Argument: [`MemoryMap`].
        XENMEM_machine_memory_map = 10;
        /// Exchanges extents for others. Argument: [`Exchange`].
        XENMEM_exchange = 11;
        /// Says where the machine-to-guest table is. Argument: [`MachphysMapping`].
        XENMEM_machphys_mapping = 12;
        /// Sets the memory map of a domain. Argument: [`ForeignMemoryMap`].
        XENMEM_set_memory_map = 13;
        /// Argument: [`Domain`]; the result is its highest guest frame in use.
        XENMEM_maximum_gpfn = 14;
        /// Takes one frame away. Argument: [`RemoveFromPhysmap`].
        XENMEM_remove_from_physmap = 15;
        /// Sets the target of populate-on-demand. Argument: [`PodTarget`].
        XENMEM_set_pod_target = 16;
        /// Reads it. Argument: [`PodTarget`].
        XENMEM_get_pod_target = 17;
        /// No argument; the result is pages saved by sharing.
        XENMEM_get_sharing_freed_pages = 18;
        /// No argument; the result is pages that are shared.
        XENMEM_get_sharing_shared_pages = 19;
        /// Pages guest memory out and in, from the control domain. Argument: [`toolstack::PagingOp`].
        XENMEM_paging_op = 20;
        /// Restricts access to guest frames, from the control domain. Argument: [`toolstack::AccessOp`].
        XENMEM_access_op = 21;
        /// Shares frames between domains, from the control domain. Argument: [`toolstack::SharingOp`].
        XENMEM_sharing_op = 22;
        /// Places many frames of a special kind. Argument: [`AddToPhysmapBatch`].
        XENMEM_add_to_physmap_batch = 23;
        /// Sets memory aside for a domain. Argument: [`Reservation`].
        XENMEM_claim_pages = 24;
        /// As [`XENMEM_machphys_mfn_list`], for the table 32-bit PV guests see.
        XENMEM_machphys_compat_mfn_list = 25;
        /// Reads the virtual NUMA topology. Argument: [`VnumaTopologyInfo`].
        XENMEM_get_vnumainfo = 26;
        /// Lists memory reserved for devices. Argument: [`ReservedDeviceMemoryMap`].
        XENMEM_reserved_device_memory_map = 27;
        /// Maps or lists frames of a resource of a domain. Argument: [`AcquireResource`].
        XENMEM_acquire_resource = 28;

        /// Place: the caller's `shared_info`. `idx` is not used.
        XENMAPSPACE_shared_info = 0;
        /// Place: frame `idx` of the grant table; with [`XENMAPIDX_grant_table_status`], of the status table.
        XENMAPSPACE_grant_table = 1;
        /// Place: the caller's own guest frame `idx`, which moves.
        XENMAPSPACE_gmfn = 2;
        /// Place: as [`XENMAPSPACE_gmfn`], `size` frames.
        XENMAPSPACE_gmfn_range = 3;
        /// Place: guest frame `idx` of another domain.
        XENMAPSPACE_gmfn_foreign = 4;
        /// Place: memory of a device (Arm).
        XENMAPSPACE_dev_mmio = 5;

        /// Kind of resource: pages of an ioreq server; `id` is the server.
        XENMEM_resource_ioreq_server = 0;
        /// Kind of resource: frames of a grant table; `id` is `XENMEM_resource_grant_table_id_*`.
        XENMEM_resource_grant_table = 1;
        /// Kind of resource: a processor trace buffer; `id` is the vcpu.
        XENMEM_resource_vmtrace_buf = 2;
        /// The shared entries.
        XENMEM_resource_grant_table_id_shared = 0;
        /// The status table.
        XENMEM_resource_grant_table_id_status = 1;

        /// Bits of `mem_flags` with the widest machine address wanted, in bits; 0 for any.
        XENMEMF_ADDRESS_BITS_MASK = 0xff, "XENMEMF_get_address_bits(~0u)";
        /// Lowest of the 8 bits of `mem_flags` with the NUMA node wanted, plus one; 0 for any.
        XENMEMF_NODE_SHIFT = 8, "__builtin_ctz(XENMEMF_node(0))";
    }
    u64 {
        /// Bit of `idx` that means the status table.
        XENMAPIDX_grant_table_status = 0x8000_0000;
        /// First frame of an ioreq server: the page of buffered requests.
        XENMEM_resource_ioreq_server_frame_bufioreq = 0;
        /// Its further frames: pages of requests.
        XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ = 1, "XENMEM_resource_ioreq_server_frame_ioreq(0)";
    }
}

flags! {
    /// What memory to allocate: the flags in `mem_flags`.
    struct MemoryFlags: u32 {
        /// Allocate when first touched.
        POPULATE_ON_DEMAND = 1 << 16, "XENMEMF_populate_on_demand";
        /// From the given node, or not at all.
        EXACT_NODE_REQUEST = 1 << 17, "XENMEMF_exact_node_request";
        /// The node is a virtual one.
        VNODE = 1 << 18, "XENMEMF_vnode";
    }

    /// What reserved device memory to list.
    struct ReservedDeviceMemoryFlags: u32 {
        /// That of all devices.
        ALL = 1, "XENMEM_RDM_ALL";
    }
}

layouts! {
    /// Extents: runs of 2^`extent_order` frames.
    struct Reservation = "xen_memory_reservation" {
        /// Array of first frames.
        extent_start: GuestHandle64,
        /// Number of extents.
        nr_extents: u64,
        /// log2 of the frames in each.
        extent_order: u32,
        /// [`MemoryFlags`], address bits and node.
        mem_flags: u32,
        /// Whose memory.
        domid: u16,
        /// Padding.
        padding: [u16; 3] = "",
    }

    /// Extents to exchange.
    struct Exchange = "xen_memory_exchange" {
        /// In: extents given.
        input: Reservation = "in",
        /// In: extents wanted; their frames go where its array says.
        output: Reservation = "out",
        /// In: 0; out: extents of `input` done.
        nr_exchanged: u64,
    }

    /// A domain to ask about.
    struct Domain = "xen_memory_domain" {
        /// The domain.
        domid: u16,
    }

    /// Frames of the machine-to-guest table.
    struct MachphysMfnList = "xen_machphys_mfn_list" {
        /// In: room in the array.
        max_extents: u32,
        /// Padding.
        padding0: u32 = "",
        /// In: the array: first frame of each 2 MiB.
        extent_start: GuestHandle64,
        /// Out: elements filled.
        nr_extents: u32,
        /// Padding.
        padding1: u32 = "",
    }

    /// The place of the machine-to-guest table.
    struct MachphysMapping = "xen_machphys_mapping" {
        /// Its first virtual address.
        v_start: u64,
        /// The address behind it.
        v_end: u64,
        /// The highest frame it holds.
        max_mfn: u64,
    }

    /// One frame to place.
    struct AddToPhysmap = "xen_add_to_physmap" {
        /// Whose guest frames change.
        domid: u16,
        /// Number of frames, for [`XENMAPSPACE_gmfn_range`] only.
        size: u16,
        /// `XENMAPSPACE_*`.
        space: u32,
        /// Which frame of that space.
        idx: u64,
        /// The guest frame where it shall be.
        gpfn: u64,
    }

    /// Many frames to place.
    struct AddToPhysmapBatch = "xen_add_to_physmap_batch" {
        /// Whose guest frames change.
        domid: u16,
        /// `XENMAPSPACE_*`.
        space: u16,
        /// Number of frames.
        size: u16,
        /// The other domain, for [`XENMAPSPACE_gmfn_foreign`]; else 0.
        foreign_domid: u16 = "u",
        /// Array of indexes.
        idxs: GuestHandle64,
        /// Array of guest frames.
        gpfns: GuestHandle64,
        /// Array of `i32` for each frame's outcome.
        errs: GuestHandle64,
    }

    /// One frame to take away.
    struct RemoveFromPhysmap = "xen_remove_from_physmap" {
        /// Whose.
        domid: u16,
        /// Padding.
        padding: [u16; 3] = "",
        /// The guest frame.
        gpfn: u64,
    }

    /// A memory map: an array of packed 20-byte e820 entries.
    struct MemoryMap = "xen_memory_map" {
        /// In: room in the array; out: entries.
        nr_entries: u32,
        /// Padding.
        padding: u32 = "",
        /// The array; null asks for the number only.
        buffer: GuestHandle64,
    }

    /// A memory map of a domain.
    struct ForeignMemoryMap = "xen_foreign_memory_map" {
        /// Whose.
        domid: u16,
        /// Padding.
        padding: [u16; 3] = "",
        /// The map.
        map: MemoryMap,
    }

    /// Populate-on-demand, in pages.
    struct PodTarget = "xen_pod_target" {
        /// In, to set: pages the domain shall have.
        target_pages: u64,
        /// Out: pages it has.
        tot_pages: u64,
        /// Out: of these, pages not yet placed.
        pod_cache_pages: u64,
        /// Out: guest frames waiting for one.
        pod_entries: u64,
        /// In: whose.
        domid: u16,
        /// Padding.
        padding: [u16; 3] = "",
    }

    /// One range of memory reserved for a device.
    struct ReservedDeviceMemory = "xen_reserved_device_memory" {
        /// First frame.
        start_pfn: u64,
        /// Number of frames.
        nr_pages: u64,
    }

    /// Ranges of memory reserved for devices.
    struct ReservedDeviceMemoryMap = "xen_reserved_device_memory_map" {
        /// In: [`ReservedDeviceMemoryFlags`].
        flags: u32,
        /// In: room in the array; out: entries.
        nr_entries: u32,
        /// In: array of [`ReservedDeviceMemory`].
        buffer: GuestHandle64,
        /// In: which device, unless all.
        device: crate::physdev::PciDevice = "dev.pci",
        /// Padding.
        padding: u32 = "",
    }

    /// Frames of a resource.
    struct AcquireResource = "xen_mem_acquire_resource" {
        /// In: whose.
        domid: u16,
        /// In: `XENMEM_resource_*`.
        kind: u16 = "type",
        /// In: which one of that kind.
        id: u32,
        /// In: frames wanted; 0 asks how many there are, which comes back here.
        nr_frames: u32,
        /// Padding, named by the header; must be 0.
        padding: u32 = "pad",
        /// In: the first frame wanted; out: how far a continued call has come.
        frame: u64,
        /// In, from a translated domain: array of guest frames where they shall be; null to ask for the number.
        frame_list: GuestHandle64,
    }

    /// One range of guest memory on a virtual NUMA node.
    struct VmemRange = "xen_vmemrange" {
        /// First address.
        start: u64,
        /// The address behind it.
        end: u64,
        /// Unused.
        flags: u32,
        /// The node.
        nid: u32,
    }

    /// The virtual NUMA topology.
    struct VnumaTopologyInfo = "xen_vnuma_topology_info" {
        /// In: whose.
        domid: u16,
        /// Padding, named by the header; must be 0.
        padding: u16 = "pad",
        /// In: room for nodes; out: nodes.
        nr_vnodes: u32,
        /// In: room for vcpus; out: vcpus.
        nr_vcpus: u32,
        /// In: room for ranges; out: ranges.
        nr_vmemranges: u32,
        /// Array of `u32`, nodes × nodes, of distances.
        vdistance: GuestHandle64,
        /// Array of `u32`: each vcpu's node.
        vcpu_to_vnode: GuestHandle64,
        /// Array of [`VmemRange`].
        vmemrange: GuestHandle64,
    }
}

/// Layouts of a 32-bit caller.
pub mod compat;
pub mod toolstack;
