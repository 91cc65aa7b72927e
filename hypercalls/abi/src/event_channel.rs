//! `event_channel.h`: `event_channel_op`, and the two ways in which pending events are told to a guest.
//!
//! The *2-level* way uses bitmaps in `shared_info`; the *FIFO* way uses one 32-bit event word per port, linked
//! into one queue per priority, whose heads are in a control block per vcpu.

constants! {
    u32 {
        /// Joins a new port to a remote domain's unbound port. Argument: [`BindInterdomain`].
        EVTCHNOP_bind_interdomain = 0;
        /// Binds a new port to a virtual interrupt. Argument: [`BindVirq`].
        EVTCHNOP_bind_virq = 1;
        /// Binds a new port to a physical interrupt. Argument: [`BindPirq`].
        EVTCHNOP_bind_pirq = 2;
        /// Frees a port. Argument: [`Close`].
        EVTCHNOP_close = 3;
        /// Makes the other end of a channel pending. Argument: [`Send`].
        EVTCHNOP_send = 4;
        /// Asks what a port is bound to. Argument: [`Status`].
        EVTCHNOP_status = 5;
        /// Makes a port that a remote domain may join. Argument: [`AllocUnbound`].
        EVTCHNOP_alloc_unbound = 6;
        /// Makes a port that the domain itself sends to. Argument: [`BindIpi`].
        EVTCHNOP_bind_ipi = 7;
        /// Chooses the vcpu a port notifies. Argument: [`BindVcpu`].
        EVTCHNOP_bind_vcpu = 8;
        /// Unmasks a port, and notifies if it is pending. Argument: [`Unmask`].
        EVTCHNOP_unmask = 9;
        /// Closes all ports, and returns to the 2-level way. Argument: [`Reset`].
        EVTCHNOP_reset = 10;
        /// Gives a vcpu its FIFO control block; the first one turns the domain to the FIFO way.
        /// Argument: [`InitControl`].
        EVTCHNOP_init_control = 11;
        /// Adds a page of event words. Argument: [`ExpandArray`].
        EVTCHNOP_expand_array = 12;
        /// Chooses the queue of a port. Argument: [`SetPriority`].
        EVTCHNOP_set_priority = 13;

        /// The port is free.
        EVTCHNSTAT_closed = 0;
        /// The port waits for a remote domain.
        EVTCHNSTAT_unbound = 1;
        /// The port is joined to a remote port.
        EVTCHNSTAT_interdomain = 2;
        /// The port is bound to a physical interrupt.
        EVTCHNSTAT_pirq = 3;
        /// The port is bound to a virtual interrupt.
        EVTCHNSTAT_virq = 4;
        /// The port is for the domain's own use.
        EVTCHNSTAT_ipi = 5;

        /// Number of ports in the 2-level way, 64-bit caller.
        EVTCHN_2L_NR_CHANNELS = 4096;

        /// The most urgent FIFO queue.
        EVTCHN_FIFO_PRIORITY_MAX = 0;
        /// The queue of a port unless chosen.
        EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
        /// The least urgent FIFO queue.
        EVTCHN_FIFO_PRIORITY_MIN = 15;
        /// Number of FIFO queues per vcpu.
        EVTCHN_FIFO_MAX_QUEUES = 16;

        /// Event word, bit: an event is pending.
        EVTCHN_FIFO_PENDING = 31;
        /// Event word, bit: the port is masked.
        EVTCHN_FIFO_MASKED = 30;
        /// Event word, bit: the port is in a queue.
        EVTCHN_FIFO_LINKED = 29;
        /// Event word, bit: the hypervisor is about to unlink or unmask it.
        EVTCHN_FIFO_BUSY = 28;
        /// Event word: number of low bits that hold the next port of the queue.
        EVTCHN_FIFO_LINK_BITS = 17;
        /// Event word: those bits.
        EVTCHN_FIFO_LINK_MASK = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
        /// Number of ports in the FIFO way.
        EVTCHN_FIFO_NR_CHANNELS = 1 << EVTCHN_FIFO_LINK_BITS;
    }
}

flags! {
    /// How to bind a physical interrupt.
    struct BindPirqFlags: u32 {
        /// The interrupt may be shared with other domains.
        WILL_SHARE = 1, "BIND_PIRQ__WILL_SHARE";
    }
}

