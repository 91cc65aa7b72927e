//! The rules of the house that no lint can hold: see CONTRIBUTING.md. Each test reports all violations at once.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly; that is what it is for"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// No file may be longer.
const HARD_LIMIT: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file with this ending that belongs to the repository, by path below the root, with its text.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                let below = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((below, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(
        !found.is_empty(),
        "no *{ending} files: the test looks in the wrong place"
    );
    found.sort();
    found
}

fn none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}

/// A line of code without its comment and its strings, roughly: enough to find a word that is code.
fn code(line: &str) -> String {
    let line = line.split("//").next().unwrap_or("");
    line.split('"').step_by(2).collect()
}

fn has_word(line: &str, word: &str) -> bool {
    code(line)
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|found| found == word)
}

#[test]
fn unsafe_code_is_behind_the_wall_and_nowhere_else() {
    // What runs on the bare machine to test it is no part of the library.
    let behind = |path: &str| {
        ["arch/x86_64/", "tests/guests/", "tests/images/"]
            .iter()
            .any(|part| path.starts_with(part))
    };
    let violations: Vec<String> = files(".rs")
        .iter()
        .filter(|(path, _)| !behind(path))
        .flat_map(|(path, text)| {
            text.lines().enumerate().filter_map(move |(n, line)| {
                // The one attribute by which boot code finds an image, and the lint that forbids the rest.
                let allowed = line.contains("unsafe(no_mangle)") || line.contains("forbid(unsafe_code)");
                (has_word(line, "unsafe") && !allowed).then(|| format!("{path}:{}: {}", n + 1, line.trim()))
            })
        })
        .collect();
    none("`unsafe` lives in arch/x86_64 only", &violations);
}

#[test]
fn every_crate_but_the_wall_forbids_unsafe_code() {
    let crates = [
        "lib.rs",
        "core/src/lib.rs",
        "core/services/src/lib.rs",
        "hypercalls/src/lib.rs",
        "hypercalls/abi/src/lib.rs",
        "arch/sim/src/lib.rs",
    ];
    let missing: Vec<String> = crates
        .iter()
        .filter(|path| {
            !fs::read_to_string(root().join(path))
                .unwrap()
                .contains("#![forbid(unsafe_code)]")
        })
        .map(|path| (*path).to_owned())
        .collect();
    none("these crates should say #![forbid(unsafe_code)]", &missing);
}

#[test]
fn no_file_is_longer_than_the_hard_limit() {
    let long: Vec<String> = files(".rs")
        .iter()
        .filter(|(_, text)| text.lines().count() > HARD_LIMIT)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect();
    none("files end before line 600", &long);
}

#[test]
fn half_of_all_files_are_short() {
    let mut lengths: Vec<usize> = files(".rs")
        .iter()
        .map(|(_, text)| text.lines().count())
        .collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= 180, "the median length of a file is {median} lines");
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent: Vec<String> = files(".rs")
        .iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.clone())
        .collect();
    none("files begin with a `//!` header", &silent);
}

/// What each crate may use of the others (ARCHITECTURE.md).
const MAY_USE: [(&str, &[&str]); 6] = [
    ("hypercalls/abi", &[]),
    ("core", &["xenvisor-abi"]),
    ("core/services", &["xenvisor-abi", "xenvisor-core"]),
    ("hypercalls", &["xenvisor-abi", "xenvisor-core"]),
    ("arch/x86_64", &["xenvisor-abi", "xenvisor-core"]),
    ("arch/sim", &["xenvisor-abi", "xenvisor-core"]),
];

#[test]
fn dependencies_point_down() {
    let mut violations = Vec::new();
    for (folder, allowed) in MAY_USE {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let mut section = "";
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            let counts = section.ends_with("dependencies]") && !section.contains("dev-dependencies");
            if counts && name.starts_with("xenvisor") && !allowed.contains(&name) {
                violations.push(format!("{folder} uses {name}"));
            }
        }
    }
    none("an arrow that is not in ARCHITECTURE.md", &violations);
}

#[test]
fn error_numbers_have_one_home() {
    let strays: Vec<String> = files(".rs")
        .iter()
        .filter(|(path, _)| {
            ["core/", "hypercalls/src/", "arch/"]
                .iter()
                .any(|part| path.starts_with(part))
        })
        // Programs of the simulator are guests: they read the numbers, as guests do.
        .filter(|(path, _)| path != "hypercalls/src/errno.rs" && !path.starts_with("arch/sim/src/programs/"))
        .filter(|(_, text)| {
            text.lines()
                .any(|line| code(line).contains("xenvisor_abi::errno"))
        })
        .map(|(path, _)| path.clone())
        .collect();
    none(
        "Xen's error numbers appear in hypercalls/src/errno.rs only",
        &strays,
    );
}

#[test]
fn no_path_of_a_developers_machine_is_in_the_repository() {
    let mut violations = Vec::new();
    for ending in [".rs", ".md", ".toml", ".sh", ".ld"] {
        for (path, text) in files(ending) {
            for (n, line) in text.lines().enumerate() {
                let home = ["/work", "/home/"]
                    .iter()
                    .any(|home| line.contains(&format!("{home}{}", "")));
                if home && path != "tests/house.rs" && !line.contains("/workstation") {
                    violations.push(format!("{path}:{}: {}", n + 1, line.trim()));
                }
            }
        }
    }
    none("paths that exist on one machine only", &violations);
}
