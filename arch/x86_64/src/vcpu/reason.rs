//! Why a guest stopped, as a meaning: what each backend makes of its processor's exit codes.

/// An exit, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// An interrupt of the machine waits: it is the host's.
    Interrupt,
    /// A non-maskable interrupt of the machine waits.
    Nmi,
    /// An INIT of the machine waits.
    Init,
    /// The guest can take an interrupt now.
    InterruptWindow,
    /// An intercepted exception of the guest.
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code, if it has one.
        code: u32,
    },
    /// CPUID.
    Cpuid,
    /// HLT.
    Halt,
    /// VMMCALL or VMCALL, whichever is the processor's.
    Hypercall,
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
    /// IN, OUT, INS, OUTS.
    Port(PortAccess),
    /// A MOV to CR0 that the processor does not do by itself.
    WriteCr0 {
        /// The general register it comes from.
        from: u8,
    },
    /// A write of CR4.
    WriteCr4 {
        /// The general register it comes from, if the processor says so.
        from: Option<u8>,
    },
    /// XSETBV.
    SetXcr,
    /// INVD or WBINVD.
    CacheFlush,
    /// IRET.
    Iret,
    /// RDPMC: #GP.
    ReadCounter,
    /// An instruction that the guest's CPUID does not offer: #UD.
    NotOffered,
    /// An x87 error that a board's interrupt controller would have been told of.
    X87Freeze,
    /// The nested tables refused an access.
    NestedFault(NestedFault),
    /// The nested tables have an entry at this guest-physical address that means nothing: they are broken.
    Misconfigured {
        /// The guest-physical address.
        at: u64,
    },
    /// A task switch by hardware, which this processor does not do for guests.
    TaskSwitch,
    /// A triple fault.
    Shutdown,
    /// The processor refused to run the control block.
    Invalid,
    /// Anything else.
    Other,
}

/// A port instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortAccess {
    /// The port.
    pub port: u16,
    /// 1, 2 or 4 bytes.
    pub bytes: u8,
    /// IN or INS.
    pub is_read: bool,
    /// INS or OUTS.
    pub is_string: bool,
    /// With a repeat prefix.
    pub is_repeated: bool,
    /// Where the guest goes on behind the instruction.
    pub next_rip: u64,
}

/// What the nested tables refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NestedFault {
    /// The guest-physical address.
    pub at: u64,
    /// It was a write.
    pub is_write: bool,
    /// It was an instruction fetch.
    pub is_fetch: bool,
    /// There was an entry; its rights forbade the access.
    pub was_present: bool,
    /// The guest's own page tables were read, not what they lead to.
    pub in_page_walk: bool,
    /// An entry had a reserved bit set: the tables are broken.
    pub was_reserved: bool,
}
