//! String instructions, on memory and on ports.

use super::super::port_string::{Begun, Direction, begin};
use super::*;

#[test]
fn strings_move_and_stop_at_a_slice() {
    let code = [0xf3, 0xa5]; // rep movsd
    let mut memory = Memory::with(
        AT,
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    );
    let mut guest = Registers {
        rsi: AT,
        rdi: AT + 12,
        rcx: 3,
        ..registers()
    };
    let segments = flat_segments();
    let mut processor = Processor {
        registers: &mut guest,
        segments: &segments,
        code: CodeSize::Bits64,
        mode: Mode::Flat,
    };
    assert_eq!(
        execute::run(&code, &mut processor, &mut memory, 2),
        Ok(Step::More { single_step: false })
    );
    let registers = *processor.registers;
    assert_eq!(
        (registers.rcx, registers.rsi, registers.rdi, registers.rip),
        (1, AT + 8, AT + 20, 0x40_0000)
    );
    assert_eq!(execute::run(&code, &mut processor, &mut memory, 2), DONE);
    assert_eq!(
        (guest.rcx, guest.rip, memory.word(AT + 12, 8)),
        (0, 0x40_0002, 0x0807_0605_0403_0201)
    );
    assert_eq!(memory.word(AT + 20, 4), 0x0c0b_0a09);
}

#[test]
fn strings_go_both_ways_and_in_all_address_sizes() {
    let mut memory = Memory::with(AT, &[0; 16]);
    let mut guest = Registers {
        rax: 0x1122,
        rdi: AT + 6,
        rcx: 2,
        rflags: 0x602,
        ..registers()
    };
    assert_eq!(run64(&[0xf3, 0x66, 0xab], &mut guest, &mut memory), DONE); // std; rep stosw
    assert_eq!(
        (memory.word(AT, 8), guest.rdi, guest.rcx),
        (0x1122_1122 << 32, AT + 2, 0)
    );
    // A 32-bit address size counts in ECX and clears what is above.
    let mut guest = Registers {
        rax: 0x33,
        rdi: 0xf_0000_0000 | AT,
        rcx: 0xf_0000_0001,
        ..registers()
    };
    assert_eq!(run64(&[0xf3, 0x67, 0xaa], &mut guest, &mut memory), DONE);
    assert_eq!((guest.rdi, guest.rcx, memory.word(AT, 1)), (AT + 1, 0, 0x33));
    let mut guest = Registers {
        rcx: 0,
        rdi: 0x9999_0000,
        ..registers()
    };
    assert_eq!(
        run64(&[0xf3, 0xaa], &mut guest, &mut memory),
        DONE,
        "nothing to do, nothing touched"
    );
    let mut guest = Registers {
        rsi: AT.wrapping_sub(0x1_0000),
        rax: !0,
        ..registers()
    };
    assert_eq!(run64(&[0x64, 0xac], &mut guest, &mut memory), DONE); // lodsb fs:[rsi]
    assert_eq!((guest.rax, guest.rsi), (!0xcc, AT.wrapping_sub(0xffff)));
}

#[test]
fn comparing_strings_end_at_the_first_difference() {
    let mut memory = Memory::with(AT, b"abcdabxd");
    let mut guest = Registers {
        rsi: AT,
        rdi: AT + 4,
        rcx: 4,
        ..registers()
    };
    assert_eq!(run64(&[0xf3, 0xa6], &mut guest, &mut memory), DONE); // repe cmpsb
    assert_eq!((guest.rcx, guest.rsi, guest.rflags & 0x41), (1, AT + 3, 1));
    let mut guest = Registers {
        rax: b'd'.into(),
        rdi: AT,
        rcx: 100,
        ..registers()
    };
    assert_eq!(run64(&[0xf2, 0xae], &mut guest, &mut memory), DONE); // repne scasb
    assert_eq!((guest.rcx, guest.rdi, guest.rflags & 0x40), (96, AT + 4, 0x40));
}

