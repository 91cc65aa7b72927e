//! Sequences of `memory_op`: three domains against a plain model of frames, places and counts.
//!
//! The model knows each frame of RAM by its number, so that a frame that moves, or should and does not, is seen; all are
//! made dirty, so that one that comes back as it was is seen as well. Whoever else may use a frame (a grant, a page for
//! events) is played by holds, which outlive places and domains.

mod model;

use xenvisor::abi::GuestHandle64;
use xenvisor::abi::memory as abi;
use xenvisor::abi::vcpu::{RegisterVcpuInfo, VCPUOP_register_vcpu_info};
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_memory_op, HYPERVISOR_vcpu_op};
use xenvisor::model::machine::Access;
use xenvisor::model::memory::frames::Pin;
use xenvisor::model::number::{Gfn, Mfn};
use xenvisor::model::p2m::Kind;
use xenvisor::model::testing::Random;

use super::runner::{self, Area};
use super::world::{ARGUMENTS, RAM_FRAMES, World};
use model::{Domain, PLACES, What};

/// Where lists lie: behind the argument, in the first frame.
const LIST: u64 = ARGUMENTS + 0x400;
const FRAMES: u64 = ARGUMENTS + 0x600;
const OUTCOMES: u64 = ARGUMENTS + 0x800;
/// Where a frame is made dirty: at its end, out of the way of what is registered at its beginning.
const DIRT: u64 = 4088;
/// Holds there may be at a time, so that a domain made anew has room beside them.
const HOLDS: usize = 6;

struct Memory {
    domains: [Domain; 3],
    holds: Vec<(u16, Mfn)>,
}

#[derive(Clone, Debug)]
struct Call {
    n: u16,
    act: Act,
}

#[derive(Clone, Debug)]
enum Act {
    Increase { count: u64, order: u32 },
    Decrease { first: Vec<u64>, order: u32 },
    Populate { first: Vec<u64>, order: u32 },
    Add { space: u32, index: u64, to: u64 },
    Range { from: u64, to: u64, size: u16 },
    Batch { space: u32, pairs: Vec<(u64, u64)> },
    Remove { at: u64 },
    Map { entries: u32, at: u64 },
    Register { vcpu: u32, at: u64 },
    Hold { at: u64 },
    LetGo { which: usize },
}

/// A guest frame: mostly one of those that are used, sometimes one that cannot be.
fn place(random: &mut Random) -> u64 {
    match random.below(30) {
        0 => *random.pick(&[1 << 36, (1 << 36) - 1, 1 << 52, u64::MAX]),
        _ => *random.pick(PLACES),
    }
}

fn places(random: &mut Random) -> Vec<u64> {
    (0..=random.below(4)).map(|_| place(random)).collect()
}

fn order(random: &mut Random) -> u32 {
    *random.pick(&[0, 0, 0, 0, 1, 2, 3, 9, 10, 64])
}

fn space_and_index(random: &mut Random) -> (u32, u64) {
    match random.below(8) {
        0 | 1 => (abi::XENMAPSPACE_shared_info, random.below(8) / 7),
        2 | 3 => {
            let status = abi::XENMAPIDX_grant_table_status;
            (
                abi::XENMAPSPACE_grant_table,
                *random.pick(&[0, 1, 2, 7, 8, 1 << 32, status, u64::MAX]),
            )
        }
        4 => (*random.pick(&[abi::XENMAPSPACE_dev_mmio, 6, 99]), 0),
        _ => (abi::XENMAPSPACE_gmfn, place(random)),
    }
}

impl Memory {
    fn domain(&mut self, n: u16) -> &mut Domain {
        &mut self.domains[usize::from(n) - 1]
    }

    /// Learns which frame has just come, which must be clean, and makes it dirty.
    fn welcome(&mut self, world: &World, n: u16, at: u64) {
        let domain = world.domain(n).unwrap();
        let leaf = domain.memory.stage().lock().translate(Gfn::new(at)).unwrap();
        let mfn = leaf.target.mfn;
        self.domain(n).learn(at, mfn);
        let memory = world.hypervisor.machine.memory();
        let address = |offset| mfn.address().unwrap().checked_add(offset).unwrap();
        for offset in [0, DIRT] {
            let mut word = [1; 8];
            memory.read(address(offset), &mut word);
            assert_eq!(word, [0; 8], "fresh memory at {at:#x} of domain {n} is not zero");
        }
        memory.write(address(DIRT), &[0xd1; 8]);
    }

