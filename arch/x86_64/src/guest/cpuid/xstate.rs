//! Extended processor state: which components a guest may enable, and how much room they take.
//!
//! SDM vol. 1 §13, leaf 0xd. The sizes follow from the host's offsets, so no CPUID is executed at an exit.

use super::Leaf;
use crate::guest::exception::Exception;

/// How many components are known by number here: all that XCR0 has today.
const COMPONENTS: usize = 20;
/// The legacy area and the header.
const LEGACY_BYTES: u32 = 576;

const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
const BOUNDS: u64 = 3 << 3;
const AVX512: u64 = 7 << 5;
const TILES: u64 = 3 << 17;

/// The components on offer, and where each lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtendedState {
    offered: u64,
    /// Leaf 0xd subleaf `n` of the host: size, offset, alignment.
    components: [Leaf; COMPONENTS],
    /// Leaf 0xd subleaf 1, EAX: XSAVEOPT and its like.
    instructions: u32,
}

impl ExtendedState {
    /// What of `wanted` the host has and forms a whole that makes sense.
    pub(super) fn new(host: &dyn Fn(u32, u32) -> Leaf, wanted: u64) -> Self {
        let supported = host(0xd, 0);
        let supported = u64::from(supported.eax) | u64::from(supported.edx) << 32;
        let mut offered = wanted & supported & low_components();
        // A group of which a part is missing is not offered at all.
        for group in [BOUNDS, AVX512, TILES] {
            if offered & group != group {
                offered &= !group;
            }
        }
        if offered & AVX == 0 {
            offered &= !AVX512;
        }
        if offered & (X87 | SSE) != X87 | SSE {
            offered = 0;
        }
        let mut components = [Leaf::NOTHING; COMPONENTS];
        for (number, slot) in (0_u32..).zip(&mut components).skip(2) {
            if offered >> number & 1 != 0 {
                let leaf = host(0xd, number);
                *slot = Leaf {
                    ecx: leaf.ecx & 2,
                    edx: 0,
                    ..leaf
                };
            }
        }
        Self {
            offered,
            components,
            instructions: 0,
        }
    }

    /// The same with these instructions (leaf 0xd subleaf 1, EAX).
    pub(super) const fn with_instructions(self, instructions: u32) -> Self {
        Self { instructions, ..self }
    }

    /// The XSAVE instructions on offer, as leaf 0xd subleaf 1 shows them in EAX.
    pub(super) const fn instructions(&self) -> u32 {
        self.instructions
    }

    /// The components the guest may enable.
    #[must_use]
    pub const fn offered(&self) -> u64 {
        self.offered
    }

    /// Leaf 0xd for a vcpu with this XCR0.
    pub(super) fn answer(&self, subleaf: u32, xcr0: u64) -> Leaf {
        match subleaf {
            0 => Leaf {
                eax: low(self.offered),
                ebx: self.standard_size(xcr0),
                ecx: self.standard_size(self.offered),
                edx: low(self.offered >> 32),
            },
            // XSS is always empty: no supervisor components.
            1 => Leaf {
                eax: self.instructions,
                ebx: if self.instructions & (1 << 1) != 0 {
                    self.compact_size(xcr0)
                } else {
                    0
                },
                ..Leaf::NOTHING
            },
            _ => self.component(subleaf).unwrap_or(Leaf::NOTHING),
        }
    }

    /// Bytes of XSAVE's standard format with these components.
    #[must_use]
    pub fn standard_size(&self, enabled: u64) -> u32 {
        self.each(enabled)
            .map(|leaf| leaf.ebx.saturating_add(leaf.eax))
            .fold(LEGACY_BYTES, u32::max)
    }

    /// Bytes of XSAVEC's compact format with these components.
    #[must_use]
    pub fn compact_size(&self, enabled: u64) -> u32 {
        self.each(enabled).fold(LEGACY_BYTES, |end, leaf| {
            let start = if leaf.ecx & 2 != 0 {
                end.checked_next_multiple_of(64).unwrap_or(end)
            } else {
                end
            };
            start.saturating_add(leaf.eax)
        })
    }

    fn component(&self, number: u32) -> Option<Leaf> {
        self.components.get(usize::try_from(number).ok()?).copied()
    }

    fn each(&self, enabled: u64) -> impl Iterator<Item = Leaf> + '_ {
        let enabled = enabled & self.offered;
        (2..u64::BITS)
            .filter(move |number| enabled >> number & 1 != 0)
            .filter_map(|number| self.component(number))
    }
}

/// What XSETBV does with this register number and value where `offered` are the components on offer.
/// The instruction's own conditions (privilege, CR4.OSXSAVE) are the processor's to check.
///
/// # Errors
/// #GP for a register that is not XCR0, and for components that do not exist or do not go without others.
pub const fn set_xcr(number: u32, value: u64, offered: u64) -> Result<u64, Exception> {
    let valid = number == 0
        && value & X87 != 0
        && value & !offered == 0
        && (value & AVX == 0 || value & SSE != 0)
        && (value & AVX512 == 0 || value & AVX != 0);
    // Groups go whole or not at all.
    let whole = (value & BOUNDS == 0 || value & BOUNDS == BOUNDS)
        && (value & AVX512 == 0 || value & AVX512 == AVX512)
        && (value & TILES == 0 || value & TILES == TILES);
    if valid && whole {
        Ok(value)
    } else {
        Err(Exception::GP)
    }
}

fn low_components() -> u64 {
    (1 << COMPONENTS) - 1
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}
