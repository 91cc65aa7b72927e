//! The I/O APICs: every line masked, but for the ones the host wants.
//!
//! Source: Intel 82093AA data sheet §3.

use xenvisor_core::number::MachineAddr;

use super::routing::{IoApicPlace, Line, MASKED, entry, taker};
use crate::host::direct_map::pointer;

/// The registers through which the others are reached.
const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;

/// Registers behind the window.
const VERSION: u32 = 0x01;
const FIRST_ENTRY: u32 = 0x10;

/// One I/O APIC, whose registers are mapped as a device.
struct IoApic(MachineAddr);

impl IoApic {
    fn register(&self, offset: usize) -> *mut u32 {
        pointer(self.0).wrapping_add(offset).cast()
    }

    fn read(&self, index: u32) -> u32 {
        // SAFETY: an I/O APIC's two registers, mapped as a device by whoever made this value; only this
        // file uses them, before there is a second processor.
        unsafe {
            self.register(SELECT).write_volatile(index);
            self.register(WINDOW).read_volatile()
        }
    }

    fn write(&self, index: u32, value: u32) {
        // SAFETY: as in `read`. Entries name vectors of ours or are masked.
        unsafe {
            self.register(SELECT).write_volatile(index);
            self.register(WINDOW).write_volatile(value);
        }
    }

    fn lines(&self) -> u32 {
        (self.read(VERSION) >> 16 & 0xff) + 1
    }

    fn set(&self, line: u32, entry: u64) {
        let index = FIRST_ENTRY + line * 2;
        // Masked while only half of it is written.
        self.write(index, low(MASKED));
        self.write(index + 1, low(entry >> 32));
        self.write(index, low(entry));
    }
}

/// The low half of an entry.
fn low(entry: u64) -> u32 {
    let [a, b, c, d, ..] = entry.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Masks every line of every I/O APIC. Their registers must be mapped as devices.
pub(crate) fn mask_all(places: &[IoApicPlace]) {
    for place in places {
        let io_apic = IoApic(place.registers);
        for line in 0..io_apic.lines() {
            io_apic.set(line, MASKED);
        }
    }
}

/// Delivers a line as `vector` to the processor with this APIC id; false where no I/O APIC takes it.
pub(crate) fn route(places: &[IoApicPlace], line: Line, vector: u8, apic_id: u8) -> bool {
    let Some((place, number)) = taker(line.interrupt, places) else {
        return false;
    };
    let io_apic = IoApic(place.registers);
    if number >= io_apic.lines() {
        return false;
    }
    io_apic.set(number, entry(line, vector, apic_id));
    true
}

/// Silences the two old interrupt controllers, which would deliver at vectors of exceptions.
pub(crate) fn mask_old_controllers() {
    const MASKS: [u16; 2] = [0x21, 0xa1];
    for port in MASKS {
        // SAFETY: the mask registers of the 8259s, on every PC; all lines off.
        unsafe { x86::io::outb(port, 0xff) };
    }
}
