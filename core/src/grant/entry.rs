//! A shared entry as a meaning: what its granter offers, in either version.
//!
//! Entries are in the granter's hands: it may change them at any time. They are read once, as words; what the words
//! mean is decided here, and nothing else looks at bits. Public header `grant_table.h`.

use crate::number::{DomainId, FRAME_BYTES, Gfn, GrantRef};
use xenvisor_abi::grant_table as abi;

/// The layout of a table's shared entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// 8 bytes, with the status bits in them.
    V1,
    /// 16 bytes, with the status bits in a table of their own.
    V2,
}

impl Version {
    /// The version with Xen's number.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }

    /// Xen's number.
    #[must_use]
    pub const fn raw(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// Bytes of an entry.
    #[must_use]
    pub const fn entry_bytes(self) -> u32 {
        match self {
            Self::V1 => 8,
            Self::V2 => 16,
        }
    }

    /// Entries in a frame.
    #[must_use]
    pub const fn entries(self) -> u32 {
        4096 / self.entry_bytes()
    }
}

/// The status bit that says: in use.
pub const READING: u16 = abi::EntryFlags::READING.bits();
/// The status bit that says: in use by somebody who may write.
pub const WRITING: u16 = abi::EntryFlags::WRITING.bits();

/// What an entry offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Nothing, or something that is not supported.
    Nothing,
    /// The use of a frame.
    Access(Access),
    /// What another domain granted to the granter, to be copied from or to (Xen's "transitive").
    Onward {
        /// Who may use it.
        grantee: DomainId,
        /// Whether it may only be read.
        read_only: bool,
        /// Who made that grant.
        via: DomainId,
        /// Which it is.
        reference: GrantRef,
    },
}

/// The use of a frame, or of a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Who may use it.
    pub grantee: DomainId,
    /// Which frame.
    pub frame: Gfn,
    /// Whether it may only be read.
    pub read_only: bool,
    /// Which bytes of the frame.
    pub part: Part,
    /// Whether it may only be copied from or to, and not be mapped.
    pub copy_only: bool,
}

/// Bytes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The first.
    pub offset: u16,
    /// How many. With the offset it may reach beyond the frame: the granter says what it likes.
    pub bytes: u16,
}

impl Part {
    /// All bytes of a frame.
    #[allow(clippy::cast_possible_truncation, reason = "4096 fits")]
    pub const WHOLE: Self = Self {
        offset: 0,
        bytes: FRAME_BYTES as u16,
    };

    /// Whether `bytes` bytes from `offset` on lie within it.
    #[must_use]
    pub fn holds(self, offset: u16, bytes: u16) -> bool {
        let end = |offset, bytes| u32::from(offset).saturating_add(u32::from(bytes));
        offset >= self.offset && end(offset, bytes) <= end(self.offset, self.bytes)
    }
}

/// Reads the words of an entry. Of version 1, the second is not looked at.
#[must_use]
pub fn decode(version: Version, words: [u64; 2]) -> Offer {
    let [first, second] = words;
    let [f0, f1, d0, d1, a, b, c, d] = first.to_le_bytes();
    let flags = u16::from_le_bytes([f0, f1]);
    let grantee = DomainId::new(u16::from_le_bytes([d0, d1]));
    let marks = abi::EntryFlags::from_bits_retain(flags);
    let read_only = marks.contains(abi::EntryFlags::READONLY);
    // Cache types that the entry may ask for are for device memory alone, of which there is none to grant.
    let copy_only = marks.contains(abi::EntryFlags::SUB_PAGE);
    match (version, flags & abi::GTF_type_mask) {
        (Version::V1, abi::GTF_permit_access) => Offer::Access(Access {
            grantee,
            frame: Gfn::new(u64::from(u32::from_le_bytes([a, b, c, d]))),
            read_only,
            part: Part::WHOLE,
            copy_only,
        }),
        (Version::V2, abi::GTF_permit_access) => Offer::Access(Access {
            grantee,
            frame: Gfn::new(second),
            read_only,
            part: if copy_only {
                Part {
                    offset: u16::from_le_bytes([a, b]),
                    bytes: u16::from_le_bytes([c, d]),
                }
            } else {
                Part::WHOLE
            },
            copy_only,
        }),
        (Version::V2, abi::GTF_transitive) => {
            let [r0, r1, r2, r3, ..] = second.to_le_bytes();
            Offer::Onward {
                grantee,
                read_only,
                via: DomainId::new(u16::from_le_bytes([a, b])),
                reference: GrantRef::new(u32::from_le_bytes([r0, r1, r2, r3])),
            }
        }
        _ => Offer::Nothing,
    }
}

/// Whether the words of an entry, of either version, say that it may only be read.
#[must_use]
pub fn is_read_only([first, _]: [u64; 2]) -> bool {
    let [low, high, ..] = first.to_le_bytes();
    abi::EntryFlags::from_bits_retain(u16::from_le_bytes([low, high])).contains(abi::EntryFlags::READONLY)
}

/// The status bits in the first word of a version 1 entry.
#[must_use]
pub const fn status_v1(first: u64) -> u64 {
    first & (READING | WRITING) as u64
}

