//! The state in which the first vcpu of a PVH guest starts.
//!
//! Source: the PVH boot ABI: 32-bit protected mode without paging, flat segments, interrupts off, EBX points to
//! the start info; all else is unspecified, and zero here.

use crate::machine::Registers;
use crate::number::GuestAddr;
use crate::vcpu::start::{Segment, StartState};

/// Protection enabled, extension type (SDM vol. 3 §2.5).
const CR0: u64 = 0x11;
/// Bit 1 is always set (SDM vol. 1 §3.4.3).
const RFLAGS: u64 = 0x2;

/// 32-bit code, readable, accessed, present, in units of 4 KiB.
const CODE: u32 = 0xc09b;
/// 32-bit data, writable, accessed, present, in units of 4 KiB.
const DATA: u32 = 0xc093;
/// A busy 32-bit task, present.
const TASK: u32 = 0x008b;
/// Holds nothing.
const UNUSABLE: u32 = 1 << 16;

/// The start at `entry`, with the start info at `start_info`.
#[must_use]
pub fn state(entry: GuestAddr, start_info: GuestAddr) -> StartState {
    const fn segment(attributes: u32, limit: u32) -> Segment {
        Segment {
            selector: 0,
            attributes,
            limit,
            base: 0,
        }
    }
    let data = segment(DATA, u32::MAX);
    let nothing = segment(UNUSABLE, 0);
    StartState {
        registers: Registers {
            rbx: start_info.raw(),
            rip: entry.raw(),
            rflags: RFLAGS,
            ..Registers::default()
        },
        cr0: CR0,
        cr3: 0,
        cr4: 0,
        efer: 0,
        cs: segment(CODE, u32::MAX),
        ds: data,
        es: data,
        fs: nothing,
        gs: nothing,
        ss: data,
        tr: segment(TASK, 0x67),
        ldt: nothing,
    }
}
