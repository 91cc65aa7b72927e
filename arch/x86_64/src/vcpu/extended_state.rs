//! What a guest leaves in the processor that no control block carries: x87, SSE and AVX registers, XCR0, breakpoint
//! addresses, TSC_AUX. It stays there from exit to entry, since the host touches none of it, and moves to memory only
//! when another vcpu needs the processor.
//!
//! Here is its form in memory; the instructions that move it are the engine's. Format: SDM vol. 1 §10.5.1, §13.4.

use alloc::vec::Vec;

use xenvisor_core::memory::room::{self, OutOfMemory};

/// AVX, as a component of XCR0.
const AVX: u64 = 1 << 2;

/// The components of XCR0 that are switched: x87, SSE, AVX, the three of AVX-512. Together they end at byte 2688, or
/// before (CPUID leaf 0xd). Protection keys are left out: a walk of the guest's tables in software would need PKRU.
pub const COMPONENTS: u64 = 0b1110_0111;

/// XCR0 after power-on: x87 alone, which cannot be switched off.
pub const INITIAL_XCR0: u64 = 1;

/// What the debugger registers look like after power-on.
pub const INITIAL_DR6: u64 = 0xffff_0ff0;
/// And the one that enables them.
pub const INITIAL_DR7: u64 = 0x400;

/// A register that AMD's control block carries and Intel's does not: there it stays in the processor, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// CR2.
    Cr2,
    /// DR6.
    Dr6,
    /// STAR.
    Star,
    /// LSTAR.
    LongStar,
    /// CSTAR.
    CompatStar,
    /// SFMASK.
    SyscallMask,
    /// KERNEL_GS_BASE.
    KernelGsBase,
}

impl Kept {
    /// All of them, in the order of their places in a [`KeptRegisters`].
    pub const ALL: [Self; 7] = [
        Self::Cr2,
        Self::Dr6,
        Self::Star,
        Self::LongStar,
        Self::CompatStar,
        Self::SyscallMask,
        Self::KernelGsBase,
    ];
}

/// A value for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptRegisters([u64; Kept::ALL.len()]);

impl KeptRegisters {
    /// As after power-on.
    pub const INITIAL: Self = Self([0, INITIAL_DR6, 0, 0, 0, 0, 0]);

    /// One of them.
    #[must_use]
    pub fn get(&self, register: Kept) -> u64 {
        Kept::ALL
            .into_iter()
            .zip(self.0)
            .find_map(|(other, value)| (other == register).then_some(value))
            .unwrap_or(0)
    }

    /// Changes one of them.
    pub fn set(&mut self, register: Kept, value: u64) {
        for (other, place) in Kept::ALL.into_iter().zip(&mut self.0) {
            if other == register {
                *place = value;
            }
        }
    }
}

/// The area that holds the extended registers: as large as the components need in their standard places, and aligned as
/// the instructions want it.
pub struct Area(Vec<Line>);

/// A piece of it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; Line::BYTES]);

impl Line {
    const BYTES: usize = 64;
    const ZERO: Self = Self([0; Self::BYTES]);
}

impl Area {
    /// An area for these components of XCR0, or without XSAVE, with the state after power-on.
    ///
    /// # Errors
    /// When the heap has no room.
    pub fn new(components: u64) -> Result<Self, OutOfMemory> {
        let lines = bytes(components).div_ceil(Line::BYTES);
        let mut area = Self(room::filled(lines, || Line::ZERO)?);
        area.reset();
        Ok(area)
    }

    /// Writes the state after power-on: x87 control word 0x37f (as after FNINIT, which is what a boot loader would
    /// leave), MXCSR 0x1f80, all else zero. A zero header tells XRSTOR to take the initial values.
    pub fn reset(&mut self) {
        self.0.fill(Line::ZERO);
        if let Some(Line(first)) = self.0.first_mut() {
            let [x87_low, x87_high, ..] = first;
            [*x87_low, *x87_high] = 0x37f_u16.to_le_bytes();
            if let Some(mxcsr) = first.get_mut(24..28) {
                mxcsr.copy_from_slice(&0x1f80_u32.to_le_bytes());
            }
        }
    }

    /// Where it begins. It is as long as the components it was made for need.
    #[must_use]
    pub const fn pointer(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    /// As [`Area::pointer`], to be written to.
    pub const fn pointer_mut(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    /// Bytes it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.0.len().saturating_mul(Line::BYTES)
    }
}

/// Where the last of the components ends in the standard format. AVX is at byte 576 on every processor; AVX-512 ends
/// behind the place of MPX on Intel's, and before that on AMD's.
const fn bytes(components: u64) -> usize {
    if components & !(AVX | 0b11) != 0 {
        2688
    } else if components & AVX != 0 {
        832
    } else if components != 0 {
        576
    } else {
        512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_state_is_what_fninit_and_reset_leave() {
        let mut area = Area::new(COMPONENTS).unwrap();
        area.0.fill(Line([0xaa; Line::BYTES]));
        area.reset();
        let bytes: Vec<u8> = area.0.iter().flat_map(|line| line.0).collect();
        assert_eq!(&bytes[..2], &[0x7f, 0x03]);
        assert_eq!(&bytes[24..28], &[0x80, 0x1f, 0, 0]);
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 4);
    }

    #[test]
    fn an_area_has_room_for_its_components_and_no_more() {
        for (components, bytes) in [(0, 512), (0b11, 576), (0b111, 832), (COMPONENTS, 2688)] {
            let area = Area::new(components).unwrap();
            assert_eq!(area.bytes(), bytes, "{components:#b}");
            assert!(area.pointer().addr().is_multiple_of(64));
        }
    }
}
