//! `argo.h`: `argo_op`, messages between domains that the hypervisor copies into the receiver's ring.

use crate::GuestHandle64;

constants! {
    u32 {
        /// Registers a ring. Arguments: [`RegisterRing`], array of frames, its length, [`RegisterFlags`].
        XEN_ARGO_OP_register_ring = 1;
        /// Takes it back. Argument: [`UnregisterRing`].
        XEN_ARGO_OP_unregister_ring = 2;
        /// Sends. Arguments: [`SendAddress`], array of [`Buffer`], its length, type of message.
        XEN_ARGO_OP_sendv = 3;
        /// Asks about rings, and for an event when there is room. Argument: [`RingData`].
        XEN_ARGO_OP_notify = 4;
        /// The most buffers of one message.
        XEN_ARGO_MAXIOV = 8;
        /// The longest ring, in bytes.
        XEN_ARGO_MAX_RING_SIZE = 0x100_0000;
        /// Messages in a ring are padded to a multiple of this many bytes.
        XEN_ARGO_MSG_SLOT_SIZE = 0x10;
    }
    u16 {
        /// Any domain may send.
        XEN_ARGO_DOMID_ANY = crate::xen::DOMID_INVALID;
    }
}

flags! {
    /// How a ring is registered.
    struct RegisterFlags: u32 {
        /// Not if there is one already.
        FAIL_EXIST = 1 << 0, "XEN_ARGO_REGISTER_FLAG_FAIL_EXIST";
    }

    /// What is known of a ring.
    struct RingFlags: u16 {
        /// There is one.
        EXISTS = 1 << 0, "XEN_ARGO_RING_EXISTS";
        /// Any domain may send to it.
        SHARED = 1 << 1, "XEN_ARGO_RING_SHARED";
        /// Nothing is in it.
        EMPTY = 1 << 2, "XEN_ARGO_RING_EMPTY";
        /// The message might fit now.
        SUFFICIENT = 1 << 3, "XEN_ARGO_RING_SUFFICIENT";
        /// The message can never fit.
        MESSAGE_TOO_LONG = 1 << 4, "XEN_ARGO_RING_EMSGSIZE";
        /// Too many wait for room already.
        BUSY = 1 << 5, "XEN_ARGO_RING_EBUSY";
    }
}

layouts! {
    /// A piece of a message.
    struct Buffer = "xen_argo_iov" {
        /// Where it is.
        start: GuestHandle64 = "iov_hnd",
        /// Bytes.
        length: u32 = "iov_len",
        /// Padding, named by the header.
        padding: u32 = "pad",
    }

    /// One end of a conversation.
    struct Address = "xen_argo_addr" {
        /// The port.
        port: u32 = "aport",
        /// The domain.
        domain_id: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
    }

    /// From where to where.
    struct SendAddress = "xen_argo_send_addr" {
        /// From.
        source: Address = "src",
        /// To.
        destination: Address = "dst",
    }

    /// The head of a ring in the receiver's memory; its bytes follow.
    struct Ring = "xen_argo_ring" {
        /// Where the receiver reads next.
        rx_ptr: u32,
        /// Where the hypervisor writes next.
        tx_ptr: u32,
        /// Kept for later.
        reserved: [u8; 56],
    }

    /// A ring to register.
    struct RegisterRing = "xen_argo_register_ring" {
        /// Its port.
        port: u32 = "aport",
        /// Who may send.
        partner_id: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
        /// Its bytes.
        length: u32 = "len",
    }

    /// A ring to take back.
    struct UnregisterRing = "xen_argo_unregister_ring" {
        /// Its port.
        port: u32 = "aport",
        /// Who might send.
        partner_id: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
    }

    /// A question about one ring, and its answer.
    struct RingDataEntry = "xen_argo_ring_data_ent" {
        /// Which.
        ring: Address,
        /// [`RingFlags`].
        flags: u16,
        /// Padding, named by the header.
        padding: u16 = "pad",
        /// Bytes one would like to send.
        space_required: u32,
        /// Bytes of the longest message it can ever take.
        max_message_size: u32,
    }

    /// The head of an array of [`RingDataEntry`].
    struct RingData = "xen_argo_ring_data" {
        /// How many.
        entries: u32 = "nent",
        /// Padding, named by the header.
        padding: u32 = "pad",
    }

    /// The head of a message in a ring; its bytes follow.
    struct MessageHeader = "xen_argo_ring_message_header" {
        /// Bytes, this head included.
        length: u32 = "len",
        /// From where.
        source: Address,
        /// What the sender says it is.
        message_type: u32,
    }
}

/// Layouts of a 32-bit caller.
pub mod compat {
    use crate::GuestHandle32;

    layouts! {
        /// As [`super::Buffer`].
        struct Buffer = "xen_argo_iov" {
            /// Where it is.
            start: GuestHandle32 = "iov_hnd",
            /// Bytes.
            length: u32 = "iov_len",
            /// Padding, named by the header.
            padding: u32 = "pad",
        }
    }
}
