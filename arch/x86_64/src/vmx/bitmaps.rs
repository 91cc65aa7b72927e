//! Which ports and MSRs a guest touches without an exit: bitmaps that all guests share, a page each.
//!
//! Ports: all exit but 0x80 and 0xed, the two that programs write to in order to wait; a guest of Xen finds them
//! untrapped too. MSRs: free are those that are switched with the guest, where the value in the processor is the
//! guest's own. SDM vol. 3 §25.6.4, §25.6.9.

use crate::guest::msr::PASS_THROUGH;

/// One bitmap.
pub type Bitmap = [u8; 4096];

/// Ports that cause no exit.
const FREE_PORTS: [u16; 2] = [0x80, 0xed];
/// The first port of bitmap B.
const SECOND_HALF: u16 = 0x8000;
/// The first MSR of the upper range.
const HIGH: u32 = 0xc000_0000;
/// MSRs in a range.
const RANGE: u32 = 0x2000;
/// The bits of the MSR bitmap that writes begin at.
const WRITES: usize = 2048 * 8;

/// Writes bitmap A: ports below 0x8000.
pub fn fill_io_a(map: &mut Bitmap) {
    fill_io(map, |port| (port < SECOND_HALF).then_some(port));
}

/// Writes bitmap B: the other ports.
pub fn fill_io_b(map: &mut Bitmap) {
    fill_io(map, |port| port.checked_sub(SECOND_HALF));
}

/// Writes the MSR bitmap: reads of low and high MSRs, writes of low and high ones.
pub fn fill_msr(map: &mut Bitmap) {
    map.fill(0xff);
    for msr in PASS_THROUGH {
        if let Some(read) = msr_bit(msr) {
            clear(map, read);
            clear(map, read + WRITES);
        }
    }
}

/// The bit for reads of an MSR; `None` for one that the bitmap does not cover, which always exits.
#[must_use]
pub fn msr_bit(msr: u32) -> Option<usize> {
    let low = (msr < RANGE).then_some(msr);
    let high = msr.checked_sub(HIGH).filter(|index| *index < RANGE);
    usize::try_from(low.or(high.map(|index| index + RANGE))?).ok()
}

fn fill_io(map: &mut Bitmap, place: impl Fn(u16) -> Option<u16>) {
    map.fill(0xff);
    for port in FREE_PORTS {
        if let Some(bit) = place(port) {
            clear(map, usize::from(bit));
        }
    }
}

fn clear(map: &mut Bitmap, bit: usize) {
    if let Some(byte) = map.get_mut(bit / 8) {
        *byte &= !(1 << (bit % 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(map: &Bitmap) -> Vec<usize> {
        (0..4096 * 8)
            .filter(|bit| map[bit / 8] >> (bit % 8) & 1 == 0)
            .collect()
    }

    #[test]
    fn all_ports_exit_but_the_two_that_are_written_to_wait() {
        let mut map = [0; 4096];
        fill_io_a(&mut map);
        assert_eq!(free(&map), [0x80, 0xed]);
        fill_io_b(&mut map);
        assert_eq!(free(&map), []);
    }

    #[test]
    fn bits_of_msrs_are_where_the_manual_puts_them() {
        assert_eq!(msr_bit(0), Some(0));
        assert_eq!(msr_bit(0x1fff), Some(0x1fff));
        assert_eq!(msr_bit(0xc000_0000), Some(1024 * 8));
        assert_eq!(msr_bit(0xc000_1fff), Some(2048 * 8 - 1));
        for msr in [0x2000, 0x4000_0000, 0xbfff_ffff, 0xc000_2000, u32::MAX] {
            assert_eq!(msr_bit(msr), None, "{msr:#x}");
        }
    }

    #[test]
    fn only_msrs_that_are_switched_with_the_guest_are_free() {
        let mut map = [0; 4096];
        fill_msr(&mut map);
        let found = free(&map);
        assert_eq!(found.len(), PASS_THROUGH.len() * 2);
        for msr in PASS_THROUGH {
            let read = msr_bit(msr).unwrap();
            assert!(
                found.contains(&read) && found.contains(&(read + WRITES)),
                "{msr:#x}"
            );
        }
        for msr in [0x10, 0x1b, 0x3a, 0x48, 0x480, 0xc000_0080, 0xc000_0103] {
            assert!(!found.contains(&msr_bit(msr).unwrap()), "{msr:#x}");
        }
    }
}
