//! Hypercalls, ports, memory that is not there, and exits that end the guest.

use super::*;

#[test]
fn the_processors_own_next_instruction_pointer_is_taken() {
    let mut world = World::with(Assists {
        next_rip: true,
        decode: false,
    });
    world.scene(|block, _| {
        block.control.exit_code = 0x78;
        block.control.next_rip = RIP + 7;
    });
    assert_eq!(world.run(&[]), Exit::Halt);
    assert_eq!(world.rip(), RIP + 7);
}

#[test]
fn an_instruction_that_has_changed_is_executed_again() {
    let mut world = World::new();
    world.exits(0x72);
    assert_eq!(world.run(&[0x90]), Exit::Preempted);
    assert_eq!(world.rip(), RIP);
}

#[test]
fn a_32_bit_hypercall_takes_its_arguments_from_the_lower_halves() {
    let mut world = World::new();
    world.scene(|block, registers| {
        block.control.exit_code = 0x81;
        block.save.rax = 0xffff_ffff_0000_0011;
        registers.rbx = 0xffff_ffff_0000_0001;
        [registers.rcx, registers.rdx, registers.rsi] = [2, 3, 4];
        [registers.rdi, registers.rbp] = [5, 6];
    });
    let call = Call {
        number: 0x11,
        arguments: [1, 2, 3, 4, 5, 6],
        width: Width::Bits32,
        privileged: true,
    };
    assert_eq!(world.run(&[0x0f, 0x01, 0xd9]), Exit::Hypercall(call));
    world
        .cpu
        .complete_hypercall(Outcome::Return(0xffff_ffff_ffff_ffda));
    assert_eq!(world.cpu.registers().rax, 0xffff_ffda);
    assert_eq!(world.cpu.registers().rbx, 1, "upper halves are cleared");
    assert_eq!(world.rip(), RIP + 3);
}

#[test]
fn a_64_bit_hypercall_that_goes_on_later_finds_its_new_arguments() {
    let mut world = World::with(Assists {
        next_rip: true,
        decode: false,
    });
    world.scene(|block, registers| {
        go_long(block);
        block.control.exit_code = 0x81;
        block.control.next_rip = RIP + 3;
        block.save.cpl = 3;
        block.save.rax = 12;
        [registers.rdi, registers.rsi, registers.rdx] = [1, 2, 3];
        [registers.r10, registers.r8, registers.r9] = [4, 5, 6];
    });
    let Exit::Hypercall(call) = world.run(&[]) else {
        panic!("no hypercall");
    };
    assert_eq!(call.arguments, [1, 2, 3, 4, 5, 6]);
    assert!(!call.privileged);
    world
        .cpu
        .complete_hypercall(Outcome::Continue([10, 20, 30, 40, 50, 60]));
    let registers = *world.cpu.registers();
    assert_eq!((registers.rdi, registers.r10, registers.r9), (10, 40, 60));
    assert_eq!((registers.rip, registers.rax), (RIP, 12));
    world.cpu.complete_hypercall(Outcome::Return(7));
    assert_eq!(world.cpu.registers().rax, 12, "an exit is completed once");
}

#[test]
fn only_level_0_is_privileged_and_so_is_real_mode_but_not_virtual_8086_mode() {
    const VIRTUAL_8086: u64 = 1 << 17;
    const BIG: u16 = 1 << 10;
    // Privilege level, whether protection is on, flags, whether the code is 32-bit; whether a hypercall is allowed.
    #[rustfmt::skip]
    let rows = [
        (0, true,  0,            true,  true),
        (0, true,  0,            false, true),
        (1, true,  0,            true,  false),
        (2, true,  0,            true,  false),
        (3, true,  0,            true,  false),
        (3, true,  VIRTUAL_8086, false, false),
        (0, true,  VIRTUAL_8086, false, false),
        (0, false, 0,            false, true),
    ];
    for (level, protected, flags, big, allowed) in rows {
        let mut world = World::new();
        world.scene(move |block, registers| {
            block.control.exit_code = 0x81;
            block.save.cpl = level;
            block.save.cr0 = u64::from(protected);
            block.save.rflags = flags | 2;
            block.save.cs.attributes = if big { 0x9b | BIG } else { 0x9b };
            registers.rbx = 0xffff_ffff_0000_0001;
        });
        let Exit::Hypercall(call) = world.run(&[0x0f, 0x01, 0xd9]) else {
            panic!("no hypercall at level {level}");
        };
        let row = (level, protected, flags, big);
        assert_eq!((call.width, call.arguments[0]), (Width::Bits32, 1), "{row:?}");
        assert_eq!(call.privileged, allowed, "{row:?}");
    }
}

