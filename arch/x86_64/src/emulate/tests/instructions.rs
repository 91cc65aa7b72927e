//! One instruction at a time.

use super::super::port_string::begin;
use super::*;

/// Name; code; RAX, RCX and the eight bytes at RBX before; RAX and the bytes after.
type Row = (&'static str, &'static [u8], u64, u64, u64, u64, u64);

#[test]
#[rustfmt::skip]
fn each_encoding_does_what_its_name_says() {
    const A: u64 = 0x1122_3344_5566_7788;
    let table: &[Row] = &[
        ("mov [rbx], al",            &[0x88, 0x03],                         A, 0, 0,     A, 0x88),
        ("mov [rbx], ah",            &[0x88, 0x23],                         A, 0, 0,     A, 0x77),
        ("mov [rbx], ax",            &[0x66, 0x89, 0x03],                   A, 0, 0,     A, 0x7788),
        ("mov [rbx], eax",           &[0x89, 0x03],                         A, 0, 0,     A, 0x5566_7788),
        ("mov [rbx], rax",           &[0x48, 0x89, 0x03],                   A, 0, 0,     A, A),
        ("mov [ebx], eax",           &[0x67, 0x89, 0x03],                   A, 0, 0,     A, 0x5566_7788),
        ("mov al, [rbx]",            &[0x8a, 0x03],                         A, 0, !0,    A | 0xff, !0),
        ("mov ah, [rbx]",            &[0x8a, 0x23],                         A, 0, 0,     A & !0xff00, 0),
        ("mov ax, [rbx]",            &[0x66, 0x8b, 0x03],                   A, 0, 0,     A & !0xffff, 0),
        ("mov eax, [rbx]",           &[0x8b, 0x03],                         A, 0, !0,    0xffff_ffff, !0),
        ("mov rax, [rbx]",           &[0x48, 0x8b, 0x03],                   A, 0, !0,    !0, !0),
        ("mov byte [rbx], 0x5a",     &[0xc6, 0x03, 0x5a],                   A, 0, 0,     A, 0x5a),
        ("mov word [rbx], 0x1234",   &[0x66, 0xc7, 0x03, 0x34, 0x12],       A, 0, 0,     A, 0x1234),
        ("mov dword [rbx], -2",      &[0xc7, 0x03, 0xfe, 0xff, 0xff, 0xff], A, 0, 0,     A, 0xffff_fffe),
        ("mov qword [rbx], -2",      &[0x48, 0xc7, 0x03, 0xfe, 0xff, 0xff, 0xff], A, 0, 0, A, !1),
        ("movnti [rbx], eax",        &[0x0f, 0xc3, 0x03],                   A, 0, 0,     A, 0x5566_7788),
        ("movbe eax, [rbx]",         &[0x0f, 0x38, 0xf0, 0x03],             A, 0, A,     0x8877_6655, A),
        ("movbe [rbx], ax",          &[0x66, 0x0f, 0x38, 0xf1, 0x03],       A, 0, 0,     A, 0x8877),
        ("movzx eax, byte [rbx]",    &[0x0f, 0xb6, 0x03],                   A, 0, 0x1fe, 0xfe, 0x1fe),
        ("movzx rax, word [rbx]",    &[0x48, 0x0f, 0xb7, 0x03],             A, 0, !0,    0xffff, !0),
        ("movsx eax, byte [rbx]",    &[0x0f, 0xbe, 0x03],                   A, 0, 0x80,  0xffff_ff80, 0x80),
        ("movsx rax, word [rbx]",    &[0x48, 0x0f, 0xbf, 0x03],             A, 0, 0x8000, 0xffff_ffff_ffff_8000, 0x8000),
        ("movsxd rax, dword [rbx]",  &[0x48, 0x63, 0x03],                   A, 0, 1 << 31, 0xffff_ffff_8000_0000, 1 << 31),
        ("add [rbx], eax",           &[0x01, 0x03],                         1, 0, 0xffff_ffff, 1, 0),
        ("add rax, [rbx]",           &[0x48, 0x03, 0x03],                   1, 0, 5,     6, 5),
        ("add dword [rbx], -1",      &[0x83, 0x03, 0xff],                   0, 0, 5,     0, 4),
        ("sub byte [rbx], 6",        &[0x80, 0x2b, 0x06],                   0, 0, 5,     0, 0xff),
        ("and [rbx], ax",            &[0x66, 0x21, 0x03],                   0xf0f, 0, 0xffff, 0xf0f, 0xf0f),
        ("or dword [rbx], 0x100",    &[0x81, 0x0b, 0, 1, 0, 0],             0, 0, 1,     0, 0x101),
        ("lock or dword [rbx], 2",   &[0xf0, 0x83, 0x0b, 2],                0, 0, 1,     0, 3),
        ("xor [rbx], rax",           &[0x48, 0x31, 0x03],                   !0, 0, 1,    !0, !1),
        ("cmp [rbx], eax",           &[0x39, 0x03],                         1, 0, 1,     1, 1),
        ("test byte [rbx], 1",       &[0xf6, 0x03, 0x01],                   0, 0, 1,     0, 1),
        ("inc qword [rbx]",          &[0x48, 0xff, 0x03],                   0, 0, 0xff,  0, 0x100),
        ("dec byte [rbx]",           &[0xfe, 0x0b],                         0, 0, 0,     0, 0xff),
        ("neg dword [rbx]",          &[0xf7, 0x1b],                         0, 0, 1,     0, 0xffff_ffff),
        ("not byte [rbx]",           &[0xf6, 0x13],                         0, 0, 0x0f,  0, 0xf0),
        ("shl dword [rbx], cl",      &[0xd3, 0x23],                         0, 4, 0x11,  0, 0x110),
        ("shr word [rbx], 1",        &[0x66, 0xd1, 0x2b],                   0, 0, 0x8000, 0, 0x4000),
        ("sar byte [rbx], 2",        &[0xc0, 0x3b, 2],                      0, 0, 0x80,  0, 0xe0),
        ("rol byte [rbx], 1",        &[0xd0, 0x03],                         0, 0, 0x81,  0, 0x03),
        ("ror dword [rbx], 8",       &[0xc1, 0x0b, 8],                      0, 0, 0x12,  0, 0x1200_0000),
        ("xchg [rbx], al",           &[0x86, 0x03],                         0x12, 0, 0x34, 0x34, 0x12),
        ("xchg [rbx], eax",          &[0x87, 0x03],                         A, 0, 7,     7, 0x5566_7788),
        ("xadd [rbx], eax",          &[0x0f, 0xc1, 0x03],                   3, 0, 4,     4, 7),
        ("cmpxchg [rbx], ecx, equal", &[0xf0, 0x0f, 0xb1, 0x0b],            4, 9, 4,     4, 9),
        ("cmpxchg [rbx], ecx, not",  &[0x0f, 0xb1, 0x0b],                   5, 9, 4,     4, 4),
        ("bts dword [rbx], 33",      &[0x0f, 0xba, 0x2b, 33],               0, 0, 0,     0, 2),
        ("btr qword [rbx], 63",      &[0x48, 0x0f, 0xba, 0x33, 63],         0, 0, 1 << 63, 0, 0),
        ("btc [rbx], ecx",           &[0x0f, 0xbb, 0x0b],                   0, 35, 1 << 32, 0, 9 << 32),
        ("imul eax, [rbx]",          &[0x0f, 0xaf, 0x03],                   3, 0, 5,     15, 5),
        ("imul eax, [rbx], -2",      &[0x6b, 0x03, 0xfe],                   3, 0, 5,     0xffff_fff6, 5),
        ("setne [rbx]",              &[0x0f, 0x95, 0x03],                   0, 0, 0xff,  0, 1),
        ("cmove eax, [rbx], not",    &[0x0f, 0x44, 0x03],                   A, 0, 5,     0x5566_7788, 5),
        ("cmovne rax, [rbx]",        &[0x48, 0x0f, 0x45, 0x03],             A, 0, 5,     5, 5),
        ("mov al, [abs64]",          &[0xa0, 0, 0x50, 0, 0, 0, 0, 0, 0],    0, 0, 0x77,  0x77, 0x77),
        ("mov eax, [rip-...]",       &[0x8b, 0x05, 0xfa, 0x4f, 0xc0, 0xff], 0, 0, 0x77,  0x77, 0x77),
        ("mov eax, [rbx+rcx*4-8]",   &[0x8b, 0x44, 0x8b, 0xf8],             0, 2, 0x77,  0x77, 0x77),
        ("mov r8 is not touched",    &[0x8b, 0x83, 0, 0, 0, 0],             0, 0, 0x77,  0x77, 0x77),
        ("prefetchnta [rbx]",        &[0x0f, 0x18, 0x03],                   A, 0, 1,     A, 1),
        ("clflush [rbx]",            &[0x0f, 0xae, 0x3b],                   A, 0, 1,     A, 1),
    ];
    for (name, code, rax, rcx, before, rax_after, after) in table {
        let mut memory = Memory::with(AT, &before.to_le_bytes());
        let mut registers = Registers { rax: *rax, rcx: *rcx, ..registers() };
        assert_eq!(run64(code, &mut registers, &mut memory), DONE, "{name}");
        assert_eq!(memory.word(AT, 8), *after, "{name}: memory");
        assert_eq!(registers.rax, *rax_after, "{name}: rax");
        assert_eq!(registers.rip, 0x40_0000 + code.len() as u64, "{name}: rip");
    }
}

