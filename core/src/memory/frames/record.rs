//! What is known of each frame, in one word that changes atomically.

use crate::number::DomainId;

/// Whose a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The hypervisor's own: tables, control structures.
    Hypervisor,
    /// A domain's.
    Domain(DomainId),
}

impl Owner {
    /// No domain has this number: `DOMID_XEN` of the public headers.
    const HYPERVISOR: u16 = 0x7ff2;

    pub(super) const fn raw(self) -> u16 {
        match self {
            Self::Hypervisor => Self::HYPERVISOR,
            Self::Domain(id) => id.raw(),
        }
    }

    pub(super) const fn from_raw(raw: u16) -> Self {
        if raw == Self::HYPERVISOR {
            Self::Hypervisor
        } else {
            Self::Domain(DomainId::new(raw))
        }
    }
}

/// What a frame's record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) order: u8,
    pub(super) owner: u16,
    pub(super) references: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not ours, or inside a free block.
    Inside,
    /// The first frame of a free block of `order`.
    Free,
    /// In use by `owner`.
    Used,
}

impl Record {
    pub(super) const INSIDE: Self = Self {
        state: State::Inside,
        order: 0,
        owner: 0,
        references: 0,
    };

    pub(super) fn pack(self) -> u64 {
        let state = match self.state {
            State::Inside => 0_u64,
            State::Free => 1,
            State::Used => 2,
        };
        u64::from(self.references) | u64::from(self.owner) << 32 | state << 48 | u64::from(self.order) << 56
    }

    pub(super) fn unpack(word: u64) -> Self {
        let [r0, r1, r2, r3, o0, o1, state, order] = word.to_le_bytes();
        let state = match state {
            1 => State::Free,
            2 => State::Used,
            _ => State::Inside,
        };
        Self {
            state,
            order,
            owner: u16::from_le_bytes([o0, o1]),
            references: u32::from_le_bytes([r0, r1, r2, r3]),
        }
    }
}
