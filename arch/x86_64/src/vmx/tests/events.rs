//! Interrupts, exceptions and their order; stepping; starting.

use super::*;

const INTERRUPT_WINDOW: u64 = 1 << 2;
const NMI_WINDOW: u64 = 1 << 22;
const IF: u64 = 1 << 9;
const TF: u64 = 1 << 8;
const BS: u64 = 1 << 14;

#[test]
fn the_upcall_is_injected_when_interrupts_are_enabled_and_awaited_when_not() {
    let mut world = World::new();
    world.cpu.set_upcall_line(Some(Vector::new(0xf3)));
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), None);
        assert_ne!(guest.primary() & INTERRUPT_WINDOW, 0);
        guest.set(guest::RFLAGS, IF | 2);
        guest.exits(7);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.cpu.set_upcall_line(Some(Vector::new(0xf3)));
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), Some(Event::Interrupt(Vector::new(0xf3))));
        assert_eq!(guest.primary() & INTERRUPT_WINDOW, 0);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), None, "once");
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_interrupt_whose_delivery_was_cut_short_is_delivered_again() {
    let mut world = World::new();
    world.scene(|guest, _| {
        guest.set(guest::RFLAGS, IF | 2);
        guest.exits(48);
        guest.set(ro::EXIT_QUALIFICATION, 0x182);
        guest.set(ro::GUEST_PHYSICAL_ADDR_FULL, 0x5_0000);
        guest.set(ro::IDT_VECTORING_INFO, 0x8000_0041);
    });
    let fault = Exit::Unbacked {
        at: GuestAddr::new(0x5_0000),
        access: Access::ReadWrite,
    };
    assert_eq!(world.run(&[]), fault);
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), Some(Event::Interrupt(Vector::new(0x41))));
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_exception_whose_delivery_was_cut_short_is_delivered_again_with_its_code() {
    let mut world = World::new();
    world.scene(|guest, _| {
        guest.exits(48);
        guest.set(ro::EXIT_QUALIFICATION, 0x182);
        guest.set(ro::GUEST_PHYSICAL_ADDR_FULL, 0x5_0000);
        guest.set(ro::IDT_VECTORING_INFO, 0x8000_0b0d);
        guest.set(ro::IDT_VECTORING_ERR_CODE, 0x18);
    });
    assert!(matches!(world.run(&[]), Exit::Unbacked { .. }));
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), Some(exception(13, Some(0x18))));
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn what_the_guest_does_again_by_itself_is_not_delivered_again() {
    // INT 0x80, INT1, INT3.
    for information in [0x8000_0480, 0x8000_0501, 0x8000_0603] {
        let mut world = World::new();
        world.scene(move |guest, _| {
            guest.exits(48);
            guest.set(ro::GUEST_PHYSICAL_ADDR_FULL, 0x5_0000);
            guest.set(ro::IDT_VECTORING_INFO, information);
        });
        assert!(matches!(world.run(&[]), Exit::Unbacked { .. }));
        world.scene(|guest, _| {
            assert_eq!(guest.injected(), None);
            guest.exits(1);
        });
        assert_eq!(world.run(&[]), Exit::Preempted);
        assert_eq!(world.rip(), RIP);
    }
}

#[test]
fn a_second_non_maskable_interrupt_waits_for_the_end_of_the_first() {
    let mut world = World::new();
    world.cpu.raise_nmi();
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), Some(Event::Nmi));
        assert_eq!(guest.primary() & NMI_WINDOW, 0);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.cpu.raise_nmi();
    world
        .scene(|guest, _| {
            assert_eq!(guest.injected(), None);
            assert_ne!(guest.primary() & NMI_WINDOW, 0);
            guest.set(guest::INTERRUPTIBILITY_STATE, 0);
            guest.exits(8);
        })
        .scene(|guest, _| {
            assert_eq!(guest.injected(), Some(Event::Nmi));
            assert_eq!(guest.primary() & NMI_WINDOW, 0);
            guest.exits(1);
        });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn a_non_maskable_interrupt_whose_delivery_was_cut_short_is_not_blocked_by_itself() {
    let mut world = World::new();
    world.cpu.raise_nmi();
    world.scene(|guest, _| {
        assert_ne!(guest.get(guest::INTERRUPTIBILITY_STATE) & BY_NMI, 0);
        guest.exits(48);
        guest.set(ro::EXIT_QUALIFICATION, 0x182);
        guest.set(ro::GUEST_PHYSICAL_ADDR_FULL, 0x5_0000);
        guest.set(ro::IDT_VECTORING_INFO, 0x8000_0202);
    });
    assert!(matches!(world.run(&[]), Exit::Unbacked { .. }));
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), Some(Event::Nmi));
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_iret_that_an_exit_has_struck_leaves_the_handlers_block_as_it_was() {
    for (reason, field, value) in [
        (48, ro::EXIT_QUALIFICATION, 0x182 | 1 << 12),
        (0, ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0b11 | 1 << 12),
    ] {
        let mut world = World::new();
        world.scene(move |guest, _| {
            guest.exits(reason);
            guest.set(field, value);
            guest.set(ro::VMEXIT_INTERRUPTION_ERR_CODE, 0);
            guest.set(ro::GUEST_PHYSICAL_ADDR_FULL, 0x5_0000);
        });
        let _ = world.run(&[]);
        world.cpu.raise_nmi();
        world.scene(|guest, _| {
            assert_eq!(guest.injected(), None);
            guest.exits(1);
        });
        assert_eq!(world.run(&[]), Exit::Preempted);
    }
}

