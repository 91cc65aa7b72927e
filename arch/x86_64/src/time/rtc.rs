//! The battery-backed clock: which day and time it is, to the second, when the machine boots.
//!
//! Source: Motorola MC146818A data sheet; the century's register is named by ACPI's FADT.

const SECONDS_PER_DAY: u64 = 86_400;

/// The clock's registers as they were read, in whatever format it keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RtcRegisters {
    /// Register 0.
    pub second: u8,
    /// Register 2.
    pub minute: u8,
    /// Register 4; bit 7 means afternoon in 12-hour mode.
    pub hour: u8,
    /// Register 7.
    pub day: u8,
    /// Register 8.
    pub month: u8,
    /// Register 9: the last two digits.
    pub year: u8,
    /// The first two digits, where there is a register for them.
    pub century: Option<u8>,
    /// Register B: bit 2 means binary instead of decimal digits, bit 1 means 24 hours.
    pub mode: u8,
}

const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
const AFTERNOON: u8 = 1 << 7;

impl RtcRegisters {
    fn number(&self, raw: u8) -> u64 {
        if self.mode & BINARY != 0 {
            raw.into()
        } else {
            u64::from(raw >> 4) * 10 + u64::from(raw & 0xf)
        }
    }

    /// Seconds since 1970-01-01 00:00 UTC; `None` where the registers hold no date (or one before that).
    #[must_use]
    pub fn unix_seconds(&self) -> Option<u64> {
        let afternoon = self.mode & HOURS_24 == 0 && self.hour & AFTERNOON != 0;
        let mut hour = self.number(self.hour & !AFTERNOON);
        if self.mode & HOURS_24 == 0 {
            // Twelve o'clock is the zeroth hour of its half of the day.
            hour = hour % 12 + if afternoon { 12 } else { 0 };
        }
        let short = self.number(self.year);
        let year = match self.century.map(|century| self.number(century)) {
            Some(century @ 19..=99) => century * 100 + short,
            _ if short < 70 => 2000 + short,
            _ => 1900 + short,
        };
        let (month, day) = (self.number(self.month), self.number(self.day));
        let (minute, second) = (self.number(self.minute), self.number(self.second));
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let days = days_since_1970(year, month, day)?;
        Some(days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. The year is taken to begin in March, so that
/// the leap day comes last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS_TO_1970_FROM_MARCH_0: u64 = 719_468;
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leap_days = year / 4 + year / 400;
    let days = (year * 365 + leap_days).checked_sub(year / 100)? + (153 * month + 2) / 5 + day - 1;
    days.checked_sub(DAYS_TO_1970_FROM_MARCH_0)
}

#[cfg(target_os = "none")]
mod chip {
    //! The chip itself, behind ports 0x70 and 0x71.

    use super::RtcRegisters;
    use x86::io::{inb, outb};

    const INDEX: u16 = 0x70;
    const DATA: u16 = 0x71;
    const UPDATE_IN_PROGRESS: u8 = 1 << 7;
    /// How often to try for two equal readings, and to ask whether an update is over (it takes 2 ms).
    const TRIES: u32 = 10;
    const PATIENCE: u32 = 100_000;

    fn read(register: u8) -> u8 {
        // SAFETY: the two ports are the clock's, on every PC, and nobody else here uses them. Bit 7 of the
        // index (mask NMI) stays 0.
        unsafe {
            outb(INDEX, register & 0x7f);
            inb(DATA)
        }
    }

    fn once(century: u8) -> RtcRegisters {
        let mut patience = PATIENCE;
        while read(0xa) & UPDATE_IN_PROGRESS != 0 && patience != 0 {
            patience -= 1;
        }
        RtcRegisters {
            second: read(0),
            minute: read(2),
            hour: read(4),
            day: read(7),
            month: read(8),
            year: read(9),
            century: (century != 0).then(|| read(century)),
            mode: read(0xb),
        }
    }

    /// Reads the clock until two readings agree, so that none was torn by an update. `century` is the
    /// register ACPI names, or 0.
    pub(crate) fn read_chip(century: u8) -> RtcRegisters {
        let mut last = once(century);
        for _ in 0..TRIES {
            let again = once(century);
            if again == last {
                break;
            }
            last = again;
        }
        last
    }
}

#[cfg(target_os = "none")]
pub(crate) use chip::read_chip;

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(date: [u8; 6]) -> RtcRegisters {
        let [year, month, day, hour, minute, second] = date;
        RtcRegisters {
            second,
            minute,
            hour,
            day,
            month,
            year,
            century: Some(0x20),
            mode: HOURS_24,
        }
    }

    #[test]
    fn dates_become_seconds_since_1970() {
        let cases = [
            ([0x26, 0x01, 0x01, 0x00, 0x00, 0x00], 1_767_225_600),
            ([0x24, 0x02, 0x29, 0x23, 0x59, 0x59], 1_709_251_199),
            ([0x24, 0x03, 0x01, 0x00, 0x00, 0x00], 1_709_251_200),
            ([0x00, 0x12, 0x31, 0x12, 0x30, 0x15], 978_265_815),
        ];
        for (date, expected) in cases {
            assert_eq!(decimal(date).unix_seconds(), Some(expected), "{date:x?}");
        }
        let epoch = RtcRegisters {
            century: Some(0x19),
            ..decimal([0x70, 1, 1, 0, 0, 0])
        };
        assert_eq!(epoch.unix_seconds(), Some(0));
        assert_eq!(days_since_1970(2100, 3, 1), Some(47_541));
    }

    #[test]
    fn binary_digits_and_twelve_hours_are_understood() {
        let registers = RtcRegisters {
            second: 59,
            minute: 30,
            hour: 12 | AFTERNOON,
            day: 31,
            month: 12,
            year: 25,
            century: Some(20),
            mode: BINARY,
        };
        assert_eq!(registers.unix_seconds(), Some(1_767_184_259));
        let midnight = RtcRegisters {
            hour: 12,
            ..registers
        };
        assert_eq!(midnight.unix_seconds(), Some(1_767_184_259 - 12 * 3600));
    }

    #[test]
    fn without_a_century_two_digits_mean_1970_to_2069() {
        let guess = |year| {
            RtcRegisters {
                century: None,
                ..decimal([year, 1, 1, 0, 0, 0])
            }
            .unix_seconds()
        };
        assert_eq!(guess(0x70), Some(0));
        assert_eq!(guess(0x26), Some(1_767_225_600));
    }

    #[test]
    fn nonsense_is_no_date() {
        assert_eq!(RtcRegisters::default().unix_seconds(), None);
        assert_eq!(decimal([0x26, 0x13, 0x01, 0, 0, 0]).unix_seconds(), None);
        assert_eq!(decimal([0x26, 0x01, 0x01, 0x24, 0, 0]).unix_seconds(), None);
        assert_eq!(decimal([0xff; 6]).unix_seconds(), None);
    }
}
