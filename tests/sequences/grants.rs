//! Sequences of `grant_table_op`, and of what moves memory meanwhile.
#![allow(
    clippy::cast_possible_truncation,
    reason = "words of entries are taken apart by cutting them"
)]

mod invent;
mod model;

use invent::{Act, Call, Offer};
use model::{Backing, End, FRAMES, Mapping, Model, PLACES, REFERENCES};
use xenvisor::abi::GuestHandle64;
use xenvisor::abi::errno::EINVAL;
use xenvisor::abi::grant_table as abi;
use xenvisor::abi::memory;
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_grant_table_op, HYPERVISOR_memory_op};
use xenvisor::model::number::{Gfn, GrantRef, GuestAddr};
use xenvisor::model::testing::Random;

use super::runner::{self, Area};
use super::world::{ARGUMENTS, DOMAINS, World};

/// Where the frames of a table are shown, from this guest frame on.
const TABLE: u64 = 100;
/// Where the first frame of status words is shown.
const STATUS: u64 = 120;
/// Where lists lie, beside the arguments.
const LIST: u64 = ARGUMENTS + 512;

struct Grants(Model);

impl Area for Grants {
    type Call = Call;

    fn new(world: &World) -> Self {
        let mut grants = Self(Model::new());
        (1..=DOMAINS).for_each(|n| grants.show(world, n, 0));
        grants
    }

    fn invent(random: &mut Random) -> Call {
        invent::call(random)
    }

    fn caller(call: &Call) -> u16 {
        call.n
    }

    fn perform(&mut self, world: &World, call: &Call) {
        let n = call.n;
        match call.act {
            Act::Offer { reference, ref offer } => self.offer(world, n, reference, offer),
            Act::Map { mut wanted, aim } => {
                if let Some((granter, reference)) = aim.and_then(|aim| self.0.offered_to(n, aim, true)) {
                    (wanted.granter, wanted.reference) = (granter, reference);
                }
                self.map(world, n, &wanted);
            }
            Act::Unmap { which, place, device } => self.unmap(world, n, which, place, device),
            Act::Copy {
                source,
                destination,
                bytes,
                aim: [from, to],
            } => {
                let source = (self.aimed(n, source.0, from), source.1);
                let destination = (self.aimed(n, destination.0, to), destination.1);
                self.copy(world, n, source, destination, bytes);
            }
            Act::SetVersion(version) => self.set_version(world, n, version),
            Act::Swap(one, two) => self.swap(world, n, one, two),
            Act::Show(index) => self.show(world, n, index),
            Act::ShowStatus(index) => self.show_status(world, n, index),
            Act::Setup(count) => self.setup(world, n, count),
            Act::Query(whose) => self.query(world, n, whose),
            Act::Write { place, offset, value } => self.write(world, n, place, offset, value),
            Act::Take { place, lost } => self.take(world, n, place, lost),
            Act::Populate(place) => self.populate(world, n, place),
        }
        self.compare(world);
    }

    fn destroyed(&mut self, world: &World, n: u16) {
        self.0.destroy(n);
        self.compare(world);
    }

    fn created(&mut self, world: &World, n: u16) {
        self.0.create(n);
        self.show(world, n, 0);
    }

    fn finish(&mut self, world: &World) {
        for n in (1..=DOMAINS).filter(|n| world.domain(*n).is_some()) {
            for (place, frame) in PLACES.iter().enumerate() {
                let at = GuestAddr::new(frame << 12);
                let memory = world.domain(n).unwrap();
                let there = memory.guest_memory().read_value::<[u8; 4096]>(at);
                let expected = self.0.content(n, place).copied();
                assert!(there.ok() == expected, "frame {frame} of domain {n}");
            }
        }
    }
}

impl Grants {
    fn aimed(&mut self, n: u16, end: End, aim: Option<usize>) -> End {
        match (end, aim.and_then(|aim| self.0.offered_to(n, aim, false))) {
            (End::Granted { .. }, Some((domain, reference))) => End::Granted { domain, reference },
            _ => end,
        }
    }