#[test]
fn each_round_of_a_repeated_instruction_is_a_single_step() {
    let mut memory = Memory::with(AT, &[0; 8]);
    let mut guest = Registers {
        rdi: AT,
        rcx: 2,
        rflags: 0x302,
        ..registers()
    };
    let round = run64(&[0xf3, 0xaa], &mut guest, &mut memory); // rep stosb
    assert_eq!(round, Ok(Step::More { single_step: true }));
    assert_eq!((guest.rcx, guest.rdi, guest.rip), (1, AT + 1, 0x40_0000));
    let last = run64(&[0xf3, 0xaa], &mut guest, &mut memory);
    assert_eq!(last, Ok(Step::Finished { single_step: true }));
    assert_eq!((guest.rcx, guest.rip), (0, 0x40_0002));
}

#[test]
fn a_fault_within_a_string_leaves_what_was_done() {
    let mut memory = Memory::with(AT, &[0; 5]);
    let mut guest = Registers {
        rdi: AT,
        rcx: 8,
        rax: 7,
        ..registers()
    };
    let fault = run64(&[0xf3, 0xaa], &mut guest, &mut memory);
    assert_eq!(fault, Err(Memory::fault(AT + 5, true).into()));
    assert_eq!((guest.rcx, guest.rdi, guest.rip), (3, AT + 5, 0x40_0000));
    // The source is not read when the destination cannot be written.
    let mut memory = Memory::with(AT, &[1]);
    let mut guest = Registers {
        rsi: AT,
        rdi: 0x9000,
        ..registers()
    };
    assert_eq!(
        run64(&[0xa4], &mut guest, &mut memory),
        Err(Memory::fault(0x9000, true).into())
    );
    assert_eq!(memory.done, []);
}

#[test]
fn a_device_can_ask_for_a_pause_between_rounds() {
    let mut memory = Memory::with(AT, &[0; 4]);
    memory.stops = Some(AT + 1);
    let mut guest = Registers {
        rdi: AT,
        rcx: 4,
        ..registers()
    };
    assert_eq!(
        run64(&[0xf3, 0xaa], &mut guest, &mut memory),
        Ok(Step::More { single_step: false })
    );
    assert_eq!(guest.rcx, 2);
    assert_eq!(run64(&[0xf3, 0xaa], &mut guest, &mut memory), DONE);
}

#[test]
fn strings_to_and_from_ports_come_in_two_halves() {
    let segments = flat_segments();
    let mut memory = Memory::with(AT, b"ok");
    let mut guest = Registers {
        rsi: AT,
        rdi: AT,
        rcx: 2,
        rdx: 0x3f8,
        ..registers()
    };
    let mut processor = Processor {
        registers: &mut guest,
        segments: &segments,
        code: CodeSize::Bits64,
        mode: Mode::Flat,
    };
    let mut shown = Vec::new();
    loop {
        let Ok(Begun::Element(element)) = begin(&[0xf3, 0x6e], &mut processor, &mut memory) else {
            panic!()
        };
        assert_eq!((element.port, element.bytes), (0x3f8, 1));
        let Direction::Out(value) = element.direction else {
            panic!()
        };
        shown.extend(value.to_le_bytes().first());
        if element.end(0, &mut processor, &mut memory) == DONE {
            break;
        }
    }
    assert_eq!(
        (shown.as_slice(), processor.registers.rip, processor.registers.rsi),
        (&b"ok"[..], 0x40_0002, AT + 2)
    );
    let empty = begin(&[0xf3, 0x6e], &mut processor, &mut memory);
    assert_eq!(empty, Ok(Begun::Finished(Step::Finished { single_step: false })));
    let Ok(Begun::Element(element)) = begin(&[0x66, 0x6d], &mut processor, &mut memory) else {
        panic!()
    };
    assert_eq!((element.bytes, element.direction), (2, Direction::In));
    assert_eq!(element.end(0xffff_1234, &mut processor, &mut memory), DONE);
    assert_eq!((memory.word(AT, 2), processor.registers.rdi), (0x1234, AT + 2));
    processor.registers.rdi = 0x9000;
    assert_eq!(
        begin(&[0x6c], &mut processor, &mut memory),
        Err(Memory::fault(0x9000, true).into())
    );
    assert_eq!(begin(&[0x90], &mut processor, &mut memory), Err(Stop::Again));
}
