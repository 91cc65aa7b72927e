//! The same call from 32-bit and from 64-bit code does the same: random calls in two worlds that begin alike, one in each
//! layout, with the same results, the same answers in memory, and the same memory behind guest frames.

use alloc::vec::Vec;
use core::cell::Cell;

use xenvisor_abi::grant_table as grant;
use xenvisor_abi::memory as abi;
use xenvisor_abi::xen::{self, DOMID_SELF};
use xenvisor_abi::{sched, vcpu};
use xenvisor_core::number::Gfn;
use xenvisor_core::policy::XenDefault;
use xenvisor_core::testing::Random;

use super::super::*;
use super::narrow::{ARGUMENT, LIST, OTHER_LIST};
use crate::answer::{Answer, Served};
use crate::testing::{NOWHERE, RAM_FRAMES, World};

const ROUNDS: u32 = 3_000;
/// Where outcomes of a batch go.
const ERRORS: u64 = 0x3000;

/// Frames below hold arguments, and are left alone.
const ARGUMENTS_END: u64 = 8;

/// A frame that is there, or was, or never will be.
fn frame(chance: &mut Random) -> u64 {
    let near = ARGUMENTS_END + chance.below(RAM_FRAMES * 2 - ARGUMENTS_END);
    *chance.pick(&[near, near, near, near, 0x8_0000, 0xffff_ffff])
}

fn domain(chance: &mut Random) -> u16 {
    *chance.pick(&[DOMID_SELF, DOMID_SELF, DOMID_SELF, 1, 2, 3, 0x7ff1])
}

/// Two worlds, and which of them speaks in which layout.
struct Pair {
    /// Calls that were not errors.
    served: Cell<u32>,
    wide: World,
    narrow: World,
}

impl Pair {
    fn new() -> Self {
        let world = || World::new(2, 1, XenDefault::default(), Vec::new());
        Self {
            served: Cell::new(0),
            wide: world(),
            narrow: world(),
        }
    }

    fn words(&self, at: u64, words: &[u64]) {
        for (n, word) in (0..).zip(words) {
            self.wide.put(1, at + n * 8, word);
            self.narrow.put(1, at + n * 4, &halves(*word).low);
        }
    }

    /// Makes the call in both, compares, and goes on until it is done.
    fn call<T: Shape + core::fmt::Debug + PartialEq>(&self, number: u32, before: &[u64], argument: &T) {
        self.wide.put(1, ARGUMENT, argument);
        self.narrow.put(1, ARGUMENT, &argument.narrow());
        let mut all = [0; 6];
        all[..before.len()].copy_from_slice(before);
        for place in &mut all {
            // Where the argument is: said by a marker.
            if *place == u64::MAX {
                *place = ARGUMENT;
            }
        }
        let wide = to_the_end(&self.wide, Width::Bits64, number, all);
        let narrow = to_the_end(&self.narrow, Width::Bits32, number, all);
        assert_eq!(wide, narrow, "hypercall {number} {before:x?} {argument:x?}");
        self.served.set(self.served.get() + u32::from(wide.is_ok()));
        let answer: T = self.wide.get(1, ARGUMENT);
        let narrow: T::Compat = self.narrow.get(1, ARGUMENT);
        assert_eq!(answer, T::widen(&narrow), "hypercall {number} {before:x?}");
        let errors = |world: &World| world.get::<[u32; 4]>(1, ERRORS);
        assert_eq!(errors(&self.wide), errors(&self.narrow));
    }

    fn compare(&self) {
        let sight = |world: &World| {
            let domain = &world.domains[0];
            let frames: Vec<_> = {
                let stage = domain.memory.stage().lock();
                let kind = |gfn| stage.translate(Gfn::new(gfn)).map(|leaf| leaf.target.kind);
                (0..RAM_FRAMES * 2).map(kind).collect()
            };
            let timers = *domain.vcpus[0].timers.lock();
            (
                frames,
                domain.memory.account().used,
                timers.singleshot,
                timers.poll,
            )
        };
        assert_eq!(sight(&self.wide), sight(&self.narrow));
    }
}

fn to_the_end(world: &World, width: Width, number: u32, arguments: [u64; 6]) -> Served {
    let mut answer = world.call_from(1, 0, width, number, &arguments);
    while let Ok(Answer::Again(arguments) | Answer::AgainAfter(arguments, _)) = answer {
        answer = world.call_from(1, 0, width, number, &arguments);
    }
    answer
}

/// The argument goes here.
const HERE: u64 = u64::MAX;

