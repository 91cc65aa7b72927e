//! Registers as instructions name them: which part of which register an operand is.

use iced_x86::Register;
use xenvisor_core::machine::Registers;

/// A general register, or a part of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct General {
    /// The register's number as in encodings: 0 RAX, 1 RCX, 2 RDX, 3 RBX, 4 RSP, 5 RBP, 6 RSI, 7 RDI, 8 R8...
    pub number: u8,
    /// How many bytes of it: 1, 2, 4 or 8.
    pub size: u8,
    /// Bits 15:8 instead of bits 7:0: AH, CH, DH, BH.
    pub high: bool,
}

impl General {
    /// A whole 64-bit register.
    #[must_use]
    pub const fn whole(number: u8) -> Self {
        Self {
            number,
            size: 8,
            high: false,
        }
    }

    /// What the decoder calls by this name, if it is a general register.
    pub(super) fn of(register: Register) -> Option<Self> {
        let part = |number, size| {
            Some(Self {
                number,
                size,
                high: false,
            })
        };
        if let Some(number) = index(register, Register::AL, 4) {
            return part(number, 1);
        }
        if let Some(number) = index(register, Register::AH, 4) {
            return Some(Self {
                number,
                size: 1,
                high: true,
            });
        }
        // SPL to R15L follow the old high bytes.
        if let Some(number) = index(register, Register::SPL, 12) {
            return part(number.wrapping_add(4), 1);
        }
        for (first, size) in [(Register::AX, 2), (Register::EAX, 4), (Register::RAX, 8)] {
            if let Some(number) = index(register, first, 16) {
                return part(number, size);
            }
        }
        None
    }

    /// Its value, in the low bits.
    #[must_use]
    pub fn read(self, registers: &Registers) -> u64 {
        let whole = whole(registers, self.number);
        if self.high {
            (whole >> 8) & 0xff
        } else {
            whole & mask(self.size)
        }
    }

    /// Writes it as instructions do: 32 bits clear the upper half, less leave the rest alone.
    pub fn write(self, registers: &mut Registers, value: u64) {
        let slot = slot(registers, self.number);
        *slot = match (self.size, self.high) {
            (8, _) => value,
            (4, _) => value & mask(4),
            (_, true) => (*slot & !0xff00) | ((value & 0xff) << 8),
            (size, false) => (*slot & !mask(size)) | (value & mask(size)),
        };
    }
}

/// The bits of a value of so many bytes (1..=8).
#[must_use]
pub const fn mask(size: u8) -> u64 {
    if size >= 8 {
        u64::MAX
    } else {
        (1 << (size as u32 * 8)) - 1
    }
}

/// How far `register` lies behind `first`, if less than `count`.
pub(super) fn index(register: Register, first: Register, count: u8) -> Option<u8> {
    let distance = (register as usize).checked_sub(first as usize)?;
    u8::try_from(distance).ok().filter(|distance| *distance < count)
}

const fn whole(registers: &Registers, number: u8) -> u64 {
    match number & 15 {
        0 => registers.rax,
        1 => registers.rcx,
        2 => registers.rdx,
        3 => registers.rbx,
        4 => registers.rsp,
        5 => registers.rbp,
        6 => registers.rsi,
        7 => registers.rdi,
        8 => registers.r8,
        9 => registers.r9,
        10 => registers.r10,
        11 => registers.r11,
        12 => registers.r12,
        13 => registers.r13,
        14 => registers.r14,
        _ => registers.r15,
    }
}

const fn slot(registers: &mut Registers, number: u8) -> &mut u64 {
    match number & 15 {
        0 => &mut registers.rax,
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        4 => &mut registers.rsp,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        _ => &mut registers.r15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_part_of_its_register() {
        let table = [
            (Register::AL, 0, 1, false),
            (Register::BL, 3, 1, false),
            (Register::AH, 0, 1, true),
            (Register::BH, 3, 1, true),
            (Register::SPL, 4, 1, false),
            (Register::DIL, 7, 1, false),
            (Register::R8L, 8, 1, false),
            (Register::R15L, 15, 1, false),
            (Register::AX, 0, 2, false),
            (Register::DI, 7, 2, false),
            (Register::R15W, 15, 2, false),
            (Register::ESP, 4, 4, false),
            (Register::R15D, 15, 4, false),
            (Register::RBX, 3, 8, false),
            (Register::R15, 15, 8, false),
        ];
        for (name, number, size, high) in table {
            assert_eq!(General::of(name), Some(General { number, size, high }));
        }
        for name in [
            Register::None,
            Register::EIP,
            Register::RIP,
            Register::ES,
            Register::CR0,
            Register::XMM0,
        ] {
            assert_eq!(General::of(name), None);
        }
    }

    #[test]
    fn a_write_touches_what_hardware_touches() {
        let old = 0x1122_3344_5566_7788;
        for number in 0..16 {
            for (size, high, expected) in [
                (8, false, 0xffee_ddcc_bbaa_9900),
                (4, false, 0xbbaa_9900),
                (2, false, 0x1122_3344_5566_9900),
                (1, false, 0x1122_3344_5566_7700),
                (1, true, 0x1122_3344_5566_0088),
            ] {
                let mut registers = Registers::default();
                General::whole(number).write(&mut registers, old);
                let part = General { number, size, high };
                assert_eq!(part.read(&registers), if high { 0x77 } else { old & mask(size) });
                part.write(&mut registers, 0xffee_ddcc_bbaa_9900);
                assert_eq!(General::whole(number).read(&registers), expected, "{part:?}");
                let others = (0..16).filter(|other| *other != number);
                assert!(
                    others
                        .map(General::whole)
                        .all(|other| other.read(&registers) == 0)
                );
            }
        }
    }
}