    fn reservation(&self, world: &World, n: u16, command: u32, list: &[u64], count: u64, order: u32) -> i64 {
        for (at, first) in (0..).zip(list) {
            world.put(n, LIST + at * 8, first);
        }
        let mut argument = abi::Reservation {
            extent_start: GuestHandle64(LIST),
            nr_extents: count,
            extent_order: order,
            domid: DOMID_SELF,
            ..Default::default()
        };
        world.call_with(n, HYPERVISOR_memory_op, command, &mut argument)
    }

    fn populate(&mut self, world: &World, n: u16, list: &[u64], order: u32) {
        let mut fresh = Vec::new();
        let mut done = 0;
        for first in list {
            let Some(places) = self.domain(n).populate(*first, order) else {
                break;
            };
            fresh.extend(places);
            done += 1;
        }
        let command = abi::XENMEM_populate_physmap;
        let result = self.reservation(world, n, command, list, list.len() as u64, order);
        assert_eq!(result, done, "extents populated");
        for at in fresh {
            // It may have been replaced within the same call.
            if self.domain(n).at(at) == Some(What::Fresh) {
                self.welcome(world, n, at);
            }
        }
    }

    fn add(&mut self, world: &World, n: u16, space: u32, index: u64, to: u64) {
        let expected = self.domain(n).add(space, index, to);
        let mut argument = abi::AddToPhysmap {
            domid: DOMID_SELF,
            space,
            idx: index,
            gpfn: to,
            ..Default::default()
        };
        let command = abi::XENMEM_add_to_physmap;
        assert_eq!(
            world.call_with(n, HYPERVISOR_memory_op, command, &mut argument),
            expected
        );
    }

    fn range(&mut self, world: &World, n: u16, from: u64, to: u64, size: u16) {
        let mut expected = 0;
        for further in 0..u64::from(size) {
            let moved = match (from.checked_add(further), to.checked_add(further)) {
                (Some(from), Some(to)) => self.domain(n).add(abi::XENMAPSPACE_gmfn, from, to),
                _ => -22,
            };
            if moved != 0 {
                expected = moved;
                break;
            }
        }
        let mut argument = abi::AddToPhysmap {
            domid: DOMID_SELF,
            size,
            space: abi::XENMAPSPACE_gmfn_range,
            idx: from,
            gpfn: to,
        };
        let command = abi::XENMEM_add_to_physmap;
        assert_eq!(
            world.call_with(n, HYPERVISOR_memory_op, command, &mut argument),
            expected
        );
    }

    fn batch(&mut self, world: &World, n: u16, space: u32, pairs: &[(u64, u64)]) {
        for (at, (index, to)) in (0..).zip(pairs) {
            world.put(n, LIST + at * 8, index);
            world.put(n, FRAMES + at * 8, to);
        }
        let mut argument = abi::AddToPhysmapBatch {
            domid: DOMID_SELF,
            space: u16::try_from(space).unwrap(),
            size: u16::try_from(pairs.len()).unwrap(),
            idxs: GuestHandle64(LIST),
            gpfns: GuestHandle64(FRAMES),
            errs: GuestHandle64(OUTCOMES),
            ..Default::default()
        };
        let command = abi::XENMEM_add_to_physmap_batch;
        let result = world.call_with(n, HYPERVISOR_memory_op, command, &mut argument);
        if space == abi::XENMAPSPACE_dev_mmio {
            return assert_eq!(result, -13);
        }
        // The number that is none ends a batch.
        let done = pairs.iter().position(|(_, to)| *to == u64::MAX);
        assert_eq!(result, if done.is_some() { -22 } else { 0 });
        for (at, (index, to)) in (0..).zip(pairs).take(done.unwrap_or(pairs.len())) {
            let expected = self.domain(n).add(space, *index, *to);
            let outcome: i32 = world.get(n, OUTCOMES + at * 4);
            assert_eq!(i64::from(outcome), expected, "element {at}");
        }
    }

