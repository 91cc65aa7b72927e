//! Small guests of this repository: what they do to each other, and what they cannot do to the host.

use xtask::guests;
use xtask::machine::Ending;

use crate::policy_images;
use crate::world::Machine;

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(guests::build(name).unwrap()).unwrap()
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn two_guests_share_an_event_channel_and_nothing_else() {
    let running = Machine::with("two_guests")
        .module("ping", &guest("ping"))
        .module("pong", &guest("pong"))
        .ends(Ending::GuestsEnded);
    let said = running.console().text();
    for expected in [
        "[ping] 100 round trips",
        "[pong] 100 answers",
        "[pong] its page is refused",
    ] {
        assert!(said.contains(expected), "no {expected:?} in:\n{said}");
    }
    let reasons = running.log().lines();
    let denied = reasons
        .iter()
        .any(|line| format!("{line:?}").contains("these guests share no memory"));
    assert!(denied, "no reason in the log: {reasons:?}");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_triple_fault_ends_its_guest_with_a_reason_and_no_other() {
    let running = Machine::with("two_guests")
        .module("ping", &guest("triple_fault"))
        .module("pong", &guest("hello"))
        .ends(Ending::GuestCrashed);
    let said = running.console().text();
    assert!(said.contains("hello; my command line is \"peer=1\""), "{said}");
    let lines = running.log().lines();
    assert!(
        lines
            .iter()
            .any(|line| format!("{line:?}").contains("triple fault")),
        "{lines:?}"
    );
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn each_image_of_a_policy_denies_what_it_should_and_says_why() {
    for image in policy_images::ALL {
        let running = Machine::with(image.name)
            .module("intruder", &guest("intruder"))
            .module("neighbour", &guest("neighbour"))
            .ends(Ending::GuestsEnded);
        let said = running.console().text();
        let log = format!("{:#?}", running.log().lines());
        let missing = policy_images::missing(&image, &said, &log);
        assert!(
            missing.is_empty(),
            "{}: no {missing:?} in:\n{said}\n{log}",
            image.name
        );
    }
}