    fn offer(&mut self, world: &World, n: u16, reference: u32, offer: &Offer) {
        let domain = self.0.domain(n);
        let version = domain.version;
        if domain.seen(reference).is_none() {
            return;
        }
        let header = |flags: u16, grantee: u16| u64::from(flags) | u64::from(grantee) << 16;
        let words = match *offer {
            Offer::Nothing => [0; 2],
            Offer::Frame {
                grantee,
                place,
                flags,
                part: (offset, bytes),
                far,
            } => {
                let header = header(abi::GTF_permit_access | flags, grantee);
                let frame = PLACES[place];
                match version {
                    1 => [header | frame << 32, 0],
                    _ => [
                        header | u64::from(offset) << 32 | u64::from(bytes) << 48,
                        frame | u64::from(far) << 40,
                    ],
                }
            }
            Offer::Onward {
                grantee,
                via,
                reference,
                flags,
            } => match version {
                1 => [header(abi::GTF_transitive | flags, grantee), 0],
                _ => [
                    header(abi::GTF_transitive | flags, grantee) | u64::from(via) << 32,
                    u64::from(reference),
                ],
            },
        };
        let at = (TABLE << 12) + u64::from(reference) * if version == 1 { 8 } else { 16 };
        if version == 1 {
            world.put(n, at, &words[0]);
        } else {
            world.put(n, at, &words);
        }
        self.0.write_entry(n, reference, words);
    }

    fn map(&mut self, world: &World, n: u16, wanted: &Mapping) {
        let mut argument = abi::MapGrantRef {
            host_addr: PLACES[wanted.place] << 12,
            flags: wanted.flags,
            reference: wanted.reference,
            dom: wanted.granter,
            status: 77,
            handle: 77,
            dev_bus_addr: 77,
        };
        call(world, n, abi::GNTTABOP_map_grant_ref, &mut argument);
        let expected = self.0.map(n, wanted);
        assert_eq!(argument.status, number(expected));
        if expected.is_ok() {
            assert_eq!(argument.dev_bus_addr, 0);
            self.0.mapped(n, wanted, argument.handle);
        } else {
            assert_eq!((argument.handle, argument.dev_bus_addr), (77, 77));
        }
    }

    fn unmap(&mut self, world: &World, n: u16, which: usize, place: Option<usize>, device: u64) {
        let receipts = &self.0.domain(n).receipts;
        let receipt = receipts.get(which % receipts.len().max(1)).copied();
        // A handle that is none may have been one.
        let handle = receipt.map_or(which as u32, |receipt| receipt.handle);
        let right = receipt.map_or(0, |receipt| receipt.place);
        let place = place.map(|place| if place < PLACES.len() { place } else { right });
        let mut argument = abi::UnmapGrantRef {
            host_addr: place.map_or(0, |place| PLACES[place] << 12),
            dev_bus_addr: device,
            handle,
            status: 77,
            padding: 0,
        };
        call(world, n, abi::GNTTABOP_unmap_grant_ref, &mut argument);
        assert_eq!(argument.status, self.0.unmap(n, handle, place, device));
    }

    fn copy(&mut self, world: &World, n: u16, source: (End, u16), destination: (End, u16), bytes: u16) {
        let pointer = |(end, offset)| match end {
            End::Own { place, domain } => (PLACES[place], domain, offset, false),
            End::Granted { domain, reference } => (u64::from(reference), domain, offset, true),
        };
        let side = |(u, domid, offset, _)| abi::CopyPointer {
            u,
            domid,
            offset,
            padding: 0,
        };
        let (from, to) = (pointer(source), pointer(destination));
        let mut argument = abi::CopyOp {
            source: side(from),
            dest: side(to),
            len: bytes,
            flags: u16::from(from.3) | u16::from(to.3) << 1,
            status: 77,
            padding: 0,
        };
        call(world, n, abi::GNTTABOP_copy, &mut argument);
        let expected = self.0.copy(n, source, destination, bytes);
        assert_eq!(argument.status, number(expected));
    }

