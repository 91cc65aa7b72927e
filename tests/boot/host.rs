//! The host alone, without guests: it starts by every boot protocol, keeps time, protects its memory, and when it fails
//! it says so and ends.

use crate::world::{Machine, Way, guest};
use xtask::iso::Protocol;
use xtask::machine::Ending;

fn trial(name: &str) -> Machine {
    Machine::with("host").line(&format!("host.try={name}"))
}

/// The last words of a host that fails at `name`, after the test that it ended the machine as a failed one.
fn last_words(name: &str) -> String {
    let running = trial(name).ends(Ending::HostFailed);
    running.story()
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_host_with_nothing_to_do_ends_well() {
    trial("nothing").ends(Ending::GuestsEnded);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn all_processors_work_sleep_and_are_woken_by_a_kick() {
    for (pcpus, expected) in [
        (1, "1 processors: at work 0x0, woken 0x0"),
        (2, "2 processors: at work 0x2, woken 0x2"),
        (4, "4 processors: at work 0xe, woken 0xe"),
    ] {
        let story = trial("processors").pcpus(pcpus).ends(Ending::GuestsEnded).story();
        assert!(story.contains(expected), "{story}");
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_panic_is_told_with_its_reason_and_with_the_names_on_the_stack() {
    let story = last_words("panic");
    assert!(story.contains("as asked"), "{story}");
    assert!(story.contains("xenvisor_image_main"), "{story}");
    assert!(story.contains("tests/images/host.rs:"), "{story}");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_stack_that_overflows_hits_its_guard_page_and_nothing_else() {
    let story = last_words("overflow");
    assert!(story.contains("guard page"), "{story}");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn what_must_not_be_written_or_executed_faults() {
    for name in [
        "null",
        "write-text",
        "write-text-directly",
        "write-module",
        "execute-data",
    ] {
        let running = trial(name)
            .module("something", b"not to be written")
            .ends(Ending::HostFailed);
        let story = running.story();
        assert!(story.contains("#PF"), "{name}: {story}");
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_fault_of_the_processor_is_named() {
    assert!(last_words("undefined").contains("#UD"));
    assert!(last_words("divide").contains("#DE"));
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn memory_and_heap_are_as_they_should_be() {
    for name in ["memory", "heap"] {
        let running = trial(name).ends(Ending::GuestsEnded);
        let said = running.console().text();
        assert!(said.contains("as it should be"), "{said}");
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn what_is_typed_arrives_and_is_answered() {
    let mut running = trial("echo").start();
    running.wait_for("ready").unwrap();
    running.type_line("hello").unwrap();
    running.wait_for("HELLO").unwrap();
    running.type_line("q").unwrap();
    running.expect(Ending::GuestsEnded).unwrap();
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn modules_arrive_by_every_boot_protocol() {
    for way in [
        Way::Pvh,
        Way::Grub(Protocol::Multiboot2),
        Way::Grub(Protocol::Multiboot1),
    ] {
        let running = trial("modules")
            .line("words=\"with a space\"")
            .module("first", b"12345")
            .module("second", &[7; 5000])
            .by(way)
            .ends(Ending::GuestsEnded);
        let said = running.console().text();
        assert!(said.contains("module first: 5 bytes"), "{way:?}: {said}");
        assert!(said.contains("module second: 5000 bytes"), "{way:?}: {said}");
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn the_log_arrives_decoded_with_level_and_time() {
    let running = trial("nothing").ends(Ending::GuestsEnded);
    let lines = running.log().lines();
    let booted = lines
        .iter()
        .find(|line| line.text.contains("booted by PVH"))
        .expect("the host says how it booted");
    assert_eq!(booted.level, xtask::machine::Level::Info);
    assert!(
        booted.time.parse::<f64>().is_ok_and(|seconds| seconds > 0.0),
        "{booted}"
    );
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_processor_that_is_stuck_is_found_by_another_and_says_where_it_is() {
    let story = Machine::with("stuck")
        .module("guest", &guest("ping"))
        .line("host.watchdog=1")
        .pcpus(2)
        .ends(Ending::HostFailed)
        .story();
    for expected in [
        "pcpu 1 has taken no turn",
        "in the turn of vcpu 0 of d1",
        "stand_still",
    ] {
        assert!(story.contains(expected), "no {expected:?} in:\n{story}");
    }
}
