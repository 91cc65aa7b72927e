//! The time as a guest reads it: `vcpu_time_info`, and the wall clock of the shared info page.
//!
//! Public header `xen.h`. The record never changes while the machine's scale does not, so it is written when its place
//! is chosen; a reader that sees an odd version, or two different ones, reads again.

use xenvisor_abi::xen::{PvclockFlags, VcpuTimeInfo};
use zerocopy::IntoBytes;

use crate::clock::TimeScale;
use crate::machine::MachineMemory;
use crate::number::MachineAddr;

/// Where the record is in a `vcpu_info`, in bytes; the same for 32-bit and 64-bit guests.
pub const OFFSET: u64 = 32;

/// The record for this scale.
#[must_use]
pub fn record(scale: &TimeScale, version: u32) -> VcpuTimeInfo {
    VcpuTimeInfo {
        version,
        padding0: 0,
        tsc_timestamp: scale.base_ticks,
        system_time: scale.base.as_ns(),
        tsc_to_system_mul: scale.multiplier,
        tsc_shift: scale.shift,
        // One scale for all processors of the machine: readings on different vcpus agree.
        flags: PvclockFlags::TSC_STABLE.bits(),
        padding1: [0; 2],
    }
}

/// Writes the record at `at`, between an odd and an even version.
pub fn write(memory: &dyn MachineMemory, at: MachineAddr, scale: &TimeScale) {
    let mut version = [0; 4];
    memory.read(at, &mut version);
    let odd = u32::from_le_bytes(version) | 1;
    memory.write(at, &odd.to_le_bytes());
    let record = record(scale, odd);
    // All but the version, which makes the record valid only afterwards.
    if let (Some(rest), Some(body)) = (at.checked_add(4), record.as_bytes().get(4..)) {
        memory.write(rest, body);
    }
    memory.write(at, &odd.wrapping_add(1).to_le_bytes());
}

/// Where the wall clock is in the shared info page, for the 64-bit and the 32-bit layout.
const WALL_CLOCK: [u64; 2] = [3072, 2304];

/// Writes the wall clock (UTC at system time 0) into a shared info page, in the layout the guest uses.
pub fn write_wall_clock(memory: &dyn MachineMemory, page: MachineAddr, wide: bool, at_zero_ns: u64) {
    let [wide_at, narrow_at] = WALL_CLOCK;
    let Some(at) = page.checked_add(if wide { wide_at } else { narrow_at }) else {
        return;
    };
    let mut version = [0; 4];
    memory.read(at, &mut version);
    let odd = u32::from_le_bytes(version) | 1;
    memory.write(at, &odd.to_le_bytes());
    let (seconds, ns) = (at_zero_ns / 1_000_000_000, at_zero_ns % 1_000_000_000);
    let [s0, s1, s2, s3, h0, h1, h2, h3] = seconds.to_le_bytes();
    let [n0, n1, n2, n3, ..] = ns.to_le_bytes();
    let put = |offset: u64, bytes: [u8; 4]| {
        if let Some(field) = at.checked_add(offset) {
            memory.write(field, &bytes);
        }
    };
    put(4, [s0, s1, s2, s3]);
    put(8, [n0, n1, n2, n3]);
    // The upper half of the seconds: behind the record for 64-bit guests, behind `arch` for 32-bit ones.
    put(if wide { 12 } else { 36 }, [h0, h1, h2, h3]);
    memory.write(at, &odd.wrapping_add(1).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;
    use crate::testing::FlatMemory;
    use zerocopy::FromBytes;

    fn read(memory: &FlatMemory) -> VcpuTimeInfo {
        let mut bytes = [0; 32];
        memory.read(MachineAddr::new(0), &mut bytes);
        VcpuTimeInfo::read_from_bytes(&bytes).unwrap()
    }

    #[test]
    fn a_guest_computes_the_hosts_clock_from_the_record() {
        let memory = FlatMemory::new(4096);
        let scale = TimeScale::from_hz(2_400_000_000, 1_000, Instant::from_ns(77)).unwrap();
        write(&memory, MachineAddr::new(0), &scale);
        let record = read(&memory);
        let ticks = 2_400_000_000_u64 * 7 + 1_000;
        let delta = u128::from(ticks - record.tsc_timestamp);
        let shifted = if record.tsc_shift < 0 {
            delta >> -record.tsc_shift
        } else {
            delta << record.tsc_shift
        };
        let ns = record.system_time + ((shifted * u128::from(record.tsc_to_system_mul)) >> 32) as u64;
        assert_eq!(ns, scale.instant(ticks).as_ns());
    }

    #[test]
    fn each_writing_leaves_another_even_version() {
        let memory = FlatMemory::new(4096);
        let scale = TimeScale::from_hz(1_000_000_000, 0, Instant::ZERO).unwrap();
        let mut last = 0;
        for _ in 0..3 {
            write(&memory, MachineAddr::new(0), &scale);
            let version = read(&memory).version;
            assert!(version.is_multiple_of(2) && version != last);
            last = version;
        }
    }

    #[test]
    fn the_wall_clock_is_where_each_layout_has_it() {
        for (wide, at) in [(true, 3072), (false, 2304)] {
            let memory = FlatMemory::new(4096);
            write_wall_clock(&memory, MachineAddr::new(0), wide, 5_000_000_007);
            let mut words = [0; 12];
            memory.read(MachineAddr::new(at), &mut words);
            assert_eq!(words, [2, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0]);
        }
    }
}