#[test]
fn flags_come_from_the_operation_and_only_when_it_succeeds() {
    let mut memory = Memory::with(AT, &[0; 8]);
    let mut guest = Registers {
        rax: 1,
        ..registers()
    };
    assert_eq!(run64(&[0x39, 0x03], &mut guest, &mut memory), DONE); // cmp [rbx], eax
    assert_eq!(guest.rflags & 0x8d5, 0x95, "borrow, sign, parity, auxiliary");
    let before = Registers { rbx: 0x9000, ..guest };
    let mut guest = before;
    let fault = run64(&[0x29, 0x03], &mut guest, &mut memory); // sub [rbx], eax
    assert_eq!(fault, Err(Memory::fault(0x9000, true).into()));
    assert_eq!(guest, before);
}

#[test]
fn a_register_can_name_a_bit_far_away() {
    // bt [rbx], rcx with bit -1: the top bit of the word below. bts [rbx], cx with bit 17.
    let mut memory = Memory::with(AT - 8, &[0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0]);
    let mut guest = Registers {
        rcx: u64::MAX,
        ..registers()
    };
    assert_eq!(run64(&[0x48, 0x0f, 0xa3, 0x0b], &mut guest, &mut memory), DONE);
    assert_eq!(
        (guest.rflags & 1, memory.done.clone()),
        (1, vec![('r', AT - 8, 8)])
    );
    let mut guest = Registers {
        rcx: 17,
        ..registers()
    };
    assert_eq!(run64(&[0x66, 0x0f, 0xab, 0x0b], &mut guest, &mut memory), DONE);
    assert_eq!((guest.rflags & 1, memory.word(AT, 4)), (0, 0x2_0000));
}

