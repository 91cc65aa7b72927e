//! `nmi.h`: `nmi_op`, by which a PV guest takes non-maskable interrupts.

constants! {
    u32 {
        /// Sets this vcpu's handler. Argument: [`Callback`].
        XENNMI_register_callback = 0;
        /// Clears it. No argument.
        XENNMI_unregister_callback = 1;
    }
}

flags! {
    /// Why a non-maskable interrupt came, in `arch_shared_info`.
    struct NmiReason: u64 {
        /// The I/O channel check.
        IO_ERROR = 1 << 0, "XEN_NMIREASON_io_error";
        /// A PCI system error.
        PCI_SERR = 1 << 1, "XEN_NMIREASON_pci_serr";
        /// Not known.
        UNKNOWN = 1 << 2, "XEN_NMIREASON_unknown";
    }
}

layouts! {
    /// A handler.
    struct Callback = "xennmi_callback" {
        /// Its linear address.
        handler_address: u64,
        /// Padding, named by the header.
        padding: u64 = "pad",
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    layouts! {
        /// As [`super::Callback`].
        struct Callback = "xennmi_callback" {
            /// Its linear address.
            handler_address: u32,
            /// Padding, named by the header.
            padding: u32 = "pad",
        }
    }
}