layouts! {
    /// A port to be joined.
    struct AllocUnbound = "evtchn_alloc_unbound" {
        /// In: whose port it will be.
        dom: u16,
        /// In: who may join it.
        remote_dom: u16,
        /// Out: the port.
        port: u32,
    }

    /// Two ports to join.
    struct BindInterdomain = "evtchn_bind_interdomain" {
        /// In: the remote domain.
        remote_dom: u16,
        /// Padding.
        padding: u16 = "",
        /// In: its port.
        remote_port: u32,
        /// Out: the caller's new port.
        local_port: u32,
    }

    /// A virtual interrupt to bind.
    struct BindVirq = "evtchn_bind_virq" {
        /// In: `VIRQ_*`.
        virq: u32,
        /// In: the vcpu to notify.
        vcpu: u32,
        /// Out: the port.
        port: u32,
    }

    /// A physical interrupt to bind.
    struct BindPirq = "evtchn_bind_pirq" {
        /// In: the interrupt.
        pirq: u32,
        /// In: [`BindPirqFlags`].
        flags: u32,
        /// Out: the port.
        port: u32,
    }

    /// A port for the domain's own use.
    struct BindIpi = "evtchn_bind_ipi" {
        /// In: the vcpu to notify.
        vcpu: u32,
        /// Out: the port.
        port: u32,
    }

    /// A port to free.
    struct Close = "evtchn_close" {
        /// In: the port.
        port: u32,
    }

    /// A channel to send on.
    struct Send = "evtchn_send" {
        /// In: the sender's port.
        port: u32,
    }

    /// What a port is bound to.
    struct Status = "evtchn_status" {
        /// In: whose port.
        dom: u16,
        /// Padding.
        padding: u16 = "",
        /// In: the port.
        port: u32,
        /// Out: `EVTCHNSTAT_*`.
        status: u32,
        /// Out: the vcpu it notifies.
        vcpu: u32,
        /// Out, by `status`: a [`StatusUnbound`] or [`StatusInterdomain`]; or the number of the physical or
        /// virtual interrupt in the first word.
        u: [u32; 2],
    }

    /// Whom a port waits for.
    struct StatusUnbound = "evtchn_status::u.unbound" {
        /// The remote domain; `DOMID_SELF` was resolved.
        dom: u16,
    }

    /// Whom a port is joined to.
    struct StatusInterdomain = "evtchn_status::u.interdomain" {
        /// The remote domain.
        dom: u16,
        /// Padding.
        padding: u16 = "",
        /// Its port.
        port: u32,
    }

    /// Whom a port notifies.
    struct BindVcpu = "evtchn_bind_vcpu" {
        /// In: the port.
        port: u32,
        /// In: the vcpu.
        vcpu: u32,
    }

    /// A port to unmask.
    struct Unmask = "evtchn_unmask" {
        /// In: the port.
        port: u32,
    }

    /// A domain whose ports are all closed.
    struct Reset = "evtchn_reset" {
        /// In: the domain.
        dom: u16,
    }

    /// The place of a vcpu's FIFO control block.
    struct InitControl = "evtchn_init_control" {
        /// In: the guest frame.
        control_gfn: u64,
        /// In: offset in it, in bytes; a multiple of 8.
        offset: u32,
        /// In: whose.
        vcpu: u32,
        /// Out: [`EVTCHN_FIFO_LINK_BITS`].
        link_bits: u8,
        /// Padding, named by the header.
        padding: [u8; 7] = "_pad",
    }

    /// One more page of event words.
    struct ExpandArray = "evtchn_expand_array" {
        /// In: the guest frame.
        array_gfn: u64,
    }

    /// The queue of a port.
    struct SetPriority = "evtchn_set_priority" {
        /// In: the port.
        port: u32,
        /// In: 0 (most urgent) to 15.
        priority: u32,
    }

    /// A vcpu's FIFO queues, shared with the guest.
    struct FifoControlBlock = "evtchn_fifo_control_block" {
        /// Bit `p`: queue `p` is not empty. Set by the hypervisor, cleared by the guest.
        ready: u32,
        /// Unused.
        reserved: u32 = "_rsvd",
        /// First port of each queue; 0 for none.
        head: [u32; 16],
    }
}

/// Numbers of a 32-bit caller; its layouts are the same.
pub mod compat {
    constants! {
        u32 {
            /// Number of ports in the 2-level way, 32-bit caller.
            EVTCHN_2L_NR_CHANNELS = 1024;
        }
    }
}