#[test]
fn eight_bytes_are_compared_and_exchanged() {
    let code = [0xf0, 0x0f, 0xc7, 0x0b]; // lock cmpxchg8b [rbx]
    let mut memory = Memory::with(AT, &0x1111_1111_2222_2222_u64.to_le_bytes());
    let mut guest = Registers {
        rax: 0,
        rdx: 0,
        rcx: 3,
        ..registers()
    };
    assert_eq!(run64(&code, &mut guest, &mut memory), DONE);
    assert_eq!(
        (guest.rdx, guest.rax, guest.rflags & 0x40),
        (0x1111_1111, 0x2222_2222, 0)
    );
    assert_eq!(run64(&code, &mut guest, &mut memory), DONE);
    assert_eq!((memory.word(AT, 8), guest.rflags & 0x40), (3 << 32 | AT, 0x40));
}

#[test]
fn segments_and_sizes_of_older_code_hold() {
    let mut segments = flat_segments();
    segments.ds = Segment {
        base: 0x1000,
        limit: 0xffff,
        attributes: 0x93,
        selector: 0x100,
    };
    let mut memory = Memory::with(0x1000, &[0; 0x20]);
    let mut guest = Registers {
        rbx: 0xfff0,
        rsi: 0x0018,
        rip: 0x1_fffe,
        rflags: 2,
        rax: 0xabcd,
        ..Registers::default()
    };
    let mut processor = Processor {
        registers: &mut guest,
        segments: &segments,
        code: CodeSize::Bits16,
        mode: Mode::Real,
    };
    // mov [bx+si], ax: the sum wraps at 64 KiB, and so does the instruction pointer.
    assert_eq!(execute::run(&[0x89, 0x00], &mut processor, &mut memory, 1), DONE);
    assert_eq!((processor.registers.rip, memory.word(0x1008, 2)), (0, 0xabcd));
    processor.registers.rsi = 0xf;
    assert_eq!(
        execute::run(&[0x89, 0x00], &mut processor, &mut memory, 1),
        Err(Stop::Exception(Exception::GP)),
        "across the limit"
    );
    processor.registers.rbp = 0x8000;
    segments.ss = Segment {
        limit: 0xfff,
        ..segments.ds
    };
    let mut processor = Processor {
        registers: &mut guest,
        segments: &segments,
        code: CodeSize::Bits16,
        mode: Mode::Real,
    };
    let stack = execute::run(&[0x89, 0x46, 0x00], &mut processor, &mut memory, 1);
    assert_eq!(stack, Err(Stop::Exception(Exception::Stack(0))));
}

