//! What a guest leaves in the processor that no control block carries: x87, SSE and AVX registers, XCR0, breakpoint
//! addresses, TSC_AUX. It stays there from exit to entry, since the host touches none of it, and moves to memory only
//! when another vcpu needs the processor.
//!
//! Here is its form in memory; the instructions that move it are the engine's. Format: SDM vol. 1 §10.5.1, §13.4.

/// Bytes of the area that holds the extended registers: all components of [`COMPONENTS`] in their standard places.
pub const AREA_BYTES: usize = 4096;

/// The components of XCR0 that fit the area and are switched: x87, SSE, AVX, the three of AVX-512. Together they end at
/// byte 2688 (CPUID leaf 0xd). Protection keys are left out: a walk of the guest's tables in software would need PKRU.
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

/// Writes the state after power-on into an area: x87 control word 0x37f (as after FNINIT, which is what a boot loader
/// would leave), MXCSR 0x1f80, all else zero. A zero header tells XRSTOR to take the initial values.
pub fn reset(area: &mut [u8; AREA_BYTES]) {
    area.fill(0);
    let [x87_low, x87_high, ..] = area;
    [*x87_low, *x87_high] = 0x37f_u16.to_le_bytes();
    if let Some(mxcsr) = area.get_mut(24..28) {
        mxcsr.copy_from_slice(&0x1f80_u32.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_state_is_what_fninit_and_reset_leave() {
        let mut area = [0xaa; AREA_BYTES];
        reset(&mut area);
        assert_eq!(&area[..2], &[0x7f, 0x03]);
        assert_eq!(&area[24..28], &[0x80, 0x1f, 0, 0]);
        assert_eq!(area.iter().filter(|byte| **byte != 0).count(), 4);
    }
}