#[test]
fn ports_are_read_and_written_with_the_bytes_that_count() {
    let mut world = World::new();
    world.scene(|block, _| {
        block.control.exit_code = 0x7b;
        block.control.exit_info_1 = 0x03f8_0010;
        block.control.exit_info_2 = RIP + 1;
        block.save.rax = 0x1234;
    });
    let write = Exit::PortWrite {
        port: 0x3f8,
        bytes: 1,
        value: 0x34,
    };
    assert_eq!(world.run(&[]), write);
    world.cpu.complete_port(0);
    assert_eq!(world.rip(), RIP + 1);
    world.scene(|block, _| {
        block.control.exit_code = 0x7b;
        block.control.exit_info_1 = 0x03fd_0011;
        block.control.exit_info_2 = RIP + 2;
        block.save.rax = 0x1_0000_1234;
    });
    assert_eq!(
        world.run(&[]),
        Exit::PortRead {
            port: 0x3fd,
            bytes: 1
        }
    );
    world.cpu.complete_port(0xffff_ff60);
    assert_eq!(world.cpu.registers().rax, 0x1_0000_1260);
}

#[test]
fn a_repeated_string_output_gives_one_element_after_the_other() {
    let mut world = World::new();
    let ram = Ram::new(CODE, &[0xf3, 0x6e]);
    ram.write(GuestAddr::new(0x2000), b"hi").unwrap();
    for expected in *b"hi" {
        world.scene(|block, registers| {
            block.control.exit_code = 0x7b;
            block.control.exit_info_1 = 0x00e9_001c;
            block.control.exit_info_2 = RIP + 2;
            if registers.rsi == 0 {
                [registers.rsi, registers.rcx, registers.rdx] = [0x2000, 2, 0xe9];
            }
        });
        let exit = world.cpu.run(&ram, Instant::from_ns(1000));
        let value = u32::from(expected);
        assert_eq!(
            exit,
            Exit::PortWrite {
                port: 0xe9,
                bytes: 1,
                value
            }
        );
        world.cpu.complete_port(0);
    }
    assert_eq!(world.cpu.run(&ram, Instant::from_ns(1000)), Exit::Preempted);
    assert_eq!(world.rip(), RIP + 2);
    assert_eq!(world.cpu.registers().rsi, 0x2002);
}

#[test]
fn a_string_input_lands_in_memory_in_the_next_run() {
    let mut world = World::new();
    let ram = Ram::new(CODE, &[0x66, 0x6d]);
    world.scene(|block, registers| {
        block.control.exit_code = 0x7b;
        block.control.exit_info_1 = 0x01f0_0025;
        block.control.exit_info_2 = RIP + 2;
        [registers.rdi, registers.rdx] = [0x3000, 0x1f0];
    });
    assert_eq!(
        world.cpu.run(&ram, Instant::from_ns(1000)),
        Exit::PortRead {
            port: 0x1f0,
            bytes: 2
        }
    );
    world.cpu.complete_port(0xdead_beef);
    assert_eq!(world.cpu.run(&ram, Instant::from_ns(1000)), Exit::Preempted);
    assert_eq!(ram.0.borrow()[0x3000..0x3004], [0xef, 0xbe, 0, 0]);
    assert_eq!((world.cpu.registers().rdi, world.rip()), (0x3002, RIP + 2));
}