    fn remove(&mut self, world: &World, n: u16, at: u64) {
        let expected = self.domain(n).remove(at);
        let mut argument = abi::RemoveFromPhysmap {
            domid: DOMID_SELF,
            gpfn: at,
            ..Default::default()
        };
        let command = abi::XENMEM_remove_from_physmap;
        assert_eq!(
            world.call_with(n, HYPERVISOR_memory_op, command, &mut argument),
            expected
        );
    }

    /// Sets a memory map and reads it back.
    fn map(world: &World, n: u16, entries: u32, at: u64) {
        for entry in 0..u64::from(entries.min(4)) {
            world.put(n, LIST + entry * 20, &[at + entry, 0x1000]);
            world.put(n, LIST + entry * 20 + 16, &1_u32);
        }
        let map = abi::MemoryMap {
            nr_entries: entries,
            buffer: GuestHandle64(LIST),
            ..Default::default()
        };
        let mut set = abi::ForeignMemoryMap {
            domid: DOMID_SELF,
            map,
            ..Default::default()
        };
        let command = abi::XENMEM_set_memory_map;
        let result = world.call_with(n, HYPERVISOR_memory_op, command, &mut set);
        assert_eq!(result, if entries > 1024 { -22 } else { 0 });
        if entries > 4 {
            return;
        }
        let mut get = abi::MemoryMap {
            nr_entries: 9,
            buffer: GuestHandle64(OUTCOMES),
            ..Default::default()
        };
        let result = world.call_with(n, HYPERVISOR_memory_op, abi::XENMEM_memory_map, &mut get);
        if entries == 0 {
            return assert_eq!(result, -38, "there is no map");
        }
        assert_eq!((result, get.nr_entries), (0, entries));
        let last: u64 = world.get(n, OUTCOMES + u64::from(entries - 1) * 20);
        assert_eq!(last, at + u64::from(entries) - 1);
    }

    fn register(&mut self, world: &World, n: u16, vcpu: u32, at: u64) {
        let expected = self.domain(n).register(vcpu, at);
        world.put(
            n,
            ARGUMENTS,
            &RegisterVcpuInfo {
                mfn: at,
                ..Default::default()
            },
        );
        let arguments = [VCPUOP_register_vcpu_info.into(), vcpu.into(), ARGUMENTS];
        assert_eq!(world.call(n, HYPERVISOR_vcpu_op, &arguments), expected);
    }

    fn hold(&mut self, world: &World, n: u16, at: u64) {
        if self.holds.len() >= HOLDS {
            return;
        }
        let domain = world.domain(n).unwrap();
        let pin = domain.memory.ram(Gfn::new(at), Access::ReadWrite);
        let mfn = self.domain(n).ram(at);
        assert_eq!(pin.as_ref().map(Pin::mfn), mfn, "RAM at {at:#x}");
        if let Some(pin) = pin {
            let mfn = pin.keep();
            self.holds.push((n, mfn));
            self.domain(n).hold(mfn);
        }
    }

    fn let_go(&mut self, world: &World, which: usize) {
        if which < self.holds.len() {
            let (n, mfn) = self.holds.swap_remove(which);
            world.hypervisor.frames.release(mfn);
            self.domain(n).let_go(mfn);
        }
    }

    /// What a domain can ask about its memory is as the model says.
    fn check(&mut self, world: &World, n: u16) {
        let ask = |command| {
            let mut argument = abi::Domain { domid: DOMID_SELF };
            world.call_with(n, HYPERVISOR_memory_op, command, &mut argument)
        };
        let domain = self.domain(n);
        let (used, highest) = (domain.used(), domain.highest());
        assert_eq!(ask(abi::XENMEM_current_reservation), used.cast_signed(), "frames");
        assert_eq!(
            ask(abi::XENMEM_maximum_gpfn),
            highest.cast_signed(),
            "the highest frame"
        );
    }

    /// Everything is where the model says.
    fn look(&mut self, world: &World, n: u16) {
        let domain = world.domain(n).unwrap();
        let mut seen = Vec::new();
        domain
            .memory
            .stage()
            .lock()
            .leaves(Gfn::new(0), &mut |first, leaf| {
                for further in 0..leaf.order.frames() {
                    let mfn = Mfn::new(leaf.target.mfn.raw() + further);
                    let ram = leaf.target.kind == Kind::Ram;
                    seen.push((first.raw() + further, leaf.target.kind, ram.then_some(mfn)));
                }
                true
            });
        let model = self.domain(n);
        let expected: Vec<_> = model
            .mapped()
            .map(|(at, what)| (at, what.kind(), model.ram(at)))
            .collect();
        assert_eq!(seen, expected, "domain {n}");
    }
}

