//! Batches: results one by one, slices, entries that are long or sleep.

use alloc::vec::Vec;

use xenvisor_abi::memory::Reservation;
use xenvisor_abi::xen::{
    DOMID_SELF, HYPERVISOR_memory_op, HYPERVISOR_multicall, HYPERVISOR_sched_op, HYPERVISOR_xen_version,
    MulticallEntry,
};
use xenvisor_abi::{sched, version, xen};
use xenvisor_core::machine::Width;
use xenvisor_core::policy::XenDefault;

use crate::answer::{After, Answer};
use crate::errno::Errno;
use crate::testing::{NOWHERE, World};

const LIST: u64 = 0x1000;
const SIZE: u64 = size_of::<MulticallEntry>() as u64;

fn world(entries: &[(u32, [u64; 2])]) -> World {
    let world = World::new(1, 1, XenDefault::default(), Vec::new());
    for (n, (op, [first, second])) in (0..).zip(entries) {
        let entry = MulticallEntry {
            op: (*op).into(),
            result: 77,
            args: [*first, *second, 0, 0, 0, 0],
        };
        world.put(1, LIST + n * SIZE, &entry);
    }
    world
}

fn result(world: &World, n: u64) -> u64 {
    world.get::<MulticallEntry>(1, LIST + n * SIZE).result
}

const VERSION: (u32, [u64; 2]) = (HYPERVISOR_xen_version, [version::XENVER_version as u64, 0]);
const YIELD: (u32, [u64; 2]) = (HYPERVISOR_sched_op, [sched::SCHEDOP_yield as u64, 0]);

#[test]
fn each_entry_has_its_own_result_and_none_stops_the_others() {
    let world = world(&[
        VERSION,
        (HYPERVISOR_multicall, [LIST, 1]),
        (63, [0, 0]),
        (
            HYPERVISOR_xen_version,
            [version::XENVER_extraversion.into(), NOWHERE],
        ),
        VERSION,
    ]);
    assert_eq!(world.call(1, HYPERVISOR_multicall, &[LIST, 5]), Ok(Answer::OK));
    let results: Vec<u64> = (0..5).map(|n| result(&world, n)).collect();
    let fails = |errno: Errno| errno.result();
    assert_eq!(
        results,
        [
            4 << 16 | 17,
            fails(Errno::INVALID),
            fails(Errno::NO_CALL),
            fails(Errno::FAULT),
            4 << 16 | 17
        ]
    );
}

#[test]
fn a_batch_goes_on_behind_an_entry_after_which_the_vcpu_sleeps() {
    let world = world(&[VERSION, YIELD, VERSION, YIELD]);
    let first = world.call(1, HYPERVISOR_multicall, &[LIST, 4]);
    let rest = [LIST + 2 * SIZE, 2, 0, 0, 0, 0];
    assert_eq!(first, Ok(Answer::AgainAfter(rest, After::Yield)));
    assert_eq!((result(&world, 1), result(&world, 2)), (0, 77));
    let last = world.call(1, HYPERVISOR_multicall, &rest);
    assert_eq!(last, Ok(Answer::Then(0, After::Yield)));
    assert_eq!((result(&world, 2), result(&world, 3)), (4 << 16 | 17, 0));
}

#[test]
fn a_long_batch_is_cut_and_goes_on_where_it_was() {
    let entries: Vec<_> = (0..100).map(|_| VERSION).collect();
    let world = world(&entries);
    let first = world.call(1, HYPERVISOR_multicall, &[LIST, 100]);
    let rest = [LIST + 64 * SIZE, 36, 0, 0, 0, 0];
    assert_eq!(first, Ok(Answer::Again(rest)));
    assert_eq!((result(&world, 63), result(&world, 64)), (4 << 16 | 17, 77));
    assert_eq!(world.call(1, HYPERVISOR_multicall, &rest), Ok(Answer::OK));
    assert_eq!(result(&world, 99), 4 << 16 | 17);
}

#[test]
fn a_long_entry_is_cut_and_its_progress_stands_in_the_list() {
    let world = world(&[(HYPERVISOR_memory_op, [0, 0x3000]), VERSION]);
    world.hypervisor.frames.set_limit(world.domains[0].id, 1 << 20);
    let reservation = Reservation {
        nr_extents: 3000,
        domid: DOMID_SELF,
        ..Default::default()
    };
    world.put(1, 0x3000, &reservation);
    let mut slices = 0;
    let mut answer = world.call(1, HYPERVISOR_multicall, &[LIST, 2]);
    while let Ok(Answer::Again(arguments)) = answer {
        assert_eq!(arguments[..2], [LIST, 2], "the entry itself goes on");
        slices += 1;
        assert_eq!(world.get::<MulticallEntry>(1, LIST).args[0] >> 6, slices * 1024);
        answer = world.call(1, HYPERVISOR_multicall, &arguments);
    }
    assert_eq!((answer, slices), (Ok(Answer::OK), 2));
    assert_eq!((result(&world, 0), result(&world, 1)), (3000, 4 << 16 | 17));
}

#[test]
fn a_batch_that_cannot_be_read_is_a_fault_and_an_empty_one_is_done() {
    let world = world(&[]);
    assert_eq!(
        world.call(1, HYPERVISOR_multicall, &[NOWHERE, 1]),
        Err(Errno::FAULT)
    );
    assert_eq!(world.call(1, HYPERVISOR_multicall, &[NOWHERE, 0]), Ok(Answer::OK));
    assert_eq!(
        world.call(1, HYPERVISOR_multicall, &[u64::MAX, 1]),
        Err(Errno::FAULT)
    );
}

#[test]
fn a_32_bit_caller_has_entries_of_32_bit_words() {
    let world = world(&[]);
    let entry = xen::compat::MulticallEntry {
        op: HYPERVISOR_xen_version,
        result: 0,
        args: [63, 0, 0, 0, 0, 0],
    };
    world.put(1, LIST, &entry);
    let answer = world.call_from(1, 0, Width::Bits32, HYPERVISOR_multicall, &[LIST, 1]);
    assert_eq!(answer, Ok(Answer::OK));
    let result = world.get::<xen::compat::MulticallEntry>(1, LIST).result;
    assert_eq!(result, (-38_i32) as u32);
}
