//! Many steps in a row, and frames that run out at each of them.

use super::*;
use crate::testing::Random;

#[test]
fn mapping_without_frames_changes_nothing() {
    let world = World::new();
    world.a.offer(9, B, 3, 1);
    let frame = world.a.mfn(3).unwrap();
    let mut failures = 0;
    for left in 0.. {
        let mut taken = Vec::new();
        while world.frames.free() > left {
            let block = world.frames.allocate(Owner::Hypervisor, Order::FRAME);
            taken.push(block.unwrap().keep());
        }
        let mapped = world.b.map(&world.a, 9, 0x9_0000, Access::ReadWrite);
        taken.iter().for_each(|mfn| world.frames.release(*mfn));
        if mapped.is_ok() {
            break;
        }
        failures += 1;
        assert_eq!((world.a.status(9), world.b.mfn(0x9_0000)), (0, None));
        assert_eq!(world.b.handles.lock().used(), 0);
        assert_eq!(world.frames.usage(frame), Some((Owner::Domain(A), 1)));
    }
    assert!(failures >= 2, "receipts and tables both need frames");
}

/// Whatever two domains do to each other: pins, references and status bits agree, and all frames come back.
#[test]
fn no_sequence_of_grants_loses_count() {
    for seed in 0..8 {
        let version = if seed % 2 == 0 { Version::V1 } else { Version::V2 };
        let world = World::in_version(version);
        let mut random = Random::new(seed);
        let mut live: Vec<(bool, bool, GrantHandle, u64, u32, Access)> = Vec::new();
        for _ in 0..600 {
            let (granter, own) = (random.below(2) == 0, random.below(2) == 0);
            let pick = |a: bool| if a { &world.a } else { &world.b };
            let (from, to) = (pick(granter), pick(own));
            let reference = 8 + random.below(6) as u32;
            match random.below(6) {
                0 => {
                    let grantee = *random.pick(&[A, B]);
                    let flags = *random.pick(&[0, 1, 1, 1, 5]);
                    if !from.table.lock().is_pinned(GrantRef::new(reference)) {
                        from.offer(reference, grantee, random.below(70), flags);
                    }
                }
                1 | 2 => {
                    let at = 0x200 + random.below(8);
                    let access = *random.pick(&[Access::Read, Access::ReadWrite]);
                    if let Ok(handle) = to.map(from, reference, at, access) {
                        live.push((granter, own, handle, at, reference, access));
                    }
                }
                3 => {
                    if !live.is_empty() {
                        let (granter, own, handle, at, ..) =
                            live.swap_remove(random.below(live.len() as u64) as usize);
                        pick(own).unmap(pick(granter), handle, at).unwrap();
                    }
                }
                4 => _ = from.quietly(|leaving| from.memory.take(gfn(random.below(64)), leaving)),
                _ => {
                    let at = gfn(random.below(64));
                    _ = from.quietly(|leaving| from.memory.populate(at, Order::FRAME, leaving));
                }
            }
            for (is_a, domain) in [(true, &world.a), (false, &world.b)] {
                for reference in 8..14 {
                    let uses = |access| {
                        let mine = |entry: &&(bool, bool, GrantHandle, u64, u32, Access)| {
                            entry.0 == is_a && entry.4 == reference && entry.5 == access
                        };
                        live.iter().filter(mine).count()
                    };
                    let (readers, writers) = (uses(Access::Read), uses(Access::ReadWrite));
                    let mut expected = if writers > 0 { WRITING } else { 0 };
                    expected |= if readers + writers > 0 { READING } else { 0 };
                    assert_eq!(domain.status(reference), expected, "seed {seed}");
                }
                let handles = live.iter().filter(|entry| entry.1 == is_a).count();
                assert_eq!(domain.handles.lock().used() as usize, handles);
            }
        }
        for (granter, own, handle, at, ..) in live {
            let pick = |a: bool| if a { &world.a } else { &world.b };
            pick(own).unmap(pick(granter), handle, at).unwrap();
        }
        let World { frames, free, a, b } = world;
        drop((a, b));
        assert_eq!(frames.free(), free, "seed {seed}");
    }
}