impl Area for Memory {
    type Call = Call;

    fn new(world: &World) -> Self {
        let mut all = Self {
            domains: Default::default(),
            holds: Vec::new(),
        };
        (1..=3).for_each(|n| all.created(world, n));
        all
    }

    fn invent(random: &mut Random) -> Call {
        let n = *random.pick(&[1, 1, 2, 3]);
        let act = match random.below(20) {
            0 => Act::Increase {
                count: random.below(4),
                order: order(random),
            },
            1..=3 => Act::Decrease {
                first: places(random),
                order: order(random),
            },
            4..=7 => Act::Populate {
                first: places(random),
                order: order(random),
            },
            8..=10 => {
                let (space, index) = space_and_index(random);
                let to = place(random);
                Act::Add { space, index, to }
            }
            11 => Act::Range {
                from: place(random),
                to: place(random),
                size: u16::try_from(random.below(6)).unwrap(),
            },
            12 | 13 => {
                let (space, index) = space_and_index(random);
                let mut pairs = vec![(index, place(random))];
                if space == abi::XENMAPSPACE_gmfn {
                    pairs.extend((0..random.below(4)).map(|_| (place(random), place(random))));
                }
                Act::Batch { space, pairs }
            }
            14 => Act::Remove { at: place(random) },
            15 => Act::Map {
                entries: *random.pick(&[0, 1, 2, 3, 4, 1025]),
                at: random.below(1 << 30),
            },
            16 => Act::Register {
                vcpu: u32::try_from(random.below(3)).unwrap(),
                at: place(random),
            },
            17 | 18 => Act::Hold { at: place(random) },
            _ => Act::LetGo {
                which: usize::try_from(random.below(3)).unwrap(),
            },
        };
        Call { n, act }
    }

    fn caller(call: &Call) -> u16 {
        call.n
    }

    fn perform(&mut self, world: &World, Call { n, act }: &Call) {
        let n = *n;
        match act {
            Act::Increase { count, order } => {
                let done = self.domain(n).increase(*count, *order);
                let command = abi::XENMEM_increase_reservation;
                assert_eq!(self.reservation(world, n, command, &[], *count, *order), done);
            }
            Act::Decrease { first, order } => {
                let done = self.domain(n).decrease(first, *order);
                let command = abi::XENMEM_decrease_reservation;
                let count = first.len() as u64;
                assert_eq!(self.reservation(world, n, command, first, count, *order), done);
            }
            Act::Populate { first, order } => self.populate(world, n, first, *order),
            Act::Add { space, index, to } => self.add(world, n, *space, *index, *to),
            Act::Range { from, to, size } => self.range(world, n, *from, *to, *size),
            Act::Batch { space, pairs } => self.batch(world, n, *space, pairs),
            Act::Remove { at } => self.remove(world, n, *at),
            Act::Map { entries, at } => Self::map(world, n, *entries, *at),
            Act::Register { vcpu, at } => self.register(world, n, *vcpu, *at),
            Act::Hold { at } => self.hold(world, n, *at),
            Act::LetGo { which } => self.let_go(world, *which),
        }
        self.check(world, n);
    }

    fn destroyed(&mut self, _: &World, n: u16) {
        self.domain(n).end();
    }

    fn created(&mut self, world: &World, n: u16) {
        self.domain(n).begin();
        (0..RAM_FRAMES).for_each(|at| self.welcome(world, n, at));
        self.check(world, n);
    }

    fn finish(&mut self, world: &World) {
        let there = |n: &u16| world.domain(*n).is_some();
        (1..=3).filter(there).for_each(|n| self.look(world, n));
        while !self.holds.is_empty() {
            self.let_go(world, 0);
        }
        (1..=3).filter(there).for_each(|n| self.check(world, n));
    }
}

#[test]
fn frames_are_where_the_model_says_and_all_come_back_whatever_happens_to_domains() {
    runner::run::<Memory>();
}