    fn set_version(&mut self, world: &World, n: u16, version: u32) {
        let mut argument = abi::SetVersion { version };
        let command = abi::GNTTABOP_set_version;
        let result = world.call_with(n, HYPERVISOR_grant_table_op, command, &mut argument);
        let expected = self.0.set_version(n, version);
        assert_eq!(result, expected.map_or_else(|errno| -i64::from(errno), |()| 0));
        assert_eq!(argument.version, self.0.domain(n).version);
    }

    fn swap(&mut self, world: &World, n: u16, ref_a: u32, ref_b: u32) {
        let mut argument = abi::SwapGrantRef {
            ref_a,
            ref_b,
            status: 77,
            padding: 0,
        };
        call(world, n, abi::GNTTABOP_swap_grant_ref, &mut argument);
        assert_eq!(argument.status, self.0.swap(n, ref_a, ref_b));
    }

    fn show(&mut self, world: &World, n: u16, index: u32) {
        let result = place_table(world, n, index.into(), TABLE + u64::from(index));
        let domain = self.0.domain(n);
        if index < FRAMES {
            assert_eq!(result, 0);
            domain.size = domain.size.max(index + 1);
            domain.shown[index as usize] = true;
        } else {
            assert_eq!(result, -i64::from(EINVAL));
        }
    }

    fn show_status(&mut self, world: &World, n: u16, index: u64) {
        let result = place_table(
            world,
            n,
            memory::XENMAPIDX_grant_table_status | index,
            STATUS + index,
        );
        let domain = self.0.domain(n);
        if domain.version == 2 && index == 0 {
            assert_eq!(result, 0);
            domain.status_shown = true;
        } else {
            assert_eq!(result, -i64::from(EINVAL));
        }
    }

    fn setup(&mut self, world: &World, n: u16, count: u32) {
        let mut argument = abi::SetupTable {
            dom: DOMID_SELF,
            padding0: 0,
            nr_frames: count,
            status: 77,
            padding1: [0; 3],
            frame_list: GuestHandle64(LIST),
        };
        call(world, n, abi::GNTTABOP_setup_table, &mut argument);
        if count > FRAMES {
            assert_eq!(argument.status, abi::GNTST_general_error);
            return;
        }
        assert_eq!(argument.status, abi::GNTST_okay);
        let domain = self.0.domain(n);
        domain.size = domain.size.max(count);
        let list = world.get::<[u64; FRAMES as usize]>(n, LIST);
        for (index, frame) in (0..count).zip(list) {
            let shown = domain.shown[index as usize];
            assert_eq!(frame, if shown { TABLE + u64::from(index) } else { u64::MAX });
        }
    }

    fn query(&mut self, world: &World, n: u16, whose: u16) {
        let mut argument = abi::QuerySize {
            dom: whose,
            padding0: 0,
            nr_frames: 77,
            max_nr_frames: 77,
            status: 77,
            padding1: 0,
        };
        call(world, n, abi::GNTTABOP_query_size, &mut argument);
        let size = if whose == DOMID_SELF || whose == n {
            (abi::GNTST_okay, self.0.domain(n).size, FRAMES)
        } else if self.0.is_there(whose) {
            (abi::GNTST_permission_denied, 77, 77)
        } else {
            (abi::GNTST_bad_domain, 77, 77)
        };
        let answer = (argument.status, argument.nr_frames, argument.max_nr_frames);
        assert_eq!(answer, size);
    }

