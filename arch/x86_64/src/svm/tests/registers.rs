//! CPUID, control registers and MSRs.

use super::*;

#[test]
fn cpuid_is_answered_inside_and_stepped_over() {
    let mut world = World::new();
    world.scene(|block, _| {
        block.save.rax = 0x4000_0000;
        block.control.exit_code = 0x72;
    });
    // With a prefix, so that a fixed length would be wrong.
    assert_eq!(world.run(&[0x66, 0x0f, 0xa2]), Exit::Preempted);
    let registers = world.cpu.registers();
    assert_eq!(registers.rbx, 0x566e_6558, "XenV");
    assert_eq!(registers.rip, RIP + 3);
}

#[test]
fn a_hypercall_page_is_written_only_where_there_is_memory() {
    let mut world = World::new();
    let ram = Ram::new(CODE, &[0x0f, 0x30]);
    let ask = |gfn: u64| {
        move |block: &mut Vmcb, registers: &mut Registers| {
            block.control.exit_code = 0x7c;
            block.control.exit_info_1 = 1;
            block.save.rip = RIP;
            block.save.rax = gfn << 12;
            [registers.rcx, registers.rdx] = [0x4000_0000, 0];
        }
    };
    world.scene(ask(2));
    let asked = world.cpu.run(&ram, Instant::from_ns(1000));
    assert_eq!(asked, Exit::HypercallPage(Width::Bits32));
    assert_eq!(ram.0.borrow()[0x2000..0x2006], [0xb8, 0, 0, 0, 0, 0x0f]);
    assert_eq!(ram.0.borrow()[0x2007], 0xd9, "VMMCALL");
    assert_eq!(world.rip(), RIP + 2);
    world.scene(ask(0x800)).scene(|block, _| {
        let protection = Event::Exception {
            vector: 13,
            code: Some(0),
        };
        assert_eq!(injected(block), Some(protection));
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.cpu.run(&ram, Instant::from_ns(1000)), Exit::Preempted);
    assert_eq!(world.rip(), RIP);
}

#[test]
fn who_asks_for_a_hypercall_page_tells_how_wide_its_code_is() {
    for (long, width) in [(false, Width::Bits32), (true, Width::Bits64)] {
        let mut world = World::with(Assists {
            next_rip: true,
            decode: false,
        });
        world.scene(move |block, registers| {
            if long {
                go_long(block);
            }
            block.control.exit_code = 0x7c;
            block.control.exit_info_1 = 1;
            block.control.next_rip = RIP + 2;
            block.save.rax = 2 << 12;
            [registers.rcx, registers.rdx] = [0x4000_0000, 0];
        });
        assert_eq!(world.run(&[]), Exit::HypercallPage(width));
        assert_eq!(world.rip(), RIP + 2);
    }
}

#[test]
fn cr4_takes_what_cpuid_shows_and_forgets_translations() {
    let mut world = World::new();
    let before = world.stage.lock().unwrap().flushes;
    world.scene(|block, registers| {
        block.control.exit_code = 0x14;
        // What QEMU says there is wrong: the register is in the instruction.
        block.control.exit_info_1 = 7;
        registers.rbx = 0x20;
    });
    assert_eq!(world.run(&[0x0f, 0x22, 0xe3]), Exit::Preempted);
    assert_eq!(world.rip(), RIP + 3);
    assert_eq!(world.stage.lock().unwrap().flushes, before + 1);
    world
        .scene(|block, registers| {
            assert_eq!(block.save.cr4, 0x20);
            block.control.exit_code = 0x14;
            block.save.rip = RIP;
            registers.rbx = 1 << 13;
        })
        .scene(|block, _| {
            let protection = Event::Exception {
                vector: 13,
                code: Some(0),
            };
            assert_eq!(injected(block), Some(protection), "VMXE");
            assert_eq!(block.save.cr4, 0x20);
            block.control.exit_code = 0x60;
        });
    assert_eq!(world.run(&[0x0f, 0x22, 0xe3]), Exit::Preempted);
}

#[test]
fn efer_keeps_svme_where_the_guest_cannot_see_it() {
    let mut world = World::new();
    let write = |low: u64| {
        move |block: &mut Vmcb, registers: &mut Registers| {
            block.control.exit_code = 0x7c;
            block.control.exit_info_1 = 1;
            block.save.rip = RIP;
            block.save.rax = low;
            [registers.rcx, registers.rdx] = [0xc000_0080, 0];
        }
    };
    world.scene(write(0x901)).scene(|block, _| {
        assert_eq!(block.save.efer, 0x1901);
        block.control.exit_code = 0x60;
    });
    assert_eq!(world.run(&[0x0f, 0x30]), Exit::Preempted);
    world.scene(|block, registers| {
        block.control.exit_code = 0x7c;
        block.save.rip = RIP;
        registers.rcx = 0xc000_0080;
    });
    assert_eq!(world.run(&[0x0f, 0x32]), Exit::Preempted);
    assert_eq!(world.cpu.registers().rax, 0x901);
}

#[test]
fn extended_control_takes_only_what_is_offered() {
    let mut world = World::new();
    let set = |value: u64| {
        move |block: &mut Vmcb, registers: &mut Registers| {
            block.control.exit_code = 0x8d;
            block.save.cr4 |= 1 << 18;
            block.save.rip = RIP;
            block.save.rax = value;
            [registers.rcx, registers.rdx] = [0, 0];
        }
    };
    world.scene(set(7));
    assert_eq!(world.run(&[0x0f, 0x01, 0xd1]), Exit::Preempted);
    assert_eq!(world.stage.lock().unwrap().xcr0, 7);
    for bad in [0, 4, 0xe7] {
        world.scene(set(bad));
        assert_eq!(world.run(&[0x0f, 0x01, 0xd1]), Exit::Preempted);
        assert_eq!(world.stage.lock().unwrap().xcr0, 7, "{bad:#x}");
        assert_eq!(world.rip(), RIP);
    }
}

#[test]
fn cpuid_faults_outside_of_the_kernel_once_the_kernel_wants_that() {
    let mut world = World::new();
    world
        .scene(|block, registers| {
            block.control.exit_code = 0x7c;
            block.control.exit_info_1 = 1;
            block.save.rax = 1;
            registers.rcx = 0x140;
        })
        .scene(|block, _| {
            block.save.cpl = 3;
            block.control.exit_code = 0x72;
        })
        .scene(|block, _| {
            let protection = Event::Exception {
                vector: 13,
                code: Some(0),
            };
            assert_eq!(injected(block), Some(protection));
            block.control.exit_code = 0x60;
        });
    assert_eq!(world.run(&[0x0f, 0x30]), Exit::Preempted);
}