#[test]
fn what_no_instruction_did_is_not_finished_by_emulating_one() {
    for (info, cut_short) in [
        (1 << 33 | 7, 0),
        (1 << 32 | 1 << 4, 0),
        (1 << 32 | 2, encode(Event::Nmi)),
    ] {
        let mut world = World::new();
        let ram = Ram::new(CODE, &[0x8b, 0x0d, 0x00, 0x00, 0x50, 0x00]);
        world.scene(move |block, _| {
            block.control.exit_code = 0x400;
            block.control.exit_info_1 = info;
            block.control.exit_info_2 = 0x50_0000;
            block.control.exit_interrupt_info = cut_short;
        });
        let exit = world.cpu.run(&ram, Instant::from_ns(1000));
        assert!(matches!(exit, Exit::Unbacked { .. }), "{exit:?}");
        let ended = world.cpu.complete_unbacked(&ram);
        assert!(matches!(ended, Err(Exit::Unknown { .. })), "{ended:?}");
        assert_eq!(world.rip(), RIP);
    }
}

#[test]
fn the_local_apic_answers_in_its_page() {
    let mut world = World::new();
    let touch = |block: &mut Vmcb| {
        block.control.exit_code = 0x400;
        block.control.exit_info_1 = 1 << 32 | 4;
        block.control.exit_info_2 = 0xfee0_0030;
    };
    // mov 0xfee00030, %ebx: the version register.
    world.scene(move |block, _| touch(block));
    assert_eq!(world.run(&[0x8b, 0x1d, 0x30, 0x00, 0xe0, 0xfe]), Exit::Preempted);
    assert_eq!(world.cpu.registers().rbx, 0x5_0014);
    assert_eq!(world.rip(), RIP + 6);
    // movl $0x4500, 0xfee00300: INIT to whoever ICR2 names, which is for the hypervisor to route.
    world.scene(move |block, _| {
        block.save.rip = RIP;
        touch(block);
    });
    let exit = world.run(&[0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x00, 0x00]);
    assert!(
        matches!(
            exit,
            Exit::Ipi(Ipi {
                kind: IpiKind::Init,
                ..
            })
        ),
        "{exit:?}"
    );
    assert_eq!(world.rip(), RIP + 10);
}

#[test]
fn the_lower_half_of_a_task_priority_survives_exits() {
    let mut world = World::new();
    let touch = |block: &mut Vmcb| {
        block.save.rip = RIP;
        block.control.exit_code = 0x400;
        block.control.exit_info_1 = 1 << 32 | 4;
        block.control.exit_info_2 = 0xfee0_0080;
    };
    // movl $0x57, 0xfee00080, then mov 0xfee00080, %ebx.
    let write = [0xc7, 0x05, 0x80, 0x00, 0xe0, 0xfe, 0x57, 0x00, 0x00, 0x00];
    let read = [0x8b, 0x1d, 0x80, 0x00, 0xe0, 0xfe];
    world.scene(move |block, _| touch(block));
    assert_eq!(world.run(&write), Exit::Preempted);
    world.scene(move |block, _| {
        assert_eq!(block.control.virtual_interrupt & 0xff, 5);
        touch(block);
    });
    assert_eq!(world.run(&read), Exit::Preempted);
    assert_eq!(world.cpu.registers().rbx, 0x57);
    // The guest writes CR8, which is the class and nothing below.
    world.scene(move |block, _| {
        block.control.virtual_interrupt = block.control.virtual_interrupt & !0xff | 6;
        touch(block);
    });
    assert_eq!(world.run(&read), Exit::Preempted);
    assert_eq!(world.cpu.registers().rbx, 0x60);
}

#[test]
fn an_access_to_nothing_is_finished_as_on_an_empty_bus() {
    let mut world = World::new();
    // mov 0x500000, %ecx
    let ram = Ram::new(CODE, &[0x8b, 0x0d, 0x00, 0x00, 0x50, 0x00]);
    world.scene(|block, _| {
        block.control.exit_code = 0x400;
        block.control.exit_info_1 = 1 << 32 | 4;
        block.control.exit_info_2 = 0x50_0000;
    });
    let fault = Exit::Unbacked {
        at: GuestAddr::new(0x50_0000),
        access: Access::Read,
    };
    assert_eq!(world.cpu.run(&ram, Instant::from_ns(1000)), fault);
    assert_eq!(world.cpu.complete_unbacked(&ram), Ok(()));
    assert_eq!(world.cpu.registers().rcx, 0xffff_ffff);
    assert_eq!(world.rip(), RIP + 6);
}

