//! Uses of offers: how many there may be, and when the granter learns that they have ended.

use super::*;

#[test]
fn an_offer_has_room_for_128_readers_and_128_writers() {
    let world = World::new();
    world.a.offer(9, B, 3, 1);
    let hold = |access| {
        let mut held = Vec::new();
        loop {
            match End::granted(world.a.party(), GrantRef::new(9), B, access) {
                Ok(end) => held.push(end),
                Err(error) => return (held, error),
            }
        }
    };
    let full = PinError::InUse(GrantRef::new(9));
    let (readers, error) = hold(Access::Read);
    assert_eq!((readers.len(), error), (128, full));
    let (writers, error) = hold(Access::ReadWrite);
    assert_eq!((writers.len(), error), (128, full));
    let mfn = world.a.mfn(3).unwrap();
    assert_eq!(world.frames.usage(mfn), Some((Owner::Domain(A), 257)));
    drop(readers);
    assert_eq!(world.a.status(9), READING | WRITING);
    drop(writers);
    assert_eq!(world.a.status(9), 0);
    assert_eq!(world.frames.usage(mfn), Some((Owner::Domain(A), 1)));
}

#[test]
fn the_granter_learns_that_a_use_has_ended_after_the_flush() {
    for version in [Version::V1, Version::V2] {
        let world = World::in_version(version);
        world.a.offer(21, B, 3, 1);
        let handle = world.b.map(&world.a, 21, 0x200, Access::ReadWrite).unwrap();
        let mfn = world.a.mfn(3).unwrap();
        let seen = core::cell::Cell::new(None);
        let flush = |owed| {
            if owed != crate::p2m::Flush::None {
                seen.set(Some((world.a.status(21), world.frames.usage(mfn))));
            }
        };
        let mut leaving = Leaving::new(world.b.memory.frames(), &flush);
        let mapping = unmap(world.b.party(), handle, gfn(0x200), &mut leaving).unwrap();
        assert_eq!(world.b.mfn(0x200), None);
        drop(leaving);
        let in_use = Some((Owner::Domain(A), 2));
        assert_eq!(
            seen.get(),
            Some((READING | WRITING, in_use)),
            "at the time of the flush"
        );
        // Whoever joins the use now relies on its reference.
        assert_eq!(world.frames.usage(mfn), in_use);
        assert_eq!(world.a.status(21), READING | WRITING);
        finish(world.b.party(), handle, &mapping, Some(&world.a.table));
        assert_eq!(world.a.status(21), 0);
        assert_eq!(world.frames.usage(mfn), Some((Owner::Domain(A), 1)));
    }
}

#[test]
fn an_offer_passed_on_and_the_one_behind_it_are_in_use_together() {
    let world = World::in_version(Version::V2);
    // A passes on to itself, in 9, what B has granted to it in 10.
    world.b.offer(10, A, 3, 1 | 4);
    let entry = GuestAddr::new((TABLE << 12) + 9 * 16);
    let onward = [3_u64 | u64::from(A.raw()) << 16 | u64::from(B.raw()) << 32, 10];
    world.a.memory.guest().write_value(entry, &onward).unwrap();
    let reach = |access| match End::granted(world.a.party(), GrantRef::new(9), A, access) {
        Ok(Reached::Onward(onward)) => onward,
        _ => panic!("it is passed on"),
    };
    let writing = reach(Access::ReadWrite);
    assert_eq!(world.a.status(9), READING | WRITING);
    let refused = writing.through(world.b.party()).err();
    assert_eq!(refused, Some(PinError::ReadOnly(GrantRef::new(10))));
    assert_eq!((world.a.status(9), world.b.status(10)), (0, 0));
    let one = reach(Access::Read).through(world.b.party()).unwrap();
    // It may be used by more than one at once, and by nobody else, and not be mapped meanwhile.
    let two = reach(Access::Read).through(world.b.party()).unwrap();
    assert_eq!((world.a.status(9), world.b.status(10)), (READING, READING));
    let mapped = world.a.map(&world.a, 9, 0x200, Access::Read);
    assert_eq!(mapped, Err(MapError::Pin(PinError::InUse(GrantRef::new(9)))));
    let mfn = world.b.mfn(3).unwrap();
    assert_eq!(world.frames.usage(mfn), Some((Owner::Domain(B), 3)));
    drop(one);
    assert_eq!((world.a.status(9), world.b.status(10)), (READING, READING));
    drop(two);
    assert_eq!((world.a.status(9), world.b.status(10)), (0, 0));
    assert_eq!(world.frames.usage(mfn), Some((Owner::Domain(B), 1)));
}
