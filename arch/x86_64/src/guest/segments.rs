//! Segmentation: from an offset in a segment to a linear address, with the checks on the way.
//!
//! In 64-bit code only FS and GS have bases and nothing has limits; an address must be canonical. Elsewhere
//! bases, limits and access rights hold, and addresses are 32 bits wide. The hidden parts of segment registers
//! are believed as they are, in real mode too. SDM vol. 3 §3.4, §5.3; APM vol. 2 §4.7.

use super::exception::Exception;
use super::page_walk::{Privilege, is_canonical};
use xenvisor_core::number::LinearAddr;
use xenvisor_core::vcpu::start::Segment;

/// The segment registers that memory is reached through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segments {
    /// ES.
    pub es: Segment,
    /// CS.
    pub cs: Segment,
    /// SS.
    pub ss: Segment,
    /// DS.
    pub ds: Segment,
    /// FS.
    pub fs: Segment,
    /// GS.
    pub gs: Segment,
}

/// A segment register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// ES.
    Es,
    /// CS.
    Cs,
    /// SS.
    Ss,
    /// DS.
    Ds,
    /// FS.
    Fs,
    /// GS.
    Gs,
}

/// The processor modes that change what a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Real and virtual-8086 mode: no access rights.
    Real,
    /// Protected and compatibility mode.
    Protected,
    /// 64-bit mode: flat.
    Flat,
}

const TYPE_WRITABLE_OR_READABLE: u32 = 1 << 1;
const TYPE_EXPANDS_DOWN: u32 = 1 << 2;
const TYPE_CODE: u32 = 1 << 3;
const PRESENT: u32 = 1 << 7;
const BIG: u32 = 1 << 14;
const UNUSABLE: u32 = 1 << 16;

impl Segments {
    /// The segment of this name.
    #[must_use]
    pub const fn get(&self, name: Name) -> &Segment {
        match name {
            Name::Es => &self.es,
            Name::Cs => &self.cs,
            Name::Ss => &self.ss,
            Name::Ds => &self.ds,
            Name::Fs => &self.fs,
            Name::Gs => &self.gs,
        }
    }

    /// The privilege level that data is touched with: that of SS.
    #[must_use]
    pub const fn level(&self) -> u8 {
        ((self.ss.attributes >> 5) & 3) as u8
    }

    /// On whose behalf data is touched.
    #[must_use]
    pub const fn privilege(&self, rflags: u64) -> Privilege {
        if self.level() == 3 {
            Privilege::User
        } else {
            Privilege::Supervisor {
                alignment_check: rflags & (1 << 18) != 0,
            }
        }
    }

    /// The linear address of `bytes` bytes at `offset`.
    ///
    /// # Errors
    /// #GP(0), or #SS(0) in the stack segment: outside the limit, not canonical, not readable or writable.
    pub fn linear(
        &self,
        mode: Mode,
        name: Name,
        offset: u64,
        bytes: u64,
        is_write: bool,
    ) -> Result<LinearAddr, Exception> {
        let segment = self.get(name);
        let fault = if name == Name::Ss {
            Exception::Stack(0)
        } else {
            Exception::GP
        };
        let reach = bytes.saturating_sub(1);
        if mode == Mode::Flat {
            let base = if matches!(name, Name::Fs | Name::Gs) {
                segment.base
            } else {
                0
            };
            let start = base.wrapping_add(offset);
            let end = start.wrapping_add(reach);
            let good = is_canonical(LinearAddr::new(start)) && is_canonical(LinearAddr::new(end));
            return if good {
                Ok(LinearAddr::new(start))
            } else {
                Err(fault)
            };
        }
        if (mode == Mode::Protected && !may(segment, is_write)) || !within(segment, offset, reach) {
            return Err(fault);
        }
        Ok(LinearAddr::new(segment.base.wrapping_add(offset) & 0xffff_ffff))
    }
}

/// Whether the segment's rights allow data accesses of this kind.
const fn may(segment: &Segment, is_write: bool) -> bool {
    if segment.attributes & PRESENT == 0 || segment.attributes & UNUSABLE != 0 {
        return false;
    }
    let marked = segment.attributes & TYPE_WRITABLE_OR_READABLE != 0;
    if segment.attributes & TYPE_CODE != 0 {
        marked && !is_write
    } else {
        marked || !is_write
    }
}

