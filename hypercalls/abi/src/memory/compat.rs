//! `memory.h`, layouts of a 32-bit caller. Frame numbers, counts and pointers are 32 bits wide there.

use crate::{CompatU64, GuestHandle32};

layouts! {
    /// As [`super::Reservation`].
    struct Reservation = "xen_memory_reservation" {
        /// Array of first frames.
        extent_start: GuestHandle32,
        /// Number of extents.
        nr_extents: u32,
        /// log2 of the frames in each.
        extent_order: u32,
        /// [`super::MemoryFlags`], address bits and node.
        mem_flags: u32,
        /// Whose memory.
        domid: u16,
        /// Padding.
        padding: u16 = "",
    }

    /// As [`super::Exchange`].
    struct Exchange = "xen_memory_exchange" {
        /// In: extents given.
        input: Reservation = "in",
        /// In: extents wanted.
        output: Reservation = "out",
        /// In: 0; out: extents of `input` done.
        nr_exchanged: u32,
    }

    /// As [`super::MachphysMfnList`].
    struct MachphysMfnList = "xen_machphys_mfn_list" {
        /// In: room in the array.
        max_extents: u32,
        /// In: the array.
        extent_start: GuestHandle32,
        /// Out: elements filled.
        nr_extents: u32,
    }

    /// As [`super::MachphysMapping`].
    struct MachphysMapping = "xen_machphys_mapping" {
        /// Its first virtual address.
        v_start: u32,
        /// The address behind it.
        v_end: u32,
        /// The highest frame it holds.
        max_mfn: u32,
    }

    /// As [`super::AddToPhysmap`].
    struct AddToPhysmap = "xen_add_to_physmap" {
        /// Whose guest frames change.
        domid: u16,
        /// Number of frames, for [`super::XENMAPSPACE_gmfn_range`] only.
        size: u16,
        /// `XENMAPSPACE_*`.
        space: u32,
        /// Which frame of that space.
        idx: u32,
        /// The guest frame where it shall be.
        gpfn: u32,
    }

    /// As [`super::AddToPhysmapBatch`]; the arrays hold `u32`.
    struct AddToPhysmapBatch = "xen_add_to_physmap_batch" {
        /// Whose guest frames change.
        domid: u16,
        /// `XENMAPSPACE_*`.
        space: u16,
        /// Number of frames.
        size: u16,
        /// The other domain, for [`super::XENMAPSPACE_gmfn_foreign`]; else 0.
        foreign_domid: u16 = "u",
        /// Array of indexes.
        idxs: GuestHandle32,
        /// Array of guest frames.
        gpfns: GuestHandle32,
        /// Array of `i32` for each frame's outcome.
        errs: GuestHandle32,
    }

    /// As [`super::RemoveFromPhysmap`].
    struct RemoveFromPhysmap = "xen_remove_from_physmap" {
        /// Whose.
        domid: u16,
        /// Padding.
        padding: u16 = "",
        /// The guest frame.
        gpfn: u32,
    }

    /// As [`super::MemoryMap`].
    struct MemoryMap = "xen_memory_map" {
        /// In: room in the array; out: entries.
        nr_entries: u32,
        /// The array; null asks for the number only.
        buffer: GuestHandle32,
    }

    /// As [`super::ForeignMemoryMap`].
    struct ForeignMemoryMap = "xen_foreign_memory_map" {
        /// Whose.
        domid: u16,
        /// Padding.
        padding: u16 = "",
        /// The map.
        map: MemoryMap,
    }

    /// As [`super::PodTarget`].
    struct PodTarget = "xen_pod_target" {
        /// In, to set: pages the domain shall have.
        target_pages: CompatU64,
        /// Out: pages it has.
        tot_pages: CompatU64,
        /// Out: of these, pages not yet placed.
        pod_cache_pages: CompatU64,
        /// Out: guest frames waiting for one.
        pod_entries: CompatU64,
        /// In: whose.
        domid: u16,
        /// Padding.
        padding: u16 = "",
    }

    /// As [`super::ReservedDeviceMemory`].
    struct ReservedDeviceMemory = "xen_reserved_device_memory" {
        /// First frame.
        start_pfn: u32,
        /// Number of frames.
        nr_pages: u32,
    }

    /// As [`super::ReservedDeviceMemoryMap`].
    struct ReservedDeviceMemoryMap = "xen_reserved_device_memory_map" {
        /// In: [`super::ReservedDeviceMemoryFlags`].
        flags: u32,
        /// In: room in the array; out: entries.
        nr_entries: u32,
        /// In: array of [`ReservedDeviceMemory`].
        buffer: GuestHandle32,
        /// In: which device, unless all.
        device: crate::physdev::PciDevice = "dev.pci",
    }

    /// As [`super::AcquireResource`].
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
        frame: CompatU64,
        /// In: array of `u32`.
        frame_list: GuestHandle32,
    }

    /// As [`super::VmemRange`].
    struct VmemRange = "xen_vmemrange" {
        /// First address.
        start: CompatU64,
        /// The address behind it.
        end: CompatU64,
        /// Unused.
        flags: u32,
        /// The node.
        nid: u32,
    }

    /// As [`super::VnumaTopologyInfo`]; each pointer is the low half of its field.
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
        vdistance: CompatU64,
        /// Array of `u32`: each vcpu's node.
        vcpu_to_vnode: CompatU64,
        /// Array of [`VmemRange`].
        vmemrange: CompatU64,
    }
}
