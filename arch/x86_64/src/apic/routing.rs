//! Which line of which I/O APIC an ISA interrupt comes in on, and the entry that delivers it.
//!
//! Pure: tested on a workstation. Sources: ACPI specification 6.5 §5.2.12.5; Intel 82093AA data sheet §3.2.4.

use xenvisor_core::number::MachineAddr;

/// An I/O APIC and the first of the interrupts that it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoApicPlace {
    /// Its registers.
    pub registers: MachineAddr,
    /// The global number of its line 0.
    pub first_interrupt: u32,
}

/// An ISA interrupt that is wired otherwise than by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Override {
    /// Its number on the ISA bus.
    pub irq: u8,
    /// Its global number.
    pub interrupt: u32,
    /// Polarity in bits 1:0, trigger mode in bits 3:2; 0 means as usual on the bus.
    pub flags: u16,
}

/// How an interrupt line behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Its global number.
    pub interrupt: u32,
    /// Whether low means "on".
    pub active_low: bool,
    /// Whether it is a level rather than an edge.
    pub level: bool,
}

/// The line of an ISA interrupt. On that bus the usual is active high and edge.
#[must_use]
pub fn isa_line(irq: u8, overrides: &[Override]) -> Line {
    const ACTIVE_LOW: u16 = 0b11;
    const LEVEL: u16 = 0b11;
    match overrides.iter().find(|entry| entry.irq == irq) {
        Some(entry) => Line {
            interrupt: entry.interrupt,
            active_low: entry.flags & 0b11 == ACTIVE_LOW,
            level: entry.flags >> 2 & 0b11 == LEVEL,
        },
        None => Line {
            interrupt: irq.into(),
            active_low: false,
            level: false,
        },
    }
}

/// The I/O APIC that takes an interrupt, and on which of its lines.
#[must_use]
pub fn taker(interrupt: u32, places: &[IoApicPlace]) -> Option<(IoApicPlace, u32)> {
    places
        .iter()
        .filter_map(|place| Some((*place, interrupt.checked_sub(place.first_interrupt)?)))
        .min_by_key(|(_, line)| *line)
}

/// An entry that delivers nothing.
pub const MASKED: u64 = 1 << 16;

/// The entry that delivers a line as `vector` to the processor with this APIC id (8 bits: physical mode).
#[must_use]
pub fn entry(line: Line, vector: u8, apic_id: u8) -> u64 {
    u64::from(vector)
        | u64::from(line.active_low) << 13
        | u64::from(line.level) << 15
        | u64::from(apic_id) << 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_isa_interrupt_is_its_own_number_unless_overridden() {
        let overrides = [
            Override {
                irq: 0,
                interrupt: 2,
                flags: 0,
            },
            Override {
                irq: 9,
                interrupt: 9,
                flags: 0b1101,
            },
            Override {
                irq: 5,
                interrupt: 21,
                flags: 0b1111,
            },
        ];
        let line = |interrupt, active_low, level| Line {
            interrupt,
            active_low,
            level,
        };
        assert_eq!(isa_line(4, &overrides), line(4, false, false));
        assert_eq!(isa_line(0, &overrides), line(2, false, false));
        assert_eq!(isa_line(9, &overrides), line(9, false, true));
        assert_eq!(isa_line(5, &overrides), line(21, true, true));
    }

    #[test]
    fn the_io_apic_that_begins_nearest_below_takes_an_interrupt() {
        let places = [24, 0].map(|first_interrupt| IoApicPlace {
            registers: MachineAddr::new(0xfec0_0000 + u64::from(first_interrupt) * 0x1000),
            first_interrupt,
        });
        assert_eq!(taker(4, &places), Some((places[1], 4)));
        assert_eq!(taker(25, &places), Some((places[0], 1)));
        assert_eq!(taker(3, &places[..1]), None);
    }

    #[test]
    fn entries_have_their_fields_where_the_data_sheet_says() {
        let line = Line {
            interrupt: 4,
            active_low: true,
            level: true,
        };
        assert_eq!(entry(line, 0x40, 3), 0x0300_0000_0000_a040);
        let usual = isa_line(4, &[]);
        assert_eq!(entry(usual, 0x40, 0), 0x40);
        assert_eq!(entry(line, 0xff, 0xff) & MASKED, 0);
    }
}