    fn write(&mut self, world: &World, n: u16, place: usize, offset: u64, value: u64) {
        let may = match self.0.backing(n, place) {
            Backing::Nothing => false,
            Backing::Memory { .. } => true,
            Backing::Grant { write, .. } => write,
        };
        let at = GuestAddr::new((PLACES[place] << 12) + offset);
        let domain = world.domain(n).unwrap();
        let written = domain.guest_memory().write_value(at, &value);
        assert_eq!(written.is_ok(), may);
        if may {
            let at = offset as usize;
            self.0.content(n, place).unwrap()[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// A frame is given back, or merely loses its place, after which it is nobody's.
    fn take(&mut self, world: &World, n: u16, place: usize, lost: bool) {
        let Backing::Memory { .. } = self.0.backing(n, place) else {
            return;
        };
        if lost {
            let mut argument = memory::RemoveFromPhysmap {
                domid: DOMID_SELF,
                gpfn: PLACES[place],
                ..Default::default()
            };
            let command = memory::XENMEM_remove_from_physmap;
            assert_eq!(
                world.call_with(n, HYPERVISOR_memory_op, command, &mut argument),
                0
            );
        } else {
            reserve(world, n, memory::XENMEM_decrease_reservation, place);
        }
        self.0.take(n, place);
    }

    fn populate(&mut self, world: &World, n: u16, place: usize) {
        if self.0.backing(n, place) == Backing::Nothing {
            reserve(world, n, memory::XENMEM_populate_physmap, place);
            self.0.populate(n, place);
        }
    }

    /// Entries, status words, pins and receipts are what the model says.
    fn compare(&mut self, world: &World) {
        for n in 1..=DOMAINS {
            let Some(there) = world.domain(n) else {
                continue;
            };
            let domain = self.0.domain(n);
            let used = there.handles.lock().used();
            assert_eq!(used as usize, domain.receipts.len(), "receipts of domain {n}");
            let stage = there.memory.stage().lock();
            let seen = |at: u64| stage.translate(Gfn::new(at)).is_some();
            assert_eq!(seen(STATUS), domain.status_shown, "status words of domain {n}");
            for (frame, shown) in (TABLE..).zip(domain.shown) {
                assert_eq!(seen(frame), shown, "frame {frame} of domain {n}");
            }
            for (place, frame) in PLACES.iter().enumerate() {
                assert_eq!(
                    seen(*frame),
                    domain.is_backed(place),
                    "frame {frame} of domain {n}"
                );
            }
            drop(stage);
            for reference in REFERENCES {
                let pinned = there.grants.lock().is_pinned(GrantRef::new(reference));
                assert_eq!(pinned, domain.is_pinned(reference), "{reference} of domain {n}");
                let Some(entry) = domain.seen(reference) else {
                    continue;
                };
                let at = |bytes: u64| GuestAddr::new((TABLE << 12) + u64::from(reference) * bytes);
                let memory = there.guest_memory();
                let words = match domain.version {
                    1 => [memory.read_value(at(8)).unwrap(), 0],
                    _ => memory.read_value(at(16)).unwrap(),
                };
                assert_eq!(words, entry.words, "entry {reference} of domain {n}");
                if domain.status_shown {
                    let at = GuestAddr::new((STATUS << 12) + u64::from(reference) * 2);
                    let status = memory.read_value::<u16>(at).unwrap();
                    assert_eq!(status, entry.status, "status of entry {reference} of domain {n}");
                }
            }
        }
    }
}

fn number(status: Result<(), i16>) -> i16 {
    status.map_or_else(|status| status, |()| abi::GNTST_okay)
}

fn call<T>(world: &World, n: u16, command: u32, argument: &mut T)
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    let result = world.call_with(n, HYPERVISOR_grant_table_op, command, argument);
    assert_eq!(result, 0);
}

fn place_table(world: &World, n: u16, idx: u64, gpfn: u64) -> i64 {
    let mut argument = memory::AddToPhysmap {
        domid: DOMID_SELF,
        space: memory::XENMAPSPACE_grant_table,
        idx,
        gpfn,
        ..Default::default()
    };
    world.call_with(
        n,
        HYPERVISOR_memory_op,
        memory::XENMEM_add_to_physmap,
        &mut argument,
    )
}

fn reserve(world: &World, n: u16, command: u32, place: usize) {
    world.put(n, LIST, &PLACES[place]);
    let mut argument = memory::Reservation {
        extent_start: GuestHandle64(LIST),
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let result = world.call_with(n, HYPERVISOR_memory_op, command, &mut argument);
    assert_eq!(result, 1);
}

#[test]
fn grants_do_what_the_model_says_whatever_happens_to_domains() {
    runner::run::<Grants>();
}
