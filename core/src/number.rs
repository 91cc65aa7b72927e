//! Numbers with a meaning, each its own type, so that one cannot be taken for another.
//!
//! Frames and addresses come in two worlds: *machine* (what goes in our tables) and *guest* (what a guest
//! puts in its tables). Nothing converts between the worlds except a second-stage translation.
//! Conversions to and from raw numbers are explicit: `new` and `raw`.

use core::fmt;

/// log2 of the size of a frame.
pub const FRAME_SHIFT: u32 = 12;
/// Bytes in a frame (a page).
pub const FRAME_SIZE: u64 = 1 << FRAME_SHIFT;
/// Bytes in a frame, for lengths of slices.
pub const FRAME_BYTES: usize = 4096;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes in a gibibyte.
pub const GIB: u64 = 1 << 30;

/// A raw number that is an index into a table of `count`, if it is one.
pub(crate) fn below(count: usize, raw: u32) -> Option<u8> {
    u8::try_from(raw).ok().filter(|raw| usize::from(*raw) < count)
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($raw);

        impl $name {
            /// Gives a raw number this meaning.
            #[must_use]
            pub const fn new(raw: $raw) -> Self {
                Self(raw)
            }

            /// The raw number.
            #[must_use]
            pub const fn raw(self) -> $raw {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, $format, self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, $format, self.0)
            }
        }
    };
}

number!(
    /// A machine frame number: 4 KiB of real memory. What goes in the hypervisor's own tables.
    Mfn(u64), "mfn {:#x}"
);
number!(
    /// A guest frame number: 4 KiB of what a guest believes to be physical memory.
    Gfn(u64), "gfn {:#x}"
);
number!(
    /// A machine address, in bytes.
    MachineAddr(u64), "maddr {:#x}"
);
number!(
    /// A guest-physical address, in bytes. An allegation until a second stage has translated it.
    GuestAddr(u64), "gaddr {:#x}"
);
number!(
    /// An address as the guest's own page tables see it ("linear" in the manuals). Twice an allegation.
    LinearAddr(u64), "linear {:#x}"
);
number!(
    /// A domain, as hypercalls name it (`domid_t`).
    DomainId(u16), "d{}"
);
number!(
    /// A virtual processor of a domain, counted from 0.
    VcpuId(u32), "v{}"
);
number!(
    /// A physical processor, counted from 0 in the order in which they were found.
    PcpuId(u32), "p{}"
);
number!(
    /// A domain's name for one end of an event channel (`evtchn_port_t`). Port 0 is never valid.
    Port(u32), "port {}"
);
number!(
    /// The index of an offer in a granter's table (`grant_ref_t`).
    GrantRef(u32), "gref {}"
);
number!(
    /// A grantee's receipt for a mapping (`grant_handle_t`).
    GrantHandle(u32), "handle {}"
);
number!(
    /// An interrupt vector.
    Vector(u8), "vector {:#x}"
);

macro_rules! frames_and_addresses {
    ($frame:ident, $address:ident) => {
        impl $frame {
            /// The address of the first byte of the frame; `None` where it has none in 64 bits.
            #[must_use]
            pub const fn address(self) -> Option<$address> {
                if self.0 >> (u64::BITS - FRAME_SHIFT) != 0 {
                    return None;
                }
                Some($address(self.0 << FRAME_SHIFT))
            }

            /// The frame `count` frames further on, unless there is none.
            #[must_use]
            pub const fn checked_add(self, count: u64) -> Option<Self> {
                match self.0.checked_add(count) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }
        }

        impl $address {
            /// The frame that holds the address.
            #[must_use]
            pub const fn frame(self) -> $frame {
                $frame(self.0 >> FRAME_SHIFT)
            }

            /// The offset within its frame, in bytes (0..4096).
            #[must_use]
            pub const fn offset(self) -> u64 {
                self.0 & (FRAME_SIZE - 1)
            }

            /// The address `bytes` further on, unless there is none.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }
        }
    };
}

frames_and_addresses!(Mfn, MachineAddr);
frames_and_addresses!(Gfn, GuestAddr);

/// A power of two of frames: order 0 is 4 KiB, 9 is 2 MiB, 18 is 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Order(u8);

impl Order {
    /// One frame, 4 KiB.
    pub const FRAME: Self = Self(0);
    /// 2 MiB.
    pub const LARGE: Self = Self(9);
    /// 1 GiB.
    pub const HUGE: Self = Self(18);
    /// The largest order there is: 2^36 frames, 2^48 bytes, more than any machine addresses.
    pub const MAX: Self = Self(36);

    /// An order, if it is no larger than [`Order::MAX`].
    #[must_use]
    pub const fn new(raw: u8) -> Option<Self> {
        if raw <= Self::MAX.0 { Some(Self(raw)) } else { None }
    }

    /// The exponent.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// How many frames: `1 << order`.
    #[must_use]
    pub const fn frames(self) -> u64 {
        1 << self.0
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        FRAME_SIZE << self.0
    }
}