/// Whether `offset` and `reach` bytes beyond it lie within the limit.
fn within(segment: &Segment, offset: u64, reach: u64) -> bool {
    let Some(end) = offset.checked_add(reach) else {
        return false;
    };
    let limit = u64::from(segment.limit);
    let is_data = segment.attributes & TYPE_CODE == 0;
    if is_data && segment.attributes & TYPE_EXPANDS_DOWN != 0 {
        let top = if segment.attributes & BIG != 0 {
            0xffff_ffff
        } else {
            0xffff
        };
        offset > limit && end <= top
    } else {
        end <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat() -> Segment {
        Segment {
            selector: 0x10,
            attributes: 0xc093,
            limit: u32::MAX,
            base: 0,
        }
    }

    fn segments(ds: Segment) -> Segments {
        Segments {
            ds,
            ss: ds,
            fs: Segment {
                base: 0xffff_8000_0000_1000,
                ..ds
            },
            ..Segments::default()
        }
    }

    #[test]
    fn limits_and_rights_hold_in_protected_mode() {
        let read_only = Segment {
            attributes: 0xc091,
            ..flat()
        };
        let down = Segment {
            attributes: 0xc097,
            limit: 0xfff,
            ..flat()
        };
        let execute_only = Segment {
            attributes: 0xc099,
            ..flat()
        };
        let code = Segment {
            attributes: 0xc09b,
            ..flat()
        };
        let short = Segment {
            attributes: 0x93,
            limit: 0xff,
            base: 0x1000,
            ..flat()
        };
        let null = Segment {
            attributes: 1 << 16,
            ..flat()
        };
        #[rustfmt::skip]
        let table = [
            (flat(),       0xffff_fffc, 4, true,  Some(0xffff_fffc)),
            (flat(),       0xffff_fffd, 4, true,  None),
            (short,        0xfc,        4, true,  Some(0x10fc)),
            (short,        0xfd,        4, false, None),
            (read_only,    0,           4, false, Some(0)),
            (read_only,    0,           4, true,  None),
            (down,         0x1000,      4, true,  Some(0x1000)),
            (down,         0xfff,       1, true,  None),
            (code,         0,           4, false, Some(0)),
            (code,         0,           4, true,  None),
            (execute_only, 0,           4, false, None),
            (null,         0,           1, false, None),
        ];
        for (segment, offset, bytes, is_write, expected) in table {
            let all = segments(segment);
            let found = all.linear(Mode::Protected, Name::Ds, offset, bytes, is_write);
            assert_eq!(
                found.ok().map(LinearAddr::raw),
                expected,
                "{segment:x?} {offset:#x}"
            );
            let stack = all.linear(Mode::Protected, Name::Ss, offset, bytes, is_write);
            assert!(stack.is_ok() || stack == Err(Exception::Stack(0)));
        }
    }

    #[test]
    fn real_mode_has_limits_but_no_rights() {
        let code = Segment {
            attributes: 0x9b,
            limit: 0xffff,
            base: 0xf_fff0,
            ..flat()
        };
        let all = segments(code);
        assert_eq!(
            all.linear(Mode::Real, Name::Ds, 0x20, 2, true)
                .map(LinearAddr::raw),
            Ok(0x10_0010)
        );
        assert_eq!(
            all.linear(Mode::Real, Name::Ds, 0xffff, 2, true),
            Err(Exception::GP)
        );
    }

    #[test]
    fn flat_mode_knows_two_bases_and_canonical_addresses() {
        let all = segments(Segment {
            base: 0x5000,
            attributes: 1 << 16,
            ..flat()
        });
        let linear = |name, offset, bytes| {
            all.linear(Mode::Flat, name, offset, bytes, true)
                .map(LinearAddr::raw)
        };
        assert_eq!(linear(Name::Ds, 0x1234, 8), Ok(0x1234));
        assert_eq!(linear(Name::Fs, 0x10, 8), Ok(0xffff_8000_0000_1010));
        assert_eq!(linear(Name::Ds, 0x7fff_ffff_fff9, 8), Err(Exception::GP));
        assert_eq!(linear(Name::Ss, 1 << 63, 1), Err(Exception::Stack(0)));
        assert_eq!(
            linear(Name::Ds, 0xffff_ffff_ffff_fff8, 8),
            Ok(0xffff_ffff_ffff_fff8)
        );
    }

    #[test]
    fn the_stack_segment_says_who_acts() {
        let user = segments(Segment {
            attributes: 0xc0f3,
            ..flat()
        });
        assert_eq!((user.level(), user.privilege(0)), (3, Privilege::User));
        let kernel = segments(flat()).privilege(1 << 18);
        assert_eq!(
            kernel,
            Privilege::Supervisor {
                alignment_check: true
            }
        );
    }
}
