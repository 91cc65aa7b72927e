//! The check itself: that it passes, and that it would see a difference.

use std::io::Write;
use std::path::PathBuf;

use xenvisor_abi::HEADERS;
use xenvisor_abi::describe::{Constant, Field, Header, Layout};

use super::{compare, find};

/// Where the C headers are; if nowhere, says how to get them, past what captures the output of tests.
fn headers() -> Option<PathBuf> {
    find()
        .inspect_err(|error| writeln!(std::io::stderr(), "the ABI is not compared: {error}").unwrap())
        .ok()
}

#[test]
fn every_layout_and_number_is_that_of_the_c_headers() {
    let Some(include) = headers() else { return };
    let report = compare(HEADERS, &include).unwrap();
    assert_eq!(report.differences, Vec::<String>::new());
    assert!(
        report.constants > 500 && report.fields > 300,
        "compared too little: {report:?}"
    );
}

#[test]
fn a_wrong_number_a_wrong_offset_and_a_forgotten_member_are_each_seen() {
    let Some(include) = headers() else { return };
    let wrong = Header {
        constants: &[Constant {
            c: "SCHEDOP_block",
            value: 2,
        }],
        layouts: &[Layout {
            rust: "Watchdog",
            c: "sched_watchdog",
            size: 8,
            align: 4,
            fields: &[
                Field {
                    rust: "id",
                    c: "id",
                    offset: 4,
                    size: 4,
                },
                Field {
                    rust: "padding",
                    c: "",
                    offset: 0,
                    size: 4,
                },
            ],
        }],
        ..Header::empty("sched.h")
    };
    let seen = compare(&[wrong], &include).unwrap().differences.join("\n");
    assert!(
        seen.contains("SCHEDOP_block: 0x2 here, 0x1 in C (Bits64)"),
        "{seen}"
    );
    assert!(
        seen.contains("Watchdog.id (sched_watchdog.id): offset, size (4, 4) here, (0, 4) in C"),
        "{seen}"
    );
    assert!(
        seen.contains("Watchdog: sched_watchdog.id is in no field"),
        "{seen}"
    );
    assert!(
        seen.contains("sched.h: SCHEDOP_yield is neither here nor left out on purpose"),
        "{seen}"
    );
    assert!(
        seen.contains("sched.h: sched_poll is neither here nor left out on purpose"),
        "{seen}"
    );
}
