//! Why a guest stopped: the exit code and its information words, taken apart
//! (APM vol. 2 appendix C, §15.9–15.13, §15.25.6).

use crate::vcpu::reason::{NestedFault, PortAccess, Reason};

/// The processor's code for a control block it will not run. Older ones keep 32 bits of it.
pub const INVALID: u64 = u64::MAX;
/// A nested page fault.
pub const NESTED_FAULT: u64 = 0x400;
/// A triple fault.
pub const SHUTDOWN: u64 = 0x7f;

/// What these three words of the control block mean.
#[must_use]
pub fn decode(code: u64, info_1: u64, info_2: u64) -> Reason {
    match code {
        0x14 => Reason::WriteCr4 {
            // With decode assists bit 63 says that the register's number is in bits 3:0.
            from: (info_1 >> 63 != 0).then(|| low_byte(info_1) & 0xf),
        },
        0x40..=0x5f => Reason::Exception {
            vector: low_byte(code) & 0x1f,
            code: low_half(info_1),
        },
        0x60 => Reason::Interrupt,
        0x61 => Reason::Nmi,
        0x63 => Reason::Init,
        0x64 => Reason::InterruptWindow,
        0x6f => Reason::ReadCounter,
        0x72 => Reason::Cpuid,
        0x74 => Reason::Iret,
        0x76 | 0x89 => Reason::CacheFlush,
        0x78 => Reason::Halt,
        0x7b => port_access(info_1, info_2).map_or(Reason::Other, Reason::Port),
        0x7c if info_1 == 0 => Reason::ReadMsr,
        0x7c if info_1 == 1 => Reason::WriteMsr,
        0x7e => Reason::X87Freeze,
        SHUTDOWN => Reason::Shutdown,
        0x81 => Reason::Hypercall,
        // INVLPGA; VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT; MONITOR, MWAIT; RDPRU; INVLPGB, MCOMMIT, TLBSYNC.
        0x7a | 0x80 | 0x82..=0x86 | 0x8a..=0x8c | 0x8e | 0xa0 | 0xa1 | 0xa3 | 0xa4 => Reason::NotOffered,
        0x8d => Reason::SetXcr,
        NESTED_FAULT => Reason::NestedFault(nested_fault(info_1, info_2)),
        INVALID | 0xffff_ffff => Reason::Invalid,
        _ => Reason::Other,
    }
}

fn port_access(info_1: u64, info_2: u64) -> Option<PortAccess> {
    let bytes = match (info_1 >> 4) & 7 {
        1 => 1,
        2 => 2,
        4 => 4,
        _ => return None,
    };
    let [_, _, low, high, ..] = info_1.to_le_bytes();
    Some(PortAccess {
        port: u16::from_le_bytes([low, high]),
        bytes,
        is_read: info_1 & 1 != 0,
        is_string: info_1 & 1 << 2 != 0,
        is_repeated: info_1 & 1 << 3 != 0,
        next_rip: info_2,
    })
}

const fn nested_fault(info_1: u64, info_2: u64) -> NestedFault {
    NestedFault {
        at: info_2,
        is_write: info_1 & 1 << 1 != 0,
        is_fetch: info_1 & 1 << 4 != 0,
        was_present: info_1 & 1 != 0,
        in_page_walk: info_1 & 1 << 33 != 0,
        was_reserved: info_1 & 1 << 3 != 0,
    }
}

fn low_byte(word: u64) -> u8 {
    let [low, ..] = word.to_le_bytes();
    low
}

fn low_half(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_written_to_a_port_is_read_off_the_information_words() {
        // OUT 0xe9, AL: size 8, port in the upper half.
        let Reason::Port(access) = decode(0x7b, 0x00e9_0010, 0x1002) else {
            panic!("not a port access");
        };
        assert_eq!(
            access,
            PortAccess {
                port: 0xe9,
                bytes: 1,
                is_read: false,
                is_string: false,
                is_repeated: false,
                next_rip: 0x1002,
            }
        );
    }

    #[test]
    fn a_repeated_string_input_of_words_is_recognised() {
        let Reason::Port(access) = decode(0x7b, 0x01f0_002d, 7) else {
            panic!("not a port access");
        };
        assert!(access.is_read && access.is_string && access.is_repeated);
        assert_eq!((access.port, access.bytes), (0x1f0, 2));
    }

    #[test]
    fn a_port_access_of_no_size_is_nothing_we_serve() {
        assert_eq!(decode(0x7b, 0x00e9_0000, 0), Reason::Other);
        assert_eq!(decode(0x7b, 0x00e9_0070, 0), Reason::Other);
    }

    #[test]
    fn a_nested_fault_says_what_was_tried_where() {
        let fault = |info| match decode(0x400, info, 0xfee0_0080) {
            Reason::NestedFault(fault) => fault,
            other => panic!("{other:?}"),
        };
        let write = fault(1 << 32 | 0b110);
        assert!(write.is_write && !write.was_present && !write.in_page_walk && !write.is_fetch);
        assert_eq!(write.at, 0xfee0_0080);
        let walk = fault(1 << 33 | 0b111);
        assert!(walk.in_page_walk && walk.was_present);
        assert!(fault(1 << 4).is_fetch);
    }

    #[test]
    fn a_refused_block_is_recognised_in_32_and_in_64_bits() {
        assert_eq!(decode(u64::MAX, 0, 0), Reason::Invalid);
        assert_eq!(decode(0xffff_ffff, 0, 0), Reason::Invalid);
    }

    #[test]
    fn the_register_of_a_cr4_write_is_told_only_with_decode_assists() {
        assert_eq!(decode(0x14, 3, 0), Reason::WriteCr4 { from: None });
        assert_eq!(decode(0x14, 1 << 63 | 3, 0), Reason::WriteCr4 { from: Some(3) });
    }

    #[test]
    fn every_instruction_of_the_virtualisation_itself_is_not_offered() {
        for code in [0x7a, 0x80, 0x82, 0x83, 0x84, 0x85, 0x86] {
            assert_eq!(decode(code, 0, 0), Reason::NotOffered, "{code:#x}");
        }
        assert_eq!(decode(0x81, 0, 0), Reason::Hypercall);
    }
}
