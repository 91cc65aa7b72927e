//! Every function that looks another domain up asks the policy about it, in the same function, or is listed here with
//! the reason why it need not: a handler that is written tomorrow is looked at by this test, too.

use std::fs;
use std::path::{Path, PathBuf};

/// How a handler gets hold of another domain.
const LOOKS_UP: [&str; 2] = [".domain(", ".domain_by_id("];
/// How it asks.
const ASKS: [&str; 3] = ["authorise(", "manage(", "build("];

/// Functions that do not ask, and why.
const NEED_NOT: [(&str, &str, &str); 7] = [
    (
        "memory_op/exchange.rs",
        "first_frame",
        "its caller has asked, about the same domain",
    ),
    (
        "event_channel_op/port.rs",
        "close",
        "one's own end is closed; the other domain only learns of it",
    ),
    (
        "grant_table_op/map.rs",
        "unmap",
        "what one may not keep one must be able to give back",
    ),
    (
        "grant_table_op/copy.rs",
        "owner",
        "its caller asks, when it knows both ends",
    ),
    (
        "grant_table_op/copy.rs",
        "passed_on",
        "its caller asks, about the domain it finds",
    ),
    (
        "hvm_op.rs",
        "pagetable_dying",
        "nothing is done: as in Xen, only that there is such a domain",
    ),
    (
        "refused.rs",
        "named",
        "its callers ask, about the domain it finds",
    ),
];
/// What serves calls for all of them, and the loop that runs vcpus.
const NO_HANDLERS: [&str; 5] = ["context.rs", "run.rs", "exit.rs", "launch.rs", "testing.rs"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "tests" | "run") {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && !NO_HANDLERS.contains(&name.as_str()) {
            found.push(path);
        }
    }
}

/// The functions of a file that stand at its outermost level: names and bodies.
fn functions(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let at = line.find("fn ").filter(|_| !line.starts_with([' ', '/', '}']));
        if let Some(at) = at {
            let name = line[at + 3..].split(['(', '<']).next().unwrap();
            all.push((name.to_owned(), String::new()));
            inside = true;
        }
        if inside {
            let body = &mut all.last_mut().unwrap().1;
            body.push_str(line.split("//").next().unwrap());
            body.push('\n');
        }
        inside &= line != "}";
    }
    all
}

#[test]
fn every_handler_that_looks_a_domain_up_asks_about_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("hypercalls/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut asking, mut excused, mut violations) = (0, Vec::new(), Vec::new());
    for path in files {
        let file = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        for (name, body) in functions(&fs::read_to_string(&path).unwrap()) {
            if !LOOKS_UP.iter().any(|way| body.contains(way)) {
                continue;
            }
            if ASKS.iter().any(|way| body.contains(way)) {
                asking += 1;
            } else if NEED_NOT
                .iter()
                .any(|(at, which, _)| (*at, *which) == (&file, &name))
            {
                excused.push((file.clone(), name));
            } else {
                violations.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(
        violations.is_empty(),
        "these look a domain up and ask nobody: {violations:?}"
    );
    assert!(
        asking >= 15,
        "only {asking} functions ask: the test looks in the wrong place"
    );
    assert_eq!(
        excused.len(),
        NEED_NOT.len(),
        "an exception that is none: {excused:?}"
    );
}
