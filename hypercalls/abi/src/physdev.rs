//! `physdev.h`: `physdev_op`, by which a domain that owns devices reaches their interrupts and buses.

use crate::GuestHandle64;

constants! {
    u32 {
        /// Only in the first form of the hypercall: unmask notification.
        PHYSDEVOP_IRQ_UNMASK_NOTIFY = 4;
        /// Asks how an interrupt wants to be treated. Argument: [`IrqStatusQuery`].
        PHYSDEVOP_irq_status_query = 5;
        /// PV: the I/O privilege level. Argument: [`SetIopl`].
        PHYSDEVOP_set_iopl = 6;
        /// PV: the I/O permission bitmap. Argument: [`SetIobitmap`].
        PHYSDEVOP_set_iobitmap = 7;
        /// PV: reads an IO-APIC register. Argument: [`Apic`].
        PHYSDEVOP_apic_read = 8;
        /// PV: writes it. Argument: [`Apic`].
        PHYSDEVOP_apic_write = 9;
        /// PV: asks for a vector. Argument: [`Irq`].
        PHYSDEVOP_alloc_irq_vector = 10;
        /// PV: gives it back. Argument: [`Irq`].
        PHYSDEVOP_free_irq_vector = 11;
        /// An interrupt was served. Argument: [`Eoi`].
        PHYSDEVOP_eoi = 12;
        /// Gets a number for an interrupt. Argument: [`MapPirq`].
        PHYSDEVOP_map_pirq = 13;
        /// Gives it back. Argument: [`UnmapPirq`].
        PHYSDEVOP_unmap_pirq = 14;
        /// A device appeared. Argument: [`ManagePci`].
        PHYSDEVOP_manage_pci_add = 15;
        /// A device went away. Argument: [`ManagePci`].
        PHYSDEVOP_manage_pci_remove = 16;
        /// PV: a page with a bit for each interrupt that wants `eoi`. Argument: [`PirqEoiGmfn`].
        PHYSDEVOP_pirq_eoi_gmfn_v1 = 17;
        /// Restores a device's MSI state. Argument: [`RestoreMsi`].
        PHYSDEVOP_restore_msi = 19;
        /// A device appeared. Argument: [`ManagePciExt`].
        PHYSDEVOP_manage_pci_add_ext = 20;
        /// Sets an interrupt's trigger and polarity. Argument: [`SetupGsi`].
        PHYSDEVOP_setup_gsi = 21;
        /// Gets a number of no interrupt yet. Argument: [`GetFreePirq`].
        PHYSDEVOP_get_free_pirq = 23;
        /// Names a PCI configuration window. Argument: [`PciMmcfgReserved`].
        PHYSDEVOP_pci_mmcfg_reserved = 24;
        /// A device appeared. Argument: [`PciDeviceAdd`].
        PHYSDEVOP_pci_device_add = 25;
        /// A device went away. Argument: [`PciDevice`].
        PHYSDEVOP_pci_device_remove = 26;
        /// Restores a device's MSI state. Argument: [`PciDevice`].
        PHYSDEVOP_restore_msi_ext = 27;
        /// As [`PHYSDEVOP_pirq_eoi_gmfn_v1`], but does not change how unmasking works.
        PHYSDEVOP_pirq_eoi_gmfn_v2 = 28;
        /// Passes a debug port's reset. Argument: [`DbgpOp`].
        PHYSDEVOP_dbgp_op = 29;
        /// Readies a device for MSI-X by another domain. Argument: [`PciDevice`].
        PHYSDEVOP_prepare_msix = 30;
        /// Ends that. Argument: [`PciDevice`].
        PHYSDEVOP_release_msix = 31;

        /// A number the device model gave an MSI.
        MAP_PIRQ_TYPE_MSI = 0;
        /// A global system interrupt.
        MAP_PIRQ_TYPE_GSI = 1;
        /// Not known.
        MAP_PIRQ_TYPE_UNKNOWN = 2;
        /// An MSI of a device on a bus and segment.
        MAP_PIRQ_TYPE_MSI_SEG = 3;
        /// Several MSIs of a device.
        MAP_PIRQ_TYPE_MULTI_MSI = 4;
    }
    u8 {
        /// The debug port's controller will be reset.
        PHYSDEVOP_DBGP_RESET_PREPARE = 1;
        /// It was.
        PHYSDEVOP_DBGP_RESET_DONE = 2;
        /// The controller's bus is not known.
        PHYSDEVOP_DBGP_BUS_UNKNOWN = 0;
        /// It is a PCI device.
        PHYSDEVOP_DBGP_BUS_PCI = 1;
    }
}

