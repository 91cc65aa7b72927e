//! The runner of foreign test guests, on guests of our own that behave as such tests do.

use std::path::Path;

use xtask::guests;
use xtask::xtf::Xtf;

use crate::world::emulator;

fn build(folder: &Path, tests: &[(&str, &str)]) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, guest) in tests {
        std::fs::copy(guests::build(guest).unwrap(), folder.join(name)).unwrap();
    }
}

fn run(folder: &Path, json: &Path, against: Option<&Path>) -> u8 {
    let run = Xtf {
        folder: folder.to_owned(),
        only: Vec::new(),
        against: against.map(Path::to_owned),
        json: Some(json.to_owned()),
        jobs: Some(1),
        machine: emulator(),
        time_limit: 60,
        verbose: false,
    };
    run.run().unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn test_guests_are_judged_by_their_last_words_and_compared_with_a_run_before() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("tests/ours");
    let at = |name: &str| scratch.path().join(name);
    build(&folder, &[("test-hvm64-verdict", "verdict")]);
    assert_eq!(run(scratch.path(), &at("good"), None), 0);

    // One that says hello but no verdict, and one that ends in a triple fault, are worse than one that is content.
    build(
        &folder,
        &[
            ("test-hvm64-verdict", "hello"),
            ("test-hvm64-fault", "triple_fault"),
        ],
    );
    assert_eq!(run(scratch.path(), &at("bad"), Some(&at("good"))), 1);
    let record = std::fs::read_to_string(at("bad")).unwrap();
    assert_eq!(record.matches("\"outcome\": \"crash\"").count(), 2, "{record}");
    assert!(record.contains("hello; my command line is"), "{record}");
    assert!(record.contains("triple fault"), "{record}");
    // But no worse than themselves.
    assert_eq!(run(scratch.path(), &at("again"), Some(&at("bad"))), 0);
}
