//! Talks of a guest on the emulated processor: as they went with Xen there.

use std::path::Path;

use xenvisor_conversation::Area;
use xtask::xen::Talk;

fn goes_as_with_xen(area: Area) {
    let ours = Talk::kept(area)
        .with_us()
        .unwrap_or_else(|error| panic!("{error:#}"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/transcripts")
        .join(format!("{}.txt", area.name()));
    let theirs = std::fs::read_to_string(file).unwrap();
    for (number, (xen, we)) in (1..).zip(theirs.lines().zip(ours.lines())) {
        assert_eq!(xen, we, "{}.txt:{number}: Xen's on the left", area.name());
    }
    assert_eq!(theirs.lines().count(), ours.lines().count());
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn talks_about_event_channels_go_as_with_xen_on_the_same_processor() {
    goes_as_with_xen(Area::Events);
    goes_as_with_xen(Area::Fifo);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn talks_about_grants_and_memory_go_as_with_xen_on_the_same_processor() {
    goes_as_with_xen(Area::Grants);
    goes_as_with_xen(Area::Memory);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn talks_about_all_the_rest_go_as_with_xen_on_the_same_processor() {
    goes_as_with_xen(Area::Vcpus);
    goes_as_with_xen(Area::Misc);
}
