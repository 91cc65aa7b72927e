//! What real Xen answered, replayed on the simulated machine.
//!
//! `tests/transcripts` has talks that a guest had with Xen 4.17. Each is held again here, with a domain of the simulated
//! machine as the speaker, and has to go the same way line by line; what talks leave out stands in
//! `docs/against_xen.md` with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod world;

use world::World;
use xenvisor::model::machine::GuestRam;
use xenvisor::model::number::{GuestAddr, MIB};
use xenvisor::prelude::*;
use xenvisor_conversation::{Area, Speaker, hold};
use xtask::xen::{Comparison, Talk, kept};

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
fn had_with_us(talk: Talk) -> String {
    let world = World::with_memory(1, 64 * MIB, XenDefault::default());
    let mut transcript = String::new();
    let Talk { area, seed, calls } = talk;
    hold(area, seed, calls, &mut Domain(&world), &mut transcript).unwrap();
    transcript
}

/// Holds the talk of an area again, and fails with the first lines that differ.
fn goes_as_with_xen(area: Area) {
    let theirs = kept(area).unwrap();
    let ours = had_with_us(Talk::kept(area));
    let comparison = Comparison::of(area, &theirs, &ours);
    assert!(comparison.agrees(), "{comparison}");
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
