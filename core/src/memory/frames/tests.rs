//! The allocator keeps its books, whatever is taken and given back, in whatever order.

use super::*;
use crate::testing::FlatMemory;
use std::vec::Vec;

fn machine(frames: u64) -> Frames {
    let memory = Arc::new(FlatMemory::new(frames * FRAME_SIZE));
    let middle = frames / 2;
    // A hole in the middle, as every PC has one.
    let ranges = [
        Mfn::new(1)..Mfn::new(middle),
        Mfn::new(middle + 3)..Mfn::new(frames),
    ];
    Frames::new(memory, &ranges).unwrap()
}

#[test]
fn all_frames_come_back_however_they_were_taken() {
    let frames = machine(4096);
    let before = frames.free();
    let mut random = 0x2545_f491_u64;
    let mut held: Vec<(Mfn, Order)> = Vec::new();
    for _ in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let order = Order::new((random >> 60) as u8 % 6).unwrap();
        if random & 1 << 40 == 0 || held.is_empty() {
            if let Ok(block) = frames.allocate(Owner::Hypervisor, order) {
                held.push((block.keep(), order));
            }
        } else {
            let (mfn, order) = held.swap_remove((random >> 41) as usize % held.len());
            for n in 0..order.frames() {
                frames.release(mfn.checked_add(n).unwrap());
            }
        }
        let used: u64 = held.iter().map(|(_, order)| order.frames()).sum();
        assert_eq!(frames.free() + used, before);
    }
    for (mfn, order) in held {
        (0..order.frames()).for_each(|n| frames.release(mfn.checked_add(n).unwrap()));
    }
    assert_eq!(frames.free(), before);
    assert!(
        frames
            .allocate(Owner::Hypervisor, Order::new(10).unwrap())
            .is_ok(),
        "blocks have joined again"
    );
}

#[test]
fn no_two_blocks_overlap_and_none_lies_outside() {
    let frames = machine(512);
    let mut seen = std::collections::HashSet::new();
    while let Ok(block) = frames.allocate(Owner::Hypervisor, Order::new(1).unwrap()) {
        let mfn = block.keep();
        for n in 0..2 {
            assert!(seen.insert(mfn.raw() + n));
            assert!((1..256).contains(&(mfn.raw() + n)) || (259..512).contains(&(mfn.raw() + n)));
        }
    }
    assert!(seen.len() > 480);
}

#[test]
fn blocks_are_aligned_to_their_size() {
    let frames = machine(4096);
    for order in 0..9 {
        let block = frames
            .allocate(Owner::Hypervisor, Order::new(order).unwrap())
            .unwrap();
        assert_eq!(block.mfn().raw() % (1 << order), 0);
    }
}

#[test]
fn a_frame_is_free_only_when_the_last_reference_is_gone() {
    let frames = machine(512);
    let owner = Owner::Domain(DomainId::new(3));
    let before = frames.free();
    let mfn = frames.allocate_zeroed(owner, Order::FRAME).unwrap().keep();
    let pin = frames.pin(mfn, owner).unwrap();
    frames.release(mfn);
    assert_eq!(frames.usage(mfn), Some((owner, 1)));
    drop(pin);
    assert_eq!(frames.usage(mfn), None);
    assert_eq!(frames.free(), before);
    frames.release(mfn);
    assert_eq!(frames.free(), before, "giving back what is free changes nothing");
}

#[test]
fn nobody_refers_to_a_frame_of_another_owner_or_to_none() {
    let frames = machine(512);
    let mfn = frames
        .allocate(Owner::Domain(DomainId::new(1)), Order::FRAME)
        .unwrap()
        .keep();
    assert!(frames.pin(mfn, Owner::Domain(DomainId::new(2))).is_none());
    assert!(frames.pin(Mfn::new(0), Owner::Hypervisor).is_none());
    assert!(frames.pin(Mfn::new(u64::MAX), Owner::Hypervisor).is_none());
    frames.release(Mfn::new(u64::MAX));
}