flags! {
    /// How an interrupt wants to be treated.
    struct IrqStatus: u32 {
        /// The guest must say when it was served.
        NEEDS_EOI = 1 << 0, "XENIRQSTAT_needs_eoi";
        /// Other domains have it too.
        SHARED = 1 << 1, "XENIRQSTAT_shared";
    }

    /// Of a configuration window.
    struct PciMmcfgFlags: u32 {
        /// The firmware reserved its addresses.
        RESERVED = 1, "XEN_PCI_MMCFG_RESERVED";
    }

    /// What a device is.
    struct PciDeviceFlags: u32 {
        /// An extended function.
        EXTFN = 1, "XEN_PCI_DEV_EXTFN";
        /// A virtual function; `physfn` names the physical one.
        VIRTFN = 2, "XEN_PCI_DEV_VIRTFN";
        /// Its proximity domain follows.
        PXM = 4, "XEN_PCI_DEV_PXM";
    }
}

layouts! {
    /// An interrupt that was served.
    struct Eoi = "physdev_eoi" {
        /// The interrupt.
        irq: u32,
    }

    /// A page to share.
    struct PirqEoiGmfn = "physdev_pirq_eoi_gmfn" {
        /// Its frame.
        gmfn: u64,
    }

    /// How an interrupt wants to be treated.
    struct IrqStatusQuery = "physdev_irq_status_query" {
        /// In: the interrupt.
        irq: u32,
        /// Out: [`IrqStatus`].
        flags: u32,
    }

    /// The I/O privilege level.
    struct SetIopl = "physdev_set_iopl" {
        /// 0 to 3.
        iopl: u32,
    }

    /// The I/O permission bitmap.
    struct SetIobitmap = "physdev_set_iobitmap" {
        /// Its bytes.
        bitmap: GuestHandle64,
        /// Number of ports.
        nr_ports: u32,
        /// Padding.
        padding: u32 = "",
    }

    /// A register of an IO-APIC.
    struct Apic = "physdev_apic" {
        /// Physical address of the IO-APIC.
        apic_physbase: u64,
        /// The register.
        reg: u32,
        /// What is read or written.
        value: u32,
    }

    /// A vector.
    struct Irq = "physdev_irq" {
        /// In: the interrupt.
        irq: u32,
        /// Out: its vector.
        vector: u32,
    }

    /// An interrupt that needs a number.
    struct MapPirq = "physdev_map_pirq" {
        /// In: for whom.
        domid: u16,
        /// Padding.
        padding0: u16 = "",
        /// In: `MAP_PIRQ_TYPE_*`.
        kind: i32 = "type",
        /// In: the interrupt.
        index: i32,
        /// In: the number wanted, negative for any; out: the number.
        pirq: i32,
        /// In, MSI: the bus, and the segment above.
        bus: i32,
        /// In, MSI: device and function.
        devfn: i32,
        /// In, MSI: which entry, or how many.
        entry_nr: i32,
        /// Padding.
        padding1: u32 = "",
        /// In, MSI-X: address of the table; 0 for MSI.
        table_base: u64,
    }

    /// A number given back.
    struct UnmapPirq = "physdev_unmap_pirq" {
        /// Whose.
        domid: u16,
        /// Padding.
        padding: u16 = "",
        /// The number.
        pirq: i32,
    }

    /// A device on segment 0.
    struct ManagePci = "physdev_manage_pci" {
        /// The bus.
        bus: u8,
        /// Device and function.
        devfn: u8,
    }

    /// A device whose MSI state is to be restored, on segment 0.
    struct RestoreMsi = "physdev_restore_msi" {
        /// The bus.
        bus: u8,
        /// Device and function.
        devfn: u8,
    }

    /// A device on segment 0, with what it is.
    struct ManagePciExt = "physdev_manage_pci_ext" {
        /// The bus.
        bus: u8,
        /// Device and function.
        devfn: u8,
        /// Padding.
        padding0: u16 = "",
        /// Not 0: an extended function.
        is_extfn: u32,
        /// Not 0: a virtual function.
        is_virtfn: u32,
        /// The physical function: bus, then device and function.
        physfn: [u8; 2],
        /// Padding.
        padding1: u16 = "",
    }

    /// The trigger of an interrupt.
    struct SetupGsi = "physdev_setup_gsi" {
        /// The interrupt.
        gsi: i32,
        /// 0 edge, 1 level.
        triggering: u8,
        /// 0 active high, 1 active low.
        polarity: u8,
        /// Padding.
        padding: u16 = "",
    }

    /// A number of no interrupt yet.
    struct GetFreePirq = "physdev_get_free_pirq" {
        /// In: `MAP_PIRQ_TYPE_*`.
        kind: i32 = "type",
        /// Out: the number.
        pirq: u32,
    }

    /// A PCI configuration window.
    struct PciMmcfgReserved = "physdev_pci_mmcfg_reserved" {
        /// Its physical address.
        address: u64,
        /// The segment.
        segment: u16,
        /// The first bus.
        start_bus: u8,
        /// The last bus.
        end_bus: u8,
        /// [`PciMmcfgFlags`].
        flags: u32,
    }

    /// A device that appeared; a `u32` with its proximity domain may follow.
    struct PciDeviceAdd = "physdev_pci_device_add" {
        /// The segment.
        seg: u16,
        /// The bus.
        bus: u8,
        /// Device and function.
        devfn: u8,
        /// [`PciDeviceFlags`].
        flags: u32,
        /// The physical function: bus, then device and function.
        physfn: [u8; 2],
        /// Padding.
        padding: u16 = "",
    }

    /// A device.
    struct PciDevice = "physdev_pci_device" {
        /// The segment.
        seg: u16,
        /// The bus.
        bus: u8,
        /// Device and function.
        devfn: u8,
    }

    /// A debug port's reset.
    struct DbgpOp = "physdev_dbgp_op" {
        /// `PHYSDEVOP_DBGP_RESET_*`.
        op: u8,
        /// `PHYSDEVOP_DBGP_BUS_*`.
        bus: u8,
        /// The controller.
        device: PciDevice = "u.pci",
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    use crate::{CompatU64, GuestHandle32};

    layouts! {
        /// As [`super::PirqEoiGmfn`].
        struct PirqEoiGmfn = "physdev_pirq_eoi_gmfn" {
            /// Its frame.
            gmfn: u32,
        }

        /// As [`super::SetIobitmap`].
        struct SetIobitmap = "physdev_set_iobitmap" {
            /// Its bytes.
            bitmap: GuestHandle32,
            /// Number of ports.
            nr_ports: u32,
        }

        /// As [`super::Apic`].
        struct Apic = "physdev_apic" {
            /// Physical address of the IO-APIC.
            apic_physbase: u32,
            /// The register.
            reg: u32,
            /// What is read or written.
            value: u32,
        }

        /// As [`super::MapPirq`].
        struct MapPirq = "physdev_map_pirq" {
            /// In: for whom.
            domid: u16,
            /// Padding.
            padding: u16 = "",
            /// In: `MAP_PIRQ_TYPE_*`.
            kind: i32 = "type",
            /// In: the interrupt.
            index: i32,
            /// In: the number wanted, negative for any; out: the number.
            pirq: i32,
            /// In, MSI: the bus, and the segment above.
            bus: i32,
            /// In, MSI: device and function.
            devfn: i32,
            /// In, MSI: which entry, or how many.
            entry_nr: i32,
            /// In, MSI-X: address of the table; 0 for MSI.
            table_base: CompatU64,
        }

        /// As [`super::PciMmcfgReserved`]: the same bytes, aligned less.
        struct PciMmcfgReserved = "physdev_pci_mmcfg_reserved" {
            /// Its physical address.
            address: CompatU64,
            /// The segment.
            segment: u16,
            /// The first bus.
            start_bus: u8,
            /// The last bus.
            end_bus: u8,
            /// [`super::PciMmcfgFlags`].
            flags: u32,
        }
    }
}
