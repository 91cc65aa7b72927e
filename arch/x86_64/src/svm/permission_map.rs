//! Which ports and MSRs a guest touches without an exit: two bit maps that all guests share.
//!
//! Ports: all are intercepted but 0x80 and 0xed, the two that programs write to in order to wait; a guest of Xen finds
//! them untrapped too. MSRs: free are those that the control block carries for the guest, where the value in the
//! processor is the guest's own. APM vol. 2 §15.10.1, §15.11.

use crate::guest::msr::PASS_THROUGH;

/// Bytes of the port map: one bit a port, and a page so that a wide access at the last port stays inside.
pub const PORT_MAP_BYTES: usize = 3 * 4096;
/// Bytes of the MSR map: four vectors of 2 KiB, two bits an MSR.
pub const MSR_MAP_BYTES: usize = 2 * 4096;

/// Ports that cause no exit.
const FREE_PORTS: [u16; 2] = [0x80, 0xed];

/// One access to an MSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsrAccess {
    /// RDMSR.
    Read,
    /// WRMSR.
    Write,
}

/// The bit of the MSR map for an access; `None` for an MSR that the map does not cover, which always exits.
#[must_use]
pub fn msr_bit(msr: u32, access: MsrAccess) -> Option<usize> {
    let (vector, first) = match msr {
        0..=0x1fff => (0, 0),
        0xc000_0000..=0xc000_1fff => (1, 0xc000_0000),
        0xc001_0000..=0xc001_1fff => (2, 0xc001_0000),
        _ => return None,
    };
    let index = usize::try_from(msr.wrapping_sub(first)).ok()?;
    let write = usize::from(access == MsrAccess::Write);
    Some(vector * 0x800 * 8 + index * 2 + write)
}

/// Writes the port map into `map`, which is [`PORT_MAP_BYTES`] long.
pub fn fill_port_map(map: &mut [u8]) {
    map.fill(0xff);
    for port in FREE_PORTS {
        clear(map, usize::from(port));
    }
}

/// Writes the MSR map into `map`, which is [`MSR_MAP_BYTES`] long.
pub fn fill_msr_map(map: &mut [u8]) {
    map.fill(0xff);
    for msr in PASS_THROUGH {
        for access in [MsrAccess::Read, MsrAccess::Write] {
            if let Some(bit) = msr_bit(msr, access) {
                clear(map, bit);
            }
        }
    }
}

fn clear(map: &mut [u8], bit: usize) {
    if let Some(byte) = map.get_mut(bit / 8) {
        *byte &= !(1 << (bit % 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exits(map: &[u8], bit: usize) -> bool {
        map[bit / 8] >> (bit % 8) & 1 != 0
    }

    #[test]
    fn all_ports_exit_but_the_two_that_are_written_to_wait() {
        let mut map = vec![0; PORT_MAP_BYTES];
        fill_port_map(&mut map);
        let free: Vec<usize> = (0..PORT_MAP_BYTES * 8).filter(|bit| !exits(&map, *bit)).collect();
        assert_eq!(free, [0x80, 0xed]);
    }

    #[test]
    fn bits_of_msrs_are_where_the_manual_puts_them() {
        assert_eq!(msr_bit(0, MsrAccess::Read), Some(0));
        assert_eq!(msr_bit(0x10, MsrAccess::Write), Some(0x21));
        assert_eq!(msr_bit(0xc000_0080, MsrAccess::Read), Some(0x800 * 8 + 0x100));
        assert_eq!(msr_bit(0xc001_1fff, MsrAccess::Write), Some(0x1800 * 8 - 1));
        for msr in [
            0x2000,
            0x4000_0000,
            0xbfff_ffff,
            0xc000_2000,
            0xc001_2000,
            u32::MAX,
        ] {
            assert_eq!(msr_bit(msr, MsrAccess::Read), None, "{msr:#x}");
        }
    }

    #[test]
    fn only_what_the_control_block_carries_is_free() {
        let mut map = vec![0; MSR_MAP_BYTES];
        fill_msr_map(&mut map);
        let free = (0..MSR_MAP_BYTES * 8).filter(|bit| !exits(&map, *bit)).count();
        assert_eq!(free, PASS_THROUGH.len() * 2);
        for msr in [0x10, 0x1b, 0x48, 0xc000_0080, 0xc000_0103, 0xc001_0117] {
            for access in [MsrAccess::Read, MsrAccess::Write] {
                assert!(exits(&map, msr_bit(msr, access).unwrap()), "{msr:#x}");
            }
        }
    }
}
