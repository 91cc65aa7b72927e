//! Segment registers as fields: a selector, a base, a limit and access rights for each (SDM vol. 3 §25.4.1).
//!
//! Invariant of what is written: a segment that can be used is present, and looks as if it had just been loaded: data
//! and code accessed, a task busy. The entry checks insist on it, and no program can tell.

use x86::vmx::vmcs::guest;
use xenvisor_core::vcpu::start::Segment;

use super::fields::{Fields, low_half};
use crate::vcpu::engine::SegmentRegister;

const UNUSABLE: u32 = 1 << 16;
const PRESENT: u32 = 1 << 7;
/// Code or data, not the system's.
const ORDINARY: u32 = 1 << 4;
/// In the type of code and data.
const ACCESSED: u32 = 1;
/// In the type of a task.
const BUSY: u32 = 1 << 1;
/// Access rights that exist.
const RIGHTS: u32 = 0x1_f0ff;

/// The fields of a segment register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentFields {
    /// The selector's.
    pub selector: u32,
    /// The base's.
    pub base: u32,
    /// The limit's.
    pub limit: u32,
    /// The access rights'.
    pub rights: u32,
}

/// Where a segment register is.
#[must_use]
pub const fn fields_of(register: SegmentRegister) -> SegmentFields {
    // The encodings of a group go by the register's number in steps of two.
    let step = match register {
        SegmentRegister::Es => 0,
        SegmentRegister::Cs => 2,
        SegmentRegister::Ss => 4,
        SegmentRegister::Ds => 6,
        SegmentRegister::Fs => 8,
        SegmentRegister::Gs => 10,
        SegmentRegister::Ldt => 12,
        SegmentRegister::Task => 14,
    };
    SegmentFields {
        selector: guest::ES_SELECTOR + step,
        base: guest::ES_BASE + step,
        limit: guest::ES_LIMIT + step,
        rights: guest::ES_ACCESS_RIGHTS + step,
    }
}

/// Reads a segment register.
#[must_use]
pub fn read<F: Fields + ?Sized>(fields: &F, register: SegmentRegister) -> Segment {
    let at = fields_of(register);
    Segment {
        selector: u16::try_from(fields.get(at.selector)).unwrap_or(0),
        attributes: low_half(fields.get(at.rights)),
        limit: low_half(fields.get(at.limit)),
        base: fields.get(at.base),
    }
}

/// Writes a segment register.
pub fn write<F: Fields + ?Sized>(fields: &mut F, register: SegmentRegister, segment: &Segment) {
    let at = fields_of(register);
    fields.set(at.selector, u64::from(segment.selector));
    fields.set(at.base, segment.base);
    fields.set(at.limit, u64::from(segment.limit));
    fields.set(at.rights, u64::from(rights(register, segment.attributes)));
}

const fn rights(register: SegmentRegister, attributes: u32) -> u32 {
    let rights = attributes & RIGHTS;
    if rights & UNUSABLE != 0 || rights & PRESENT == 0 {
        rights | UNUSABLE
    } else if rights & ORDINARY != 0 {
        rights | ACCESSED
    } else if matches!(register, SegmentRegister::Task) {
        rights | BUSY
    } else {
        rights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmx::testing::Structure;

    const ALL: [SegmentRegister; 8] = [
        SegmentRegister::Es,
        SegmentRegister::Cs,
        SegmentRegister::Ss,
        SegmentRegister::Ds,
        SegmentRegister::Fs,
        SegmentRegister::Gs,
        SegmentRegister::Ldt,
        SegmentRegister::Task,
    ];

    #[test]
    fn each_register_has_fields_of_its_own_and_gives_back_what_it_was_given() {
        let mut fields = Structure::default();
        let segment = |index: u16| Segment {
            selector: 8 * index,
            attributes: 0xc093,
            limit: 0xffff_f000 + u32::from(index),
            base: 0x1_0000_0000 * u64::from(index),
        };
        for (index, register) in (0..).zip(ALL) {
            write(&mut fields, register, &segment(index));
        }
        for (index, register) in (0..).zip(ALL) {
            assert_eq!(read(&fields, register), segment(index), "{register:?}");
        }
        assert_eq!(fields.len(), 8 * 4);
    }

    #[test]
    fn fields_are_where_the_list_of_encodings_has_them() {
        let task = fields_of(SegmentRegister::Task);
        assert_eq!(
            (task.selector, task.base, task.limit, task.rights),
            (
                guest::TR_SELECTOR,
                guest::TR_BASE,
                guest::TR_LIMIT,
                guest::TR_ACCESS_RIGHTS
            )
        );
        let data = fields_of(SegmentRegister::Ds);
        assert_eq!(
            (data.selector, data.base, data.limit, data.rights),
            (
                guest::DS_SELECTOR,
                guest::DS_BASE,
                guest::DS_LIMIT,
                guest::DS_ACCESS_RIGHTS
            )
        );
    }

    #[test]
    fn what_is_written_looks_as_if_it_had_just_been_loaded() {
        let cases = [
            (SegmentRegister::Cs, 0xa09a, 0xa09b),
            (SegmentRegister::Ds, 0xc092, 0xc093),
            (SegmentRegister::Task, 0x0089, 0x008b),
            (SegmentRegister::Ldt, 0x0082, 0x0082),
            // Not present is not usable.
            (SegmentRegister::Fs, 0xc013, 0x1_c013),
            (SegmentRegister::Gs, 0, 0x1_0000),
            (SegmentRegister::Es, 0x1_c093, 0x1_c093),
            // Bits that no descriptor has.
            (SegmentRegister::Ds, 0xfffe_cf93, 0xc093),
        ];
        for (register, given, expected) in cases {
            assert_eq!(rights(register, given), expected, "{register:?} {given:#x}");
        }
    }
}
