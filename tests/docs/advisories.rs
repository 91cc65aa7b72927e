//! `docs/advisories.md` has every advisory that matters here, and every test of `tests/advisories`.

use std::collections::BTreeMap;
use std::fs;

use crate::{all_tests, named_tests, root, rows, sources, tests_in};

const TABLE: &str = "docs/advisories.md";

/// The advisories that a hypervisor for HVM and PVH guests could have as well, apart from those about speculation.
#[rustfmt::skip]
const ADVISORIES: [u16; 112] = [
    20, 22, 26, 27, 29, 30, 31, 35, 47, 76, 89, 96, 100, 105, 106, 107, 108, 110, 116, 121, 122, 125, 132, 134, 150,
    158, 166, 176, 186, 188, 191, 196, 212, 217, 218, 221, 222, 224, 226, 228, 230, 231, 232, 236, 237, 238, 239, 241,
    242, 246, 247, 248, 252, 255, 261, 262, 277, 284, 285, 287, 295, 296, 304, 310, 317, 321, 327, 328, 334, 336, 338,
    340, 342, 343, 344, 346, 358, 359, 378, 379, 380, 382, 384, 388, 389, 397, 410, 411, 412, 428, 448, 454, 458, 460,
    462, 470, 472, 475, 480, 486, 491, 492, 496, 499, 500, 501, 502, 503, 504, 505, 506, 507,
];

/// The numbers in the first cell of a row.
fn numbers(cell: &str) -> Vec<u16> {
    cell.split(", ").map(|number| number.parse().unwrap()).collect()
}

/// The numbers in the name of a test: `xsa_26_255_what_it_shows`.
fn numbers_of(test: &str) -> Vec<u16> {
    let words = test.strip_prefix("xsa_").unwrap_or_default().split('_');
    words.map_while(|word| word.parse().ok()).collect()
}

/// The tests of advisories, each as `area::name`, by name. The area is the file, or the folder of files.
fn tests() -> Vec<String> {
    let folder = root().join("tests/advisories");
    let mut all = Vec::new();
    for path in sources().iter().filter(|path| path.starts_with(&folder)) {
        let below = path.strip_prefix(&folder).unwrap().with_extension("");
        let area = below.iter().next().unwrap().to_string_lossy().into_owned();
        all.extend(tests_in(path).into_iter().map(|name| format!("{area}::{name}")));
    }
    all.sort();
    all
}

fn name(test: &str) -> &str {
    test.rsplit("::").next().unwrap()
}

/// The last cell of a row, as it should be: the tests that have one of its numbers in their names.
fn last_cell(row: &[u16], tests: &[String]) -> String {
    let of_row = tests
        .iter()
        .filter(|test| numbers_of(name(test)).iter().any(|number| row.contains(number)));
    of_row
        .map(|test| format!("`{test}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn every_advisory_has_its_row_and_every_row_its_tests() {
    let path = root().join(TABLE);
    let text = fs::read_to_string(&path).unwrap();
    let tests = tests();
    let rewritten: Vec<String> = text
        .lines()
        .map(|line| {
            let cells = rows(line);
            let Some([advisories, what, why, _]) = cells.first().map(Vec::as_slice) else {
                return line.to_owned();
            };
            let tests = last_cell(&numbers(advisories), &tests);
            format!("| {advisories} | {what} | {why} | {tests} |")
        })
        .collect();
    let rewritten = rewritten.join("\n") + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &rewritten).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text == rewritten,
        "{TABLE} does not name the tests of tests/advisories: UPDATE_DOCS=1 cargo test --test docs"
    );
}

#[test]
fn no_advisory_is_missing_and_none_has_two_rows() {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    let mut seen: BTreeMap<u16, u32> = BTreeMap::new();
    for row in rows(&text) {
        for number in numbers(row[0]) {
            *seen.entry(number).or_default() += 1;
        }
    }
    let missing: Vec<_> = ADVISORIES
        .iter()
        .filter(|number| !seen.contains_key(number))
        .collect();
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        missing.is_empty() && twice.is_empty(),
        "missing: {missing:?}; more than one row: {twice:?}"
    );
    let tests = tests();
    let strangers: Vec<_> = tests
        .iter()
        .filter(|test| {
            // A mistake that nobody published has a name without a number.
            numbers_of(name(test))
                .iter()
                .any(|number| !seen.contains_key(number))
        })
        .collect();
    assert!(
        strangers.is_empty(),
        "tests of advisories that have no row: {strangers:?}"
    );
}

#[test]
fn every_test_that_the_table_names_exists() {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    let tests = all_tests();
    let lost: Vec<_> = named_tests(&text)
        .into_iter()
        .filter(|name| !tests.contains(*name))
        .collect();
    assert!(lost.is_empty(), "no such test: {lost:?}");
}

#[test]
fn every_row_has_a_reason() {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    for row in rows(&text) {
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(row[1].len() > 10 && row[2].len() > 10, "{row:?}");
    }
}
