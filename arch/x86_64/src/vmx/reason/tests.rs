//! Exits as the processor writes them, and what they mean.

use super::*;
use crate::vmx::testing::Structure;

fn exit(reason: u64, more: &[(u32, u64)]) -> Structure {
    let mut fields = Structure::default();
    fields.set(ro::EXIT_REASON, reason);
    for (field, value) in more {
        fields.set(*field, *value);
    }
    fields
}

#[test]
fn an_exit_that_is_its_reason_alone_needs_no_other_field() {
    let table = [
        (1, Reason::Interrupt),
        (2, Reason::Shutdown),
        (3, Reason::Init),
        (7, Reason::InterruptWindow),
        (8, Reason::InterruptWindow),
        (9, Reason::TaskSwitch),
        (10, Reason::Cpuid),
        (12, Reason::Halt),
        (13, Reason::CacheFlush),
        (15, Reason::ReadCounter),
        (18, Reason::Hypercall),
        (29, Reason::Other),
        (31, Reason::ReadMsr),
        (32, Reason::WriteMsr),
        (43, Reason::InterruptWindow),
        (52, Reason::Interrupt),
        (54, Reason::CacheFlush),
        (55, Reason::SetXcr),
        (0x7fff, Reason::Other),
    ];
    for (code, meaning) in table {
        assert_eq!(decode(&exit(code, &[])), meaning, "{code}");
    }
}

#[test]
fn every_instruction_of_the_virtualisation_itself_is_not_offered() {
    for code in (19..=27).chain([11, 36, 39, 50, 53, 59, 60, 65, 76, 77]) {
        assert_eq!(decode(&exit(code, &[])), Reason::NotOffered, "{code}");
    }
}

#[test]
fn a_register_written_to_cr0_or_cr4_is_told() {
    let access = |qualification| decode(&exit(28, &[(ro::EXIT_QUALIFICATION, qualification)]));
    assert_eq!(access(0x0300), Reason::WriteCr0 { from: 3 });
    assert_eq!(access(0x0f04), Reason::WriteCr4 { from: Some(15) });
    // MOV to CR3, MOV from CR0, CLTS, LMSW.
    for other in [0x0003, 0x0010, 0x0020, 0x0030] {
        assert_eq!(access(other), Reason::Other, "{other:#x}");
    }
}

#[test]
fn exceptions_come_with_their_codes_and_nmis_are_none() {
    let of = |information, code| {
        exit(
            0,
            &[
                (ro::VMEXIT_INTERRUPTION_INFO, information),
                (ro::VMEXIT_INTERRUPTION_ERR_CODE, code),
            ],
        )
    };
    let alignment = Reason::Exception { vector: 17, code: 0 };
    assert_eq!(decode(&of(0x8000_0b11, 0)), alignment);
    let debug = Reason::Exception { vector: 1, code: 0 };
    assert_eq!(decode(&of(0x8000_0301, 77)), debug);
    assert_eq!(decode(&of(0x8000_0202, 0)), Reason::Nmi);
    assert_eq!(decode(&of(0x0000_0301, 0)), Reason::Other);
    assert!(is_nmi(&of(0x8000_0202, 0)));
    assert!(!is_nmi(&of(0x8000_0301, 0)));
    assert!(!is_nmi(&exit(1, &[])));
}

#[test]
fn an_int1_is_told_from_other_debug_exceptions() {
    let of = |information| {
        int1_length(&exit(
            0,
            &[
                (ro::VMEXIT_INTERRUPTION_INFO, information),
                (ro::VMEXIT_INSTRUCTION_LEN, 1),
            ],
        ))
    };
    assert_eq!(of(0x8000_0501), Some(1));
    assert_eq!(of(0x8000_0301), None);
    assert_eq!(of(0x0000_0501), None);
}

fn port(qualification: u64, rip: u64, rights: u64, entry: u64) -> Reason {
    decode(&exit(
        30,
        &[
            (ro::EXIT_QUALIFICATION, qualification),
            (ro::VMEXIT_INSTRUCTION_LEN, 2),
            (guest::RIP, rip),
            (guest::CS_ACCESS_RIGHTS, rights),
            (control::VMENTRY_CONTROLS, entry),
        ],
    ))
}