#[test]
fn instructions_of_the_virtualisation_itself_do_not_exist_for_the_guest() {
    let mut world = World::new();
    for code in [0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x7a] {
        world.exits(code);
        world.scene(move |block, _| {
            let undefined = Event::Exception {
                vector: 6,
                code: None,
            };
            assert_eq!(injected(block), Some(undefined), "{code:#x}");
            block.control.exit_code = 0x60;
        });
        assert_eq!(world.run(&[]), Exit::Preempted);
        assert_eq!(world.rip(), RIP);
    }
}

#[test]
fn a_refused_block_and_an_unknown_exit_end_the_guest_and_say_why() {
    let mut world = World::new();
    world.scene(|block, _| {
        block.save.cr0 |= 1 << 29;
        block.control.exit_code = u64::MAX;
    });
    let exit = world.run(&[]);
    assert!(matches!(exit, Exit::Unknown { code: u64::MAX, .. }), "{exit:?}");
    assert!(world.stage.lock().unwrap().log.contains("CR0.NW without CR0.CD"));
    let mut world = World::new();
    world.exits(0x402);
    let unknown = Exit::Unknown {
        code: 0x402,
        information: 0,
        instruction: RIP,
    };
    assert_eq!(world.run(&[]), unknown);
    let mut world = World::new();
    world.exits(0x7f);
    assert_eq!(world.run(&[]), Exit::Shutdown);
}

#[test]
fn no_exit_code_and_no_information_makes_the_host_panic() {
    for code in (0..0x500).chain([u64::MAX, u64::MAX - 1, u64::MAX - 2]) {
        for info in [0, 1, 0x10, u64::MAX] {
            let mut world = World::new();
            world.scene(move |block, registers| {
                block.control.exit_code = code;
                block.control.exit_info_1 = info;
                block.control.exit_info_2 = info;
                block.control.exit_interrupt_info = info;
                registers.rcx = info;
            });
            let exit = world.cpu.run(&Ram::new(0, &[]), Instant::from_ns(50));
            if let Exit::Unbacked { .. } = exit {
                let _ = world.cpu.complete_unbacked(&Ram::new(0, &[]));
            }
            world.cpu.complete_port(u32::MAX);
            world.cpu.complete_hypercall(Outcome::Return(0));
        }
    }
}

#[test]
fn bytes_that_the_processor_fetched_are_taken_for_an_access_to_nothing_alone() {
    let mut world = World::with(Assists {
        next_rip: false,
        decode: true,
    });
    // mov 0x500000, %ecx, told by the processor: there is nothing in memory.
    let bytes = [0x8b, 0x0d, 0x00, 0x00, 0x50, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    world.scene(move |block, _| {
        block.control.exit_code = 0x400;
        block.control.exit_info_1 = 1 << 32 | 4;
        block.control.exit_info_2 = 0x50_0000;
        block.control.fetched = 15;
        block.control.instruction = bytes;
    });
    let ram = Ram::new(0, &[]);
    assert!(matches!(
        world.cpu.run(&ram, Instant::from_ns(1000)),
        Exit::Unbacked { .. }
    ));
    assert_eq!(world.cpu.complete_unbacked(&ram), Ok(()));
    assert_eq!((world.cpu.registers().rcx, world.rip()), (0xffff_ffff, RIP + 6));
    // The same bytes left over mean nothing at another exit.
    world.scene(|block, _| {
        block.save.rip = RIP;
        block.control.exit_code = 0x78;
    });
    assert_eq!(world.run(&[0xf4]), Exit::Halt);
    assert_eq!(world.rip(), RIP + 1);
}
