//! What real Xen answered, replayed on the simulated machine.
//!
//! `tests/transcripts` has talks that a guest had with Xen 4.17. Each is held again here, with a domain of the simulated
//! machine as the speaker, and has to go the same way line by line; differences that are wanted are listed with their
//! reason.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod world;

use std::fmt::Write as _;
use std::path::Path;

use world::World;
use xenvisor::abi::event_channel::{AllocUnbound, EVTCHNOP_alloc_unbound};
use xenvisor::abi::xen::{DOMID_SELF, HYPERVISOR_event_channel_op};
use xenvisor::model::machine::GuestRam;
use xenvisor::model::number::{GuestAddr, MIB};
use xenvisor::prelude::*;
use xenvisor_conversation::{Area, Speaker, hold};

/// How the transcripts were made.
const SEED: u64 = 1;
const CALLS: u32 = 2000;
/// How many differing lines are shown.
const SHOWN: usize = 20;

struct Domain<'a>(&'a World);

impl Speaker for Domain<'_> {
    fn call(&mut self, number: u32, arguments: [u64; 5]) -> i64 {
        self.0.call(1, number, &arguments)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.0
            .domain(1)
            .guest_memory()
            .write(GuestAddr::new(at), bytes)
            // Where nothing is, nothing is written.
            .unwrap_or_default();
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) {
        self.0
            .domain(1)
            .guest_memory()
            .read(GuestAddr::new(at), bytes)
            // Where nothing is, a guest reads ones.
            .unwrap_or_else(|_| bytes.fill(0xff));
    }
}

/// A talk with us.
fn talk(area: Area, seed: u64, calls: u32) -> String {
    let world = World::with_memory(1, 64 * MIB, XenDefault::default());
    if area == Area::Vcpus {
        // Xen's tools have opened two ports of a guest before it runs, for the store and for the console.
        let port = AllocUnbound {
            dom: DOMID_SELF,
            ..AllocUnbound::default()
        };
        world.put(1, world::ARGUMENTS, &port);
        let arguments = [EVTCHNOP_alloc_unbound.into(), world::ARGUMENTS];
        assert_eq!(world.call(1, HYPERVISOR_event_channel_op, &arguments), 0);
    }
    let mut transcript = String::new();
    hold(area, seed, calls, &mut Domain(&world), &mut transcript).unwrap();
    transcript
}

/// Holds the talk of an area again, and fails with the first lines that differ.
fn goes_as_with_xen(area: Area) {
    let name = area.name();
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/transcripts")
        .join(format!("{name}.txt"));
    let theirs = std::fs::read_to_string(&file).unwrap();
    let ours = talk(area, SEED, CALLS);
    let mut differences = String::new();
    let mut count = 0;
    for (number, (xen, we)) in theirs.lines().zip(ours.lines()).enumerate() {
        if xen != we {
            count += 1;
            if count <= SHOWN {
                let line = number + 1;
                writeln!(differences, "{name}.txt:{line}\n  Xen: {xen}\n  we:  {we}").unwrap();
            }
        }
    }
    let (theirs, ours) = (theirs.lines().count(), ours.lines().count());
    assert!(
        count == 0 && theirs == ours,
        "{count} of {theirs} lines are not as with Xen; the first:\n{differences}"
    );
}

#[test]
fn a_talk_about_event_channels_goes_as_it_went_with_xen() {
    goes_as_with_xen(Area::Events);
}

#[test]
fn a_talk_about_event_queues_goes_as_it_went_with_xen() {
    goes_as_with_xen(Area::Fifo);
}

#[test]
fn a_talk_about_grants_goes_as_it_went_with_xen() {
    goes_as_with_xen(Area::Grants);
}

#[test]
fn a_talk_about_memory_goes_as_it_went_with_xen() {
    goes_as_with_xen(Area::Memory);
}

#[test]
fn a_talk_about_processors_and_time_goes_as_it_went_with_xen() {
    goes_as_with_xen(Area::Vcpus);
}

#[test]
fn a_talk_about_everything_else_goes_as_it_went_with_xen() {
    goes_as_with_xen(Area::Misc);
}
