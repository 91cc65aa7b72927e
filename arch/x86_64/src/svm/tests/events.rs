//! Interrupts, exceptions and their order; starting; time.

use super::*;

#[test]
fn the_upcall_is_injected_when_interrupts_are_enabled_and_awaited_when_not() {
    let mut world = World::new();
    world.cpu.set_upcall_line(Some(Vector::new(0xf3)));
    assert!(!world.cpu.interruptible_and_pending());
    world.scene(|block, _| {
        assert_eq!(injected(block), None);
        assert_ne!(block.control.intercept_first & first::INTERRUPT_WINDOW, 0);
        assert_ne!(block.control.virtual_interrupt & 1 << 8, 0, "V_IRQ");
        block.save.rflags |= 1 << 9;
        block.control.exit_code = 0x64;
    });
    // The window is open; but by now the cause may be gone, so the line is asked about again.
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.cpu.set_upcall_line(Some(Vector::new(0xf3)));
    assert!(world.cpu.interruptible_and_pending());
    world.scene(|block, _| {
        assert_eq!(injected(block), Some(Event::Interrupt(Vector::new(0xf3))));
        assert_eq!(block.control.intercept_first & first::INTERRUPT_WINDOW, 0);
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    assert!(!world.cpu.interruptible_and_pending(), "the line is used up");
}

#[test]
fn an_upcall_through_the_apic_waits_until_the_guest_enables_the_apic() {
    let mut world = World::with(Assists {
        next_rip: true,
        decode: false,
    });
    world.cpu.raise(Vector::new(0xf3));
    world.scene(|block, registers| {
        assert_eq!(injected(block), None);
        block.save.rflags |= 1 << 9;
        // As an x2APIC: MSR 0x1b, then the spurious-vector register enables it.
        block.control.exit_code = 0x7c;
        block.control.exit_info_1 = 1;
        block.save.rax = 0xfee0_0d00;
        registers.rcx = 0x1b;
    });
    world.scene(|block, registers| {
        assert_eq!(injected(block), None);
        block.control.exit_code = 0x7c;
        block.control.exit_info_1 = 1;
        block.save.rax = 0x1ff;
        registers.rcx = 0x80f;
    });
    world.scene(|block, _| {
        assert_eq!(injected(block), Some(Event::Interrupt(Vector::new(0xf3))));
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_interrupt_whose_delivery_was_cut_short_is_delivered_again() {
    let mut world = World::new();
    let event = Event::Interrupt(Vector::new(0x41));
    world.scene(move |block, _| {
        block.save.rflags |= 1 << 9;
        block.control.exit_code = 0x400;
        block.control.exit_info_1 = 1 << 32 | 2;
        block.control.exit_info_2 = 0x5_0000;
        block.control.exit_interrupt_info = encode(event);
    });
    let fault = Exit::Unbacked {
        at: GuestAddr::new(0x5_0000),
        access: Access::ReadWrite,
    };
    assert_eq!(world.run(&[]), fault);
    world.scene(move |block, _| {
        assert_eq!(injected(block), Some(event));
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_interrupt_that_is_offered_and_not_taken_is_offered_again() {
    let mut world = World::new();
    let event = Some(Event::Interrupt(Vector::new(0xf3)));
    world.cpu.set_upcall_line(Some(Vector::new(0xf3)));
    world.stage.lock().unwrap().comes_before = true;
    world.scene(move |block, _| {
        block.save.rflags |= 1 << 9;
        block.control.exit_code = 0x78;
        block.control.next_rip = RIP;
    });
    assert_eq!(world.run(&[0xf4]), Exit::Halt);
    world.scene(move |block, _| {
        assert_eq!((injected(block), block.control.event_injection), (event, 0));
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.scene(move |block, _| {
        assert_eq!(injected(block), event, "the interrupt of the machine came before");
        // Now it is on its way, but its frame meets a page that is not there. Some processors leave V_IRQ set.
        block.control.exit_code = 0x400;
        block.control.exit_info_1 = 1 << 32 | 2;
        block.control.exit_info_2 = 0x5_0000;
        block.control.exit_interrupt_info = 0x8000_03f3;
    });
    world.stage.lock().unwrap().comes_before = true;
    let fault = Exit::Unbacked {
        at: GuestAddr::new(0x5_0000),
        access: Access::ReadWrite,
    };
    assert_eq!(world.run(&[]), fault);
    world.scene(move |block, _| {
        assert_eq!(injected(block), event);
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.scene(move |block, _| {
        assert_eq!(injected(block), None, "it was taken");
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_interrupt_with_another_behind_it_leaves_the_virtual_one_to_the_window() {
    let mut world = World::new();
    world.cpu.set_upcall_line(Some(Vector::new(0xf3)));
    enable_apic(&mut world);
    world.cpu.raise(Vector::new(0x41));
    world.scene(|block, _| {
        assert_eq!(
            decode(block.control.event_injection),
            Some(Event::Interrupt(Vector::new(0xf3)))
        );
        assert_ne!(block.control.intercept_first & first::INTERRUPT_WINDOW, 0);
        assert_ne!(block.control.virtual_interrupt & V_IRQ, 0);
        block.save.rflags &= !(1 << 9);
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

/// Switches the local APIC on, as an x2APIC, with interrupts off; leaves them on.
fn enable_apic(world: &mut World) {
    for (msr, value) in [(0x1b, 0xfee0_0d00), (0x80f, 0x1ff)] {
        world.scene(move |block, registers| {
            block.control.exit_code = 0x7c;
            block.control.exit_info_1 = 1;
            block.save.rip = RIP;
            block.save.rax = value;
            registers.rcx = msr;
        });
    }
    world.scene(|block, _| {
        block.save.rip = RIP;
        block.save.rflags |= 1 << 9;
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[0x0f, 0x30]), Exit::Preempted);
}

#[test]
fn an_interrupt_that_an_exception_overtakes_is_not_lost() {
    let mut world = World::new();
    let interrupt = Event::Interrupt(Vector::new(0x41));
    let alignment = Event::Exception {
        vector: 17,
        code: Some(0),
    };
    world
        .scene(move |block, _| {
            // An alignment check while the interrupt was on its way.
            block.save.rflags |= 1 << 9;
            block.control.exit_code = 0x51;
            block.control.exit_interrupt_info = encode(interrupt);
        })
        .scene(move |block, _| {
            assert_eq!(injected(block), Some(alignment));
            // Its handler begins, with interrupts off; an exit of no importance.
            block.save.rflags &= !(1 << 9);
            block.control.exit_code = 0x7e;
        })
        .scene(move |block, _| {
            assert_eq!(injected(block), None);
            block.save.rflags |= 1 << 9;
            block.control.exit_code = 0x64;
        })
        .scene(move |block, _| {
            assert_eq!(injected(block), Some(interrupt));
            block.control.exit_code = 0x60;
        });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn a_second_non_maskable_interrupt_waits_for_the_end_of_the_first() {
    let mut world = World::new();
    world.cpu.raise_nmi();
    world.scene(|block, _| {
        assert_eq!(injected(block), Some(Event::Nmi));
        assert_ne!(block.control.intercept_first & first::IRET, 0);
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.cpu.raise_nmi();
    world
        .scene(|block, _| {
            assert_eq!(injected(block), None);
            block.control.exit_code = 0x74;
        })
        .scene(|block, _| {
            // The IRET itself is still to be done.
            assert_eq!(injected(block), None);
            assert_eq!(block.control.interrupt_shadow, 1);
            block.control.interrupt_shadow = 0;
            block.control.exit_code = 0x72;
        })
        .scene(|block, _| {
            assert_eq!(injected(block), Some(Event::Nmi));
            block.control.exit_code = 0x60;
        });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn a_step_over_an_instruction_ends_its_shadow_and_traps_when_single_stepping() {
    let mut world = World::new();
    world
        .scene(|block, _| {
            block.control.exit_code = 0x72;
            block.control.interrupt_shadow = 1;
            block.save.rflags |= 1 << 8;
        })
        .scene(|block, _| {
            assert_eq!(block.control.interrupt_shadow, 0);
            assert_eq!(
                injected(block),
                Some(Event::Exception {
                    vector: 1,
                    code: None
                })
            );
            assert_ne!(block.save.dr6 & 1 << 14, 0, "BS");
            block.control.exit_code = 0x60;
        });
    assert_eq!(world.run(&[0x0f, 0xa2]), Exit::Preempted);
}

#[test]
fn a_run_ends_at_its_time_and_asks_to_be_woken_then() {
    let mut world = World::new();
    let late = Instant::from_ns(500);
    assert_eq!(world.cpu.run(&Ram::new(0, &[]), late), Exit::Preempted);
    assert_eq!(world.stage.lock().unwrap().woken_at, Some(late));
    assert_eq!(world.cpu.run(&Ram::new(0, &[]), Instant::ZERO), Exit::Preempted);
}

#[test]
fn only_a_vcpu_that_waits_for_it_takes_a_start_up() {
    let mut world = World::new();
    let send = |kind| Ipi {
        from: VcpuId::new(0),
        to: IpiTarget::Physical(0),
        kind,
    };
    assert!(!world.cpu.receive_ipi(&send(IpiKind::Startup { page: 9 })));
    assert_eq!(world.rip(), RIP);
    assert!(!world.cpu.receive_ipi(&send(IpiKind::Init)));
    assert!(world.cpu.receive_ipi(&send(IpiKind::Startup { page: 9 })));
    world.scene(|block, _| {
        assert_eq!(block.save.cs.base, 0x9000);
        assert_eq!(block.save.cs.selector, 0x900);
        assert_eq!((block.save.rip, block.save.cr0), (0, 0x10));
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn real_mode_gets_exceptions_without_an_error_code() {
    let mut world = World::new();
    world
        .scene(|block, _| {
            block.save.cr0 = 0x10;
            block.control.exit_code = 0x6f;
        })
        .scene(|block, _| {
            assert_eq!(
                injected(block),
                Some(Event::Exception {
                    vector: 13,
                    code: None
                })
            );
            block.control.exit_code = 0x60;
        });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_interrupt_to_its_sender_arrives_there_however_it_is_addressed() {
    // In an x2APIC; the id of vcpu 0 is 0, its logical id 1. The first is for the sender alone, the others are not.
    let nmi = Event::Nmi;
    let fixed = Event::Interrupt(Vector::new(0x41));
    for (command, event, is_passed_on) in [
        (0x4041_u64, fixed, false),
        (0x4141, fixed, false),
        (0x1_0000_4841, fixed, true),
        (0x8_4041, fixed, true),
        (0x4_4041, fixed, false),
        (0x4400, nmi, false),
        (0x4_4400, nmi, false),
    ] {
        let mut world = World::new();
        let write = |world: &World, msr: u64, value: u64| {
            world.scene(move |block, registers| {
                block.control.exit_code = 0x7c;
                block.control.exit_info_1 = 1;
                block.save.rip = RIP;
                block.save.rflags |= 1 << 9;
                registers.rcx = msr;
                block.save.rax = value & 0xffff_ffff;
                registers.rdx = value >> 32;
            });
        };
        write(&world, 0x1b, 0xfee0_0d00);
        write(&world, 0x80f, 0x1ff);
        write(&world, 0x830, command);
        world.scene(move |block, _| {
            assert_eq!(injected(block), Some(event), "{command:#x}");
            block.control.exit_code = 0x60;
        });
        let exit = world.run(&[0x0f, 0x30]);
        assert_eq!(
            matches!(exit, Exit::Ipi(_)),
            is_passed_on,
            "{command:#x}: {exit:?}"
        );
        if is_passed_on {
            assert_eq!(world.run(&[0x0f, 0x30]), Exit::Preempted);
        }
    }
}