fn memory_op(pair: &Pair, chance: &mut Random) {
    let frames: Vec<u64> = (0..3).map(|_| frame(chance)).collect();
    let others: Vec<u64> = (0..3).map(|_| frame(chance)).collect();
    pair.words(LIST, &frames);
    pair.words(OTHER_LIST, &others);
    let list = GuestHandle64(*chance.pick(&[LIST, LIST, LIST, NOWHERE]));
    let reservation = abi::Reservation {
        extent_start: list,
        nr_extents: chance.below(4),
        extent_order: *chance.pick(&[0, 0, 0, 1, 9, 10]),
        mem_flags: 0,
        domid: domain(chance),
        ..Default::default()
    };
    let number = xen::HYPERVISOR_memory_op;
    match chance.below(6) {
        0 => {
            let place = abi::AddToPhysmap {
                domid: domain(chance),
                size: chance.below(5) as u16,
                space: chance.below(5) as u32,
                idx: frame(chance),
                gpfn: frame(chance),
            };
            pair.call(number, &[abi::XENMEM_add_to_physmap.into(), HERE], &place);
        }
        1 => {
            let batch = abi::AddToPhysmapBatch {
                domid: domain(chance),
                space: chance.below(5) as u16,
                size: chance.below(4) as u16,
                foreign_domid: 0,
                idxs: list,
                gpfns: GuestHandle64(OTHER_LIST),
                errs: GuestHandle64(ERRORS),
            };
            pair.call(number, &[abi::XENMEM_add_to_physmap_batch.into(), HERE], &batch);
        }
        2 => {
            let gone = abi::RemoveFromPhysmap {
                domid: domain(chance),
                gpfn: frame(chance),
                ..Default::default()
            };
            pair.call(number, &[abi::XENMEM_remove_from_physmap.into(), HERE], &gone);
        }
        3 => {
            let exchange = abi::Exchange {
                input: reservation,
                output: reservation,
                nr_exchanged: chance.below(4),
            };
            pair.call(number, &[abi::XENMEM_exchange.into(), HERE], &exchange);
        }
        _ => {
            let command = *chance.pick(&[
                abi::XENMEM_increase_reservation,
                abi::XENMEM_decrease_reservation,
                abi::XENMEM_populate_physmap,
            ]);
            let progress = *chance.pick(&[0, 0, 0, 1, 5]);
            pair.call(number, &[u64::from(command) | progress << 6, HERE], &reservation);
        }
    }
}

fn another(pair: &Pair, chance: &mut Random) {
    match chance.below(3) {
        0 => {
            let end = |chance: &mut Random| grant::CopyPointer {
                u: frame(chance),
                domid: domain(chance),
                offset: chance.below(4100) as u16,
                ..Default::default()
            };
            let copy = grant::CopyOp {
                source: end(chance),
                dest: grant::CopyPointer {
                    u: 40 + chance.below(4),
                    ..end(chance)
                },
                len: chance.below(16) as u16,
                flags: chance.below(4) as u16,
                ..Default::default()
            };
            let number = xen::HYPERVISOR_grant_table_op;
            pair.call(number, &[grant::GNTTABOP_copy.into(), HERE, 1], &copy);
        }
        1 => {
            pair.wide.put(1, LIST, &[1_u32, 2, 3000, 1]);
            pair.narrow.put(1, LIST, &[1_u32, 2, 3000, 1]);
            let poll = sched::Poll {
                ports: GuestHandle64(LIST),
                nr_ports: *chance.pick(&[0, 1, 2, 3, 200, u32::MAX]),
                timeout: *chance.pick(&[0, 5, 1 << 33 | 7, u64::MAX]),
                ..Default::default()
            };
            let number = xen::HYPERVISOR_sched_op;
            pair.call(number, &[sched::SCHEDOP_poll.into(), HERE], &poll);
        }
        _ => {
            let timer = vcpu::SetSingleshotTimer {
                timeout_abs_ns: *chance.pick(&[0, 5, 1 << 33 | 7, u64::MAX]),
                flags: chance.below(2) as u32,
                ..Default::default()
            };
            let which = chance.below(3);
            let number = xen::HYPERVISOR_vcpu_op;
            pair.call(
                number,
                &[vcpu::VCPUOP_set_singleshot_timer.into(), which, HERE],
                &timer,
            );
        }
    }
}

#[test]
fn whatever_64_bit_code_asks_for_32_bit_code_gets_as_well() {
    let mut served = 0;
    for seed in 0..8 {
        let pair = Pair::new();
        let mut chance = Random::new(seed);
        for _ in 0..ROUNDS / 8 {
            if chance.below(3) == 0 {
                another(&pair, &mut chance);
            } else {
                memory_op(&pair, &mut chance);
            }
            pair.compare();
        }
        served += pair.served.get();
    }
    assert!(served > ROUNDS / 3, "{served} of {ROUNDS} calls were not errors");
}
