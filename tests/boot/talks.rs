//! Talks of a guest on the emulated processor: as they went with Xen there.

use crate::world::emulator;
use xenvisor_conversation::Area;
use xtask::xen::{Comparison, Talk, Us, kept};

fn go_as_with_xen(areas: [Area; 2]) {
    let us = Us::build(emulator()).unwrap_or_else(|error| panic!("{error:#}"));
    for area in areas {
        let ours = Talk::kept(area)
            .with_us(&us)
            .unwrap_or_else(|error| panic!("{error:#}"));
        let theirs = kept(area).unwrap();
        let comparison = Comparison::of(area, &theirs, &ours);
        assert!(comparison.agrees(), "{comparison}");
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn talks_about_event_channels_go_as_with_xen_on_the_same_processor() {
    go_as_with_xen([Area::Events, Area::Fifo]);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn talks_about_grants_and_memory_go_as_with_xen_on_the_same_processor() {
    go_as_with_xen([Area::Grants, Area::Memory]);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn talks_about_all_the_rest_go_as_with_xen_on_the_same_processor() {
    go_as_with_xen([Area::Vcpus, Area::Misc]);
}