/// A version 1 entry as version 2 has it: its words, and its status bits.
#[must_use]
pub fn widened(first: u64) -> ([u64; 2], u16) {
    let used = status_v1(first);
    let [status, ..] = used.to_le_bytes();
    ([(first & !used) & HEADER, first >> 32], u16::from(status))
}

/// A version 2 entry as version 1 has it, its status bits included. What is neither nothing nor the use of a frame
/// becomes nothing.
///
/// # Errors
/// When it is an offer that version 1 cannot say.
pub fn narrowed(words: [u64; 2], status: u16) -> Result<u64, NoCounterpart> {
    let [first, second] = words;
    let [f0, f1, ..] = first.to_le_bytes();
    match u16::from_le_bytes([f0, f1]) & abi::GTF_type_mask {
        abi::GTF_permit_access => {
            let frame = u32::try_from(second).map_err(|_| NoCounterpart)?;
            let used = u64::from(status & (READING | WRITING));
            Ok(first & HEADER | used | u64::from(frame) << 32)
        }
        abi::GTF_transitive => Err(NoCounterpart),
        _ => Ok(0),
    }
}

/// The flags and the grantee, in the first word of either version.
const HEADER: u64 = 0xffff_ffff;

/// Version 1 has no way to say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoCounterpart;

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{IntoBytes, transmute};

    fn v2(entry: impl IntoBytes + zerocopy::Immutable) -> Offer {
        let mut words = [0_u64; 2];
        let bytes = entry.as_bytes();
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        decode(Version::V2, words)
    }

    #[test]
    fn a_version_1_entry_offers_a_whole_frame() {
        let mut entry = abi::EntryV1 {
            flags: abi::GTF_permit_access | READING,
            domid: 7,
            frame: 0x8000_0001,
        };
        let word: u64 = transmute!(entry);
        let expected = Access {
            grantee: DomainId::new(7),
            frame: Gfn::new(0x8000_0001),
            read_only: false,
            part: Part::WHOLE,
            copy_only: false,
        };
        assert_eq!(decode(Version::V1, [word, u64::MAX]), Offer::Access(expected));
        entry.flags = abi::GTF_permit_access | 1 << 8;
        let copied = Access {
            copy_only: true,
            ..expected
        };
        let word: u64 = transmute!(entry);
        assert_eq!(decode(Version::V1, [word, 0]), Offer::Access(copied));
        for flags in [0, 2, 3] {
            entry.flags = flags;
            let word: u64 = transmute!(entry);
            assert_eq!(decode(Version::V1, [word, 0]), Offer::Nothing, "{flags:#x}");
        }
    }

    #[test]
    fn a_version_2_entry_offers_a_frame_a_part_or_what_another_granted() {
        let header = |flags| abi::EntryHeader { flags, domid: 9 };
        let full = abi::EntryV2FullPage {
            header: header(abi::GTF_permit_access | 4),
            padding: u32::MAX,
            frame: 1 << 40,
        };
        let access = Access {
            grantee: DomainId::new(9),
            frame: Gfn::new(1 << 40),
            read_only: true,
            part: Part::WHOLE,
            copy_only: false,
        };
        assert_eq!(v2(full), Offer::Access(access));
        let part = abi::EntryV2SubPage {
            header: header(abi::GTF_permit_access | 4 | 1 << 8),
            page_off: 100,
            length: 0xffff,
            frame: 1 << 40,
        };
        let offset = 100;
        let bytes = 0xffff;
        let partial = Access {
            part: Part { offset, bytes },
            copy_only: true,
            ..access
        };
        assert_eq!(v2(part), Offer::Access(partial));
        let transitive = abi::EntryV2Transitive {
            header: header(abi::GTF_transitive),
            trans_domid: 3,
            padding: 0xffff,
            gref: 77,
        };
        let expected = Offer::Onward {
            grantee: DomainId::new(9),
            read_only: false,
            via: DomainId::new(3),
            reference: GrantRef::new(77),
        };
        assert_eq!(v2(transitive), expected);
    }

    #[test]
    fn a_part_holds_what_lies_within_it() {
        let part = Part {
            offset: 100,
            bytes: 50,
        };
        assert!(part.holds(100, 50) && part.holds(149, 1) && part.holds(150, 0));
        assert!(!part.holds(99, 1) && !part.holds(100, 51) && !part.holds(0xffff, 0xffff));
        assert!(Part::WHOLE.holds(0, 4096) && !Part::WHOLE.holds(1, 4096));
    }

    #[test]
    fn an_offer_survives_a_change_of_version_and_back() {
        let one = 0x1234_5678_0005_000d;
        let (two, status) = widened(one);
        assert_eq!(two, [0x0000_0000_0005_0005, 0x1234_5678]);
        assert_eq!(status, READING);
        assert_eq!(narrowed(two, status), Ok(one));
        assert_eq!(narrowed([2, 1], READING), Ok(0), "a transfer is forgotten");
        assert_eq!(narrowed([0, 1 << 40], READING), Ok(0), "nothing is nothing");
        assert_eq!(
            narrowed([5, 1 << 32], 0),
            Err(NoCounterpart),
            "no room for the frame"
        );
        assert_eq!(narrowed([3, 1], READING), Err(NoCounterpart), "passed on");
    }
}