#[test]
fn a_byte_written_to_a_port_is_read_off_the_qualification() {
    let expected = PortAccess {
        port: 0xe9,
        bytes: 1,
        is_read: false,
        is_string: false,
        is_repeated: false,
        next_rip: 0x1002,
    };
    assert_eq!(port(0x00e9_0040, 0x1000, 0xa09b, 0x200), Reason::Port(expected));
}

#[test]
fn a_repeated_string_input_of_words_is_recognised() {
    let Reason::Port(access) = port(0x01f0_0039, 0, 0xa09b, 0x200) else {
        panic!("not a port access");
    };
    assert!(access.is_read && access.is_string && access.is_repeated);
    assert_eq!((access.port, access.bytes), (0x1f0, 2));
    assert_eq!(port(0x01f0_0002, 0, 0xa09b, 0x200), Reason::Other);
}

#[test]
fn the_instruction_pointer_wraps_where_the_code_is_not_64_bit() {
    let next = |rip, rights, entry| match port(0x00e9_0000, rip, rights, entry) {
        Reason::Port(access) => access.next_rip,
        other => panic!("{other:?}"),
    };
    assert_eq!(next(0xffff_ffff, 0xc09b, 0), 1);
    assert_eq!(next(0xffff_ffff, 0xa09b, 0x200), 0x1_0000_0001);
    // Compatibility mode.
    assert_eq!(next(0xffff_ffff, 0xc09b, 0x200), 1);
}

#[test]
fn a_violation_says_what_was_tried_where() {
    let fault = |qualification| {
        let fields = [
            (ro::EXIT_QUALIFICATION, qualification),
            (ro::GUEST_PHYSICAL_ADDR_FULL, 0xfee0_0080),
        ];
        match decode(&exit(48, &fields)) {
            Reason::NestedFault(fault) => fault,
            other => panic!("{other:?}"),
        }
    };
    let write = fault(0x182);
    assert!(write.is_write && !write.was_present && !write.in_page_walk && !write.is_fetch);
    assert_eq!(write.at, 0xfee0_0080);
    let read_only = fault(0x1aa);
    assert!(read_only.is_write && read_only.was_present && !read_only.was_reserved);
    assert!(fault(0x184).is_fetch);
    assert!(fault(0x083).in_page_walk);
    // The pointers of PAE paging have no linear address.
    assert!(fault(0x001).in_page_walk);
}

#[test]
fn a_misconfigured_entry_is_called_that() {
    let fields = exit(49, &[(ro::GUEST_PHYSICAL_ADDR_FULL, 0x5000)]);
    assert_eq!(decode(&fields), Reason::Misconfigured { at: 0x5000 });
}

#[test]
fn a_failed_entry_is_no_exit_and_says_why() {
    let failure = |reason: u64, qualification| {
        let fields = exit(reason, &[(ro::EXIT_QUALIFICATION, qualification)]);
        let is_invalid = decode(&fields) == Reason::Invalid;
        assert_eq!(is_invalid, EntryFailure::decode(&fields).is_some());
        EntryFailure::decode(&fields)
    };
    assert_eq!(failure(0x8000_0021, 0), Some(EntryFailure::GuestState));
    assert_eq!(failure(0x8000_0021, 2), Some(EntryFailure::PageDirectoryPointers));
    assert_eq!(failure(0x8000_0021, 3), Some(EntryFailure::NmiBehindMovSs));
    assert_eq!(failure(0x8000_0021, 4), Some(EntryFailure::LinkPointer));
    assert_eq!(failure(0x8000_0022, 7), Some(EntryFailure::Msr(7)));
    assert_eq!(failure(0x8000_0029, 0), Some(EntryFailure::MachineCheck));
    assert_eq!(failure(0x8000_0050, 0), Some(EntryFailure::Other(0x50)));
    assert_eq!(failure(10, 0), None);
    assert_eq!(
        EntryFailure::Msr(7).to_string(),
        "entry 7 of the MSRs to load is not valid"
    );
}