#[test]
fn what_is_not_emulated_is_named_by_its_bytes() {
    for code in [
        &[0x0f, 0x6f, 0x03][..],   // movq mm0, [rbx]
        &[0xf3, 0x0f, 0x6f, 0x03], // movdqu xmm0, [rbx]
        &[0x8c, 0x1b],             // mov [rbx], ds
        &[0xff, 0x13],             // call [rbx]
        &[0x48, 0x0f, 0xc7, 0x0b], // cmpxchg16b [rbx]
        &[0xf2, 0x0f, 0x10, 0x03], // movsd xmm0, [rbx]
        &[0xf7, 0x2b],             // imul dword [rbx]
        &[0x0f, 0x0b],             // ud2
    ] {
        let mut guest = registers();
        let stop = run64(code, &mut guest, &mut Memory::with(AT, &[0; 16]));
        let Err(Stop::Unemulated { bytes, length }) = stop else {
            panic!("{code:x?}: {stop:?}")
        };
        assert_eq!(&bytes[..length as usize], code);
        assert_eq!(guest, registers());
    }
    assert_eq!(
        run64(&[0x48, 0x8b], &mut registers(), &mut Memory::default()),
        Err(Stop::Again)
    );
}

#[test]
fn a_single_step_is_reported_and_the_resume_flag_ends() {
    let mut memory = Memory::with(AT, &[0]);
    let mut guest = Registers {
        rflags: 0x1_0302,
        ..registers()
    };
    assert_eq!(
        run64(&[0x88, 0x03], &mut guest, &mut memory),
        Ok(Step::Finished { single_step: true })
    );
    assert_eq!(guest.rflags, 0x302);
}

#[test]
fn no_bytes_upset_the_emulator() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let (mut ran, segments) = (0_u32, flat_segments());
    for _ in 0..30_000 {
        let mut code = [0_u8; 15];
        code.fill_with(|| (random() & 0xff) as u8);
        // Often an opcode that is emulated, so that more than the decoder is tried.
        if random() & 1 == 0 {
            code[0] = [
                0x01, 0x29, 0x80, 0x83, 0x88, 0xa4, 0xab, 0xc7, 0xd3, 0xf7, 0x0f, 0xf3, 0x66, 0x48,
            ][(random() % 14) as usize];
        }
        let mut guest = Registers {
            rax: random(),
            rcx: random(),
            rbx: AT,
            rsi: random(),
            rdi: AT,
            rip: random(),
            rflags: random(),
            ..registers()
        };
        let mut memory = Memory::with(AT, &[0x5a; 64]);
        let (size, mode) = [
            (CodeSize::Bits16, Mode::Real),
            (CodeSize::Bits32, Mode::Protected),
            (CodeSize::Bits64, Mode::Flat),
        ][(random() % 3) as usize];
        let mut processor = Processor {
            registers: &mut guest,
            segments: &segments,
            code: size,
            mode,
        };
        ran += u32::from(execute::run(&code, &mut processor, &mut memory, 3).is_ok());
        let _ = begin(&code, &mut processor, &mut memory);
        let _ = length::control_access(&code, size);
    }
    assert!(ran > 300, "only {ran} instructions ran");
}
