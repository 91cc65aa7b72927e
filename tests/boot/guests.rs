//! Small guests of this repository: what they do to each other, and what they cannot do to the host.

use xtask::guests;
use xtask::machine::Ending;

use crate::policy_images;
use crate::world::{Machine, guest};

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
fn guests_that_have_interrupts_off_and_give_way_to_nobody_take_turns_all_the_same() {
    let running = Machine::with("exchange")
        .module("one", &guest("stubborn"))
        .module("two", &guest("stubborn"))
        .ends(Ending::GuestsEnded);
    let said = running.console().text();
    let at = |words: &str| {
        said.find(words)
            .unwrap_or_else(|| panic!("no {words:?} in:\n{said}"))
    };
    let begun = at("[one] I do not give way").max(at("[two] I do not give way"));
    let ended = at("[one] now I do").min(at("[two] now I do"));
    assert!(begun < ended, "one has had it all until its end: {said}");
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

/// Runs `exchange` in two guests of these widths, with more words on their command lines, until both have said that it
/// went well.
fn exchange(one: (u32, &str), two: (u32, &str)) {
    let program = |bits| {
        let built = match bits {
            32 => guests::build_32("exchange"),
            _ => guests::build("exchange"),
        };
        std::fs::read(built.unwrap()).unwrap()
    };
    let running = Machine::with("exchange")
        .module("one", &program(one.0))
        .module("two", &program(two.0))
        .line(&format!("guest.one.cmdline=\"peer=2 role=first {}\"", one.1))
        .line(&format!("guest.two.cmdline=\"peer=1 {}\"", two.1))
        .ends(Ending::GuestsEnded);
    let said = running.console().text();
    for (name, mine, theirs) in [("one", one.0, two.0), ("two", two.0, one.0)] {
        let expected = format!("[{name}] {mine} bits, with a peer of {theirs}: mapped, copied, answered");
        assert!(said.contains(&expected), "no {expected:?} in:\n{said}");
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_32_bit_guest_with_pae_page_tables_and_a_64_bit_guest_exchange_grants_and_events() {
    exchange((32, "paging=pae"), (64, ""));
    exchange((64, "calls=page"), (32, "paging=pae calls=page"));
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn two_32_bit_guests_exchange_without_paging_and_with_4_mib_pages() {
    exchange((32, ""), (32, "paging=pse calls=page"));
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn upcalls_reach_32_bit_and_64_bit_guests_through_their_interrupt_tables() {
    exchange((32, "paging=pae events=upcalls"), (64, "events=callback"));
    exchange((64, "events=upcalls"), (32, "events=callback"));
}

/// What the guest `modes` says, built for this width.
fn modes(program: &std::path::Path) -> String {
    let running = Machine::with("one_guest")
        .module("guest", &std::fs::read(program).unwrap())
        .ends(Ending::GuestsEnded);
    running.console().text()
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn hypercalls_of_all_modes_have_the_32_bit_convention_but_for_64_bit_mode() {
    // Xen 4.17 is the answer; -EPERM for whoever is not the kernel.
    let (version, refused) = ("0x40011", "0xffffffff");
    let narrow = modes(&guests::build_32("modes").unwrap());
    for (mode, result) in [
        ("16-bit protected mode", version),
        ("real mode", version),
        ("user mode", refused),
        ("virtual-8086 mode", refused),
        ("all modes of 32", "bits"),
    ] {
        let said = [format!("{mode}: {result}\r"), format!("{mode} {result}")];
        assert!(
            said.iter().any(|line| narrow.contains(line)),
            "{mode} in:\n{narrow}"
        );
    }
    let wide = modes(&guests::build("modes").unwrap());
    for said in [
        "compatibility mode: 0x40011\r",
        "compatibility mode, upper half: 0x0\r",
        "compatibility mode, a map of its layout: 0x0 true\r",
        "all modes of 64 bits",
    ] {
        assert!(wide.contains(said), "{said:?} in:\n{wide}");
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_second_vcpu_starts_by_hypercall_in_the_mode_its_guest_is_in() {
    for (program, line, expected) in [
        (guests::build_32("second_vcpu"), "", "vcpu 1 of 32 bits"),
        (guests::build_32("second_vcpu"), "paging=pae", "vcpu 1 of 32 bits"),
        (guests::build("second_vcpu"), "", "vcpu 1 of 64 bits"),
    ] {
        let running = Machine::with("one_guest")
            .module("guest", &std::fs::read(program.unwrap()).unwrap())
            .line(&format!("guest.guest.vcpus=2 guest.guest.cmdline=\"{line}\""))
            .ends(Ending::GuestsEnded);
        let said = running.console().text();
        // EEXIST: it has begun already.
        let expected = format!("{expected} has done 1000; again: Err(-17)");
        assert!(said.contains(&expected), "no {expected:?} in:\n{said}");
    }
}

/// What real Xen 4.17 answered: `cargo xtask xen run FILE` of the same guest, where FILE is what `guests::build_32` made.
const NARROW: &str = include_str!("narrow.txt");

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn calls_of_32_bit_code_are_answered_as_real_xen_answers_them() {
    let program = guests::build_32("narrow").unwrap();
    let running = Machine::with("one_guest")
        .module("guest", &std::fs::read(program).unwrap())
        .ends(Ending::GuestsEnded);
    let console = running.console().text();
    let said: Vec<&str> = console
        .lines()
        .map(str::trim)
        .filter(|line| line.contains(':'))
        .collect();
    let differences: Vec<String> = NARROW
        .lines()
        .filter(|line| !said.contains(line))
        .map(|line| {
            let name = line.split(':').next().unwrap_or_default();
            let ours = said.iter().find(|said| said.split(':').next() == Some(name));
            format!("Xen says {line:?}, we say {ours:?}")
        })
        .collect();
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(NARROW.lines().count() > 90);
}