#[test]
fn a_frame_counts_for_its_owner_until_its_last_reference_is_gone() {
    let frames = machine(512);
    let id = DomainId::new(5);
    let owner = Owner::Domain(id);
    frames.open_account(id, 3).unwrap();
    assert_eq!(frames.open_account(id, 9), Err(OpenError::AlreadyOpen));
    let one = frames.allocate(owner, Order::FRAME).unwrap().keep();
    let pin = frames.pin(one, owner).unwrap();
    let two = frames.allocate(owner, Order::new(1).unwrap()).unwrap();
    let used = || frames.account(id).unwrap().used;
    assert_eq!(used(), 3);
    assert!(frames.allocate(owner, Order::FRAME).is_err(), "the limit holds");
    assert!(frames.allocate(Owner::Hypervisor, Order::FRAME).is_ok());
    frames.release(one);
    assert_eq!(used(), 3, "somebody still uses it");
    drop(pin);
    assert_eq!(used(), 2);
    drop(two);
    assert_eq!(used(), 0);
    assert!(frames.charge(id, 3));
    assert!(!frames.charge(id, 1));
}

#[test]
fn accounts_of_many_domains_are_kept_apart() {
    let frames = machine(512);
    for id in (0..100).rev().map(DomainId::new) {
        frames.open_account(id, u64::from(id.raw())).unwrap();
        assert!(frames.charge(id, u64::from(id.raw())));
    }
    frames.close_account(DomainId::new(50));
    for id in 0..100 {
        let used = frames.account(DomainId::new(id)).map(|account| account.used);
        assert_eq!(used, (id != 50).then_some(u64::from(id)));
    }
}

#[test]
fn frames_that_outlive_their_domain_count_for_the_next_of_its_number() {
    let frames = machine(512);
    let id = DomainId::new(5);
    frames.open_account(id, 3).unwrap();
    let left = frames.allocate(Owner::Domain(id), Order::FRAME).unwrap();
    frames.close_account(id);
    assert_eq!(frames.account(id), None);
    frames.open_account(id, 2).unwrap();
    assert_eq!(frames.account(id), Some(Account { used: 1, limit: 2 }));
    drop(left);
    assert_eq!(frames.account(id), Some(Account { used: 0, limit: 2 }));
    frames.close_account(id);
    frames.open_account(id, 1).unwrap();
    assert_eq!(frames.account(id), Some(Account { used: 0, limit: 1 }));
}

#[test]
fn a_new_frame_is_seen_nowhere_whatever_it_was_before() {
    let frames = machine(512);
    for _ in 0..3 {
        let block = frames.allocate(Owner::Hypervisor, Order::FRAME).unwrap();
        assert_eq!(frames.place(block.mfn()), None);
        frames.set_place(block.mfn(), Some(Gfn::new(7)));
        assert_eq!(frames.place(block.mfn()), Some(Gfn::new(7)));
    }
    assert_eq!(frames.place(Mfn::new(u64::MAX)), None);
}

#[test]
fn a_pin_that_is_refused_takes_no_reference_and_gives_none_back() {
    let frames = machine(64);
    let mfn = frames.allocate(Owner::Hypervisor, Order::FRAME).unwrap().keep();
    let other = Owner::Domain(DomainId::new(1));
    for _ in 0..3 {
        assert!(frames.pin(mfn, other).is_none());
        assert_eq!(frames.usage(mfn), Some((Owner::Hypervisor, 1)));
    }
    let pin = frames.pin(mfn, Owner::Hypervisor);
    assert_eq!(frames.usage(mfn), Some((Owner::Hypervisor, 2)));
    drop(pin);
    assert_eq!(frames.usage(mfn), Some((Owner::Hypervisor, 1)));
    frames.release(mfn);
    assert!(
        frames.pin(mfn, Owner::Hypervisor).is_none(),
        "a free frame is nobody's"
    );
}