#[test]
fn a_step_over_an_instruction_ends_its_shadow_and_traps_when_single_stepping() {
    let mut world = World::new();
    world
        .scene(|guest, _| {
            guest.exits(10);
            guest.set(ro::VMEXIT_INSTRUCTION_LEN, 2);
            guest.set(guest::INTERRUPTIBILITY_STATE, 2);
            guest.set(guest::PENDING_DBG_EXCEPTIONS, BS);
            guest.set(guest::RFLAGS, TF | 2);
        })
        .scene(|guest, _| {
            assert_eq!(guest.injected(), Some(exception(1, None)));
            assert_ne!(guest.kept[place(Kept::Dr6)] & BS, 0);
            guest.exits(1);
        });
    assert_eq!(world.run(&[0x0f, 0xa2]), Exit::Preempted);
    assert_eq!(world.rip(), RIP + 2);
}

#[test]
fn a_debug_exception_behind_mov_ss_in_a_guest_that_steps_is_one_that_an_entry_takes() {
    // A breakpoint on the instruction in the shadow: the exit has used up the pending step, and the shadow stays.
    for shadow in [1, 2] {
        let mut world = World::new();
        world
            .scene(move |guest, _| {
                guest.exits(0);
                guest.set(ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0301);
                guest.set(ro::EXIT_QUALIFICATION, 1);
                guest.set(guest::INTERRUPTIBILITY_STATE, shadow);
                guest.set(guest::RFLAGS, TF | IF | 2);
            })
            .scene(|guest, _| {
                assert_eq!(guest.injected(), Some(exception(1, None)));
                assert_eq!(guest.kept[place(Kept::Dr6)] & 0xf, 1);
                guest.exits(1);
            });
        assert_eq!(world.run(&[]), Exit::Preempted);
    }
}

#[test]
fn int1_traps_behind_itself() {
    let mut world = World::new();
    world
        .scene(|guest, _| {
            guest.exits(0);
            guest.set(ro::VMEXIT_INTERRUPTION_INFO, 0x8000_0501);
            guest.set(ro::VMEXIT_INSTRUCTION_LEN, 1);
        })
        .scene(|guest, _| {
            assert_eq!(guest.injected(), Some(exception(1, None)));
            assert_eq!(guest.get(guest::RIP), RIP + 1);
            guest.exits(1);
        });
    assert_eq!(world.run(&[0xf1]), Exit::Preempted);
}

#[test]
fn real_mode_gets_exceptions_without_an_error_code() {
    let mut world = World::new();
    world
        .scene(|guest, _| {
            guest.set(guest::CR0, 0x30);
            guest.exits(15);
        })
        .scene(|guest, _| {
            assert_eq!(guest.injected(), Some(exception(13, None)));
            guest.exits(1);
        });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn a_start_up_leads_to_real_mode_and_the_processor_takes_it() {
    let mut world = World::new();
    let send = |kind| Ipi {
        from: VcpuId::new(0),
        to: IpiTarget::Physical(0),
        kind,
    };
    assert!(!world.cpu.receive_ipi(&send(IpiKind::Init)));
    assert!(world.cpu.receive_ipi(&send(IpiKind::Startup { page: 9 })));
    world.scene(|guest, _| {
        assert_eq!(guest.get(guest::CS_BASE), 0x9000);
        assert_eq!(guest.get(guest::CS_SELECTOR), 0x900);
        assert_eq!(guest.get(guest::RIP), 0);
        assert_eq!(guest.get(control::CR0_READ_SHADOW) & 1, 0);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn an_interrupt_below_the_task_priority_is_awaited_by_a_threshold() {
    let mut world = World::new();
    let write = |world: &World, msr: u64, value: u64| {
        world.scene(move |guest, registers| {
            guest.exits(32);
            guest.set(ro::VMEXIT_INSTRUCTION_LEN, 2);
            guest.set(guest::RFLAGS, IF | 2);
            registers.rcx = msr;
            registers.rax = value;
            registers.rdx = 0;
        });
    };
    // As an x2APIC, enabled; then CR8 becomes 6.
    write(&world, 0x1b, 0xfee0_0d00);
    write(&world, 0x80f, 0x1ff);
    world.scene(|guest, _| {
        guest.task_priority = 0x60;
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    world.cpu.raise(Vector::new(0x41));
    world
        .scene(|guest, _| {
            assert_eq!(guest.injected(), None);
            assert_eq!(guest.get(control::TPR_THRESHOLD), 4);
            guest.task_priority = 0x30;
            guest.exits(43);
        })
        .scene(|guest, _| {
            assert_eq!(guest.injected(), Some(Event::Interrupt(Vector::new(0x41))));
            assert_eq!(guest.get(control::TPR_THRESHOLD), 0);
            guest.exits(1);
        });
    assert_eq!(world.run(&[]), Exit::Preempted);
}
