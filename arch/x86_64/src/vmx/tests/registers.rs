//! Control registers, where host and guest share them, and what else the structure keeps.

use super::*;

/// MOV from RAX.
const TO_CR0: u64 = 0;
const TO_CR4: u64 = 4;

fn moves(world: &World, to: u64, value: u64) {
    world.scene(move |guest, registers| {
        guest.exits(28);
        guest.set(ro::EXIT_QUALIFICATION, to);
        guest.set(ro::VMEXIT_INSTRUCTION_LEN, 3);
        registers.rax = value;
    });
}

#[test]
fn caches_that_the_guest_switches_off_are_off_to_the_guest_alone() {
    let mut world = World::new();
    moves(&world, TO_CR0, 0x4000_0011);
    world.scene(|guest, _| {
        assert_eq!(guest.get(guest::CR0) & 0x6000_0000, 0);
        assert_eq!(guest.get(control::CR0_READ_SHADOW) & 0x6000_0000, 0x4000_0000);
        assert_ne!(guest.get(guest::CR0) & 0x20, 0, "NE stays");
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    assert_eq!(world.rip(), RIP + 3);
}

#[test]
fn long_mode_that_an_exit_switches_on_is_on_for_the_entry_too() {
    let mut world = World::new();
    world.scene(|guest, _| {
        guest.set(guest::IA32_EFER_FULL, 0x100);
        guest.set(guest::CR4, guest.get(guest::CR4) | 0x20);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    let flushes = world.stage.lock().unwrap().flushes;
    moves(&world, TO_CR0, 0xc000_0011);
    world.scene(|guest, _| {
        assert_eq!(guest.get(guest::IA32_EFER_FULL) & 0x500, 0x500);
        assert_ne!(guest.get(control::VMENTRY_CONTROLS) & 1 << 9, 0);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    let after = world.stage.lock().unwrap().flushes;
    assert!(after > flushes, "paging that begins forgets translations");
    moves(&world, TO_CR0, 0x4000_0011);
    world.scene(|guest, _| {
        assert_eq!(guest.get(guest::IA32_EFER_FULL) & 0x500, 0x100);
        assert_eq!(guest.get(control::VMENTRY_CONTROLS) & 1 << 9, 0);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn bits_of_cr4_that_the_guest_is_not_offered_are_refused_and_vmx_stays_on_unseen() {
    let mut world = World::new();
    moves(&world, TO_CR4, 1 << 13);
    world.scene(|guest, _| {
        assert_eq!(guest.injected(), Some(exception(13, Some(0))));
        assert_ne!(guest.get(guest::CR4) & 1 << 13, 0);
        assert_eq!(guest.get(control::CR4_READ_SHADOW) & 1 << 13, 0);
        assert_ne!(guest.get(control::CR4_GUEST_HOST_MASK) & 1 << 13, 0);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    assert_eq!(world.rip(), RIP);
}

#[test]
fn what_the_guest_has_changed_of_its_own_bits_stays_when_the_hypervisor_changes_others() {
    let mut world = World::new();
    // Without an exit: write protection and task switched in CR0, global pages in CR4.
    world.scene(|guest, _| {
        guest.set(guest::CR0, guest.get(guest::CR0) | 0x1_0008);
        guest.set(guest::CR4, guest.get(guest::CR4) | 0x80);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    moves(&world, TO_CR0, 0x4001_0019);
    world.scene(|guest, _| {
        assert_eq!(guest.get(guest::CR0) & 0x1_0009, 0x1_0009);
        assert_ne!(guest.get(guest::CR4) & 0x80, 0);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
}

#[test]
fn paging_that_begins_in_an_exit_has_its_four_pointers_loaded() {
    let mut world = World::new();
    world.scene(|guest, _| {
        guest.set(guest::CR4, guest.get(guest::CR4) | 0x20);
        guest.set(guest::CR3, 0x2000);
        guest.exits(1);
    });
    assert_eq!(world.run(&[]), Exit::Preempted);
    let ram = Ram::new(&[]);
    for (place, pointer) in [0x3001_u64, 0, 0x4001, 0x5001].into_iter().enumerate() {
        let at = GuestAddr::new(0x2000 + 8 * place as u64);
        ram.write(at, &pointer.to_le_bytes()).unwrap();
    }
    moves(&world, TO_CR0, 0xc000_0011);
    world.scene(|guest, _| {
        assert_eq!(guest.get(guest::PDPTE0_FULL), 0x3001);
        assert_eq!(guest.get(guest::PDPTE1_FULL), 0);
        assert_eq!(guest.get(guest::PDPTE3_FULL), 0x5001);
        guest.exits(1);
    });
    assert_eq!(world.cpu.run(&ram, Instant::from_ns(1000)), Exit::Preempted);
}
