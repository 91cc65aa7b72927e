//! Hypercalls, ports, memory that is not there, and exits that end the guest.

use super::*;

#[test]
fn a_hypercall_is_stepped_over_by_the_length_that_the_processor_tells() {
    let mut world = World::new();
    world.scene(|guest, registers| {
        guest.exits(18);
        guest.set(ro::VMEXIT_INSTRUCTION_LEN, 3);
        registers.rax = 0xffff_ffff_0000_0011;
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
    assert_eq!(world.run(&[]), Exit::Hypercall(call));
    world.cpu.complete_hypercall(Outcome::Return(7));
    assert_eq!((world.cpu.registers().rax, world.rip()), (7, RIP + 3));
}

#[test]
fn a_byte_for_a_port_goes_out_and_the_guest_goes_on_behind() {
    let mut world = World::new();
    world.scene(|guest, registers| {
        guest.exits(30);
        guest.set(ro::EXIT_QUALIFICATION, 0x03f8_0000);
        guest.set(ro::VMEXIT_INSTRUCTION_LEN, 1);
        registers.rax = 0x1234;
    });
    let write = Exit::PortWrite {
        port: 0x3f8,
        bytes: 1,
        value: 0x34,
    };
    assert_eq!(world.run(&[0xee]), write);
    world.cpu.complete_port(0);
    assert_eq!(world.rip(), RIP + 1);
}

#[test]
fn an_access_to_nothing_is_finished_as_on_an_empty_bus() {
    let mut world = World::new();
    // mov 0x500000, %ecx
    let ram = Ram::new(&[0x8b, 0x0d, 0x00, 0x00, 0x50, 0x00]);
    world.scene(|guest, _| {
        guest.exits(48);
        guest.set(ro::EXIT_QUALIFICATION, 0x181);
        guest.set(ro::GUEST_PHYSICAL_ADDR_FULL, 0x50_0000);
    });
    let fault = Exit::Unbacked {
        at: GuestAddr::new(0x50_0000),
        access: Access::Read,
    };
    assert_eq!(world.cpu.run(&ram, Instant::from_ns(1000)), fault);
    assert_eq!(world.cpu.complete_unbacked(&ram), Ok(()));
    assert_eq!((world.cpu.registers().rcx, world.rip()), (0xffff_ffff, RIP + 6));
}

#[test]
fn instructions_of_the_virtualisation_itself_do_not_exist_for_the_guest() {
    for reason in (19..=27).chain([11, 36, 39, 50, 53, 59]) {
        let mut world = World::new();
        world.scene(move |guest, _| guest.exits(reason));
        world.scene(move |guest, _| {
            assert_eq!(guest.injected(), Some(exception(6, None)), "{reason}");
            guest.exits(1);
        });
        assert_eq!(world.run(&[]), Exit::Preempted);
        assert_eq!(world.rip(), RIP);
    }
}

#[test]
fn an_entry_that_the_processor_refuses_ends_the_guest_and_is_explained() {
    let mut world = World::new();
    world.scene(|guest, _| {
        guest.set(guest::RFLAGS, 0);
        guest.exits(0x8000_0021);
    });
    let exit = world.run(&[]);
    assert!(
        matches!(
            exit,
            Exit::Unknown {
                code: 0x8000_0021,
                ..
            }
        ),
        "{exit:?}"
    );
    let log = world.stage.lock().unwrap().log.clone();
    assert!(log.contains("the guest's state is not valid"), "{log}");
    assert!(log.contains("guest RFLAGS is 0x0"), "{log}");

    let mut world = World::new();
    world.scene(|guest, _| {
        guest.set(control::VPID, 0);
        guest.fails = Some(NotEntered::Valid(7));
    });
    assert!(matches!(world.run(&[]), Exit::Unknown { .. }));
    let log = world.stage.lock().unwrap().log.clone();
    assert!(log.contains("error 7") && log.contains("VPID"), "{log}");
}

#[test]
fn tables_that_mean_nothing_end_the_guest_and_the_place_is_logged() {
    let mut world = World::new();
    world.scene(|guest, _| {
        guest.exits(49);
        guest.set(ro::GUEST_PHYSICAL_ADDR_FULL, 0x1234_5000);
    });
    assert!(matches!(world.run(&[]), Exit::Unknown { code: 49, .. }));
    let log = world.stage.lock().unwrap().log.clone();
    assert!(log.contains("0x12345000"), "{log}");
}

#[test]
fn a_triple_fault_is_one() {
    let mut world = World::new();
    world.scene(|guest, _| guest.exits(2));
    assert_eq!(world.run(&[]), Exit::Shutdown);
}

#[test]
fn no_exit_reason_and_no_information_makes_the_host_panic() {
    for reason in (0..80).chain([0x8000_0021, 0x8000_0022, 0x8000_0029, u64::MAX]) {
        for information in [0, 1, 0x10, 0x8000_0b0e, 0x8000_0202, 0x8000_0501, u64::MAX] {
            let mut world = World::new();
            // What no processor tells may lead to what no processor takes.
            world.stage.lock().unwrap().refuses = true;
            world.scene(move |guest, registers| {
                guest.exits(reason);
                for field in [
                    ro::EXIT_QUALIFICATION,
                    ro::VMEXIT_INTERRUPTION_INFO,
                    ro::VMEXIT_INTERRUPTION_ERR_CODE,
                    ro::IDT_VECTORING_INFO,
                    ro::IDT_VECTORING_ERR_CODE,
                    ro::VMEXIT_INSTRUCTION_LEN,
                    ro::GUEST_PHYSICAL_ADDR_FULL,
                ] {
                    guest.set(field, information);
                }
                registers.rcx = information;
            });
            let exit = world.cpu.run(&Ram::new(&[]), Instant::from_ns(50));
            if let Exit::Unbacked { .. } = exit {
                let _ = world.cpu.complete_unbacked(&Ram::new(&[]));
            }
            world.cpu.complete_port(u32::MAX);
            world.cpu.complete_hypercall(Outcome::Return(0));
        }
    }
}
