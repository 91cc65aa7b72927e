//! The tests of a build: which there are, and what their settings ask for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The environments this hypervisor is for; the others are paravirtual.
const ENVIRONMENTS: [&str; 4] = ["hvm64", "hvm32pae", "hvm32pse", "hvm32"];
/// Kinds of tests that run without being asked for by name. The rest are tools, or not finished.
const ORDINARY: [&str; 3] = ["special", "functional", "xsa"];

/// One ELF file that is a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its name, as in `test-hvm64-selftest`.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// What kind it is, in the framework's words; empty where it does not say.
    pub category: String,
    /// How many vcpus it wants.
    pub vcpus: u32,
    /// How much memory it wants, in MiB.
    pub memory_mib: u64,
}

impl Test {
    /// Whether it is to run, if `only` tests with such names are wanted.
    pub fn is_wanted(&self, only: &[String]) -> bool {
        if only.is_empty() {
            return self.category.is_empty() || ORDINARY.contains(&self.category.as_str());
        }
        only.iter().any(|pattern| matches(&self.name, pattern))
    }
}

/// Whether `pattern` occurs in `name`; a `*` in it stands for anything.
fn matches(name: &str, pattern: &str) -> bool {
    let mut rest = name;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default();
            true
        }
        None => false,
    })
}

/// All tests for HVM guests below `folder`, by name.
pub fn tests(folder: &Path) -> Result<Vec<Test>> {
    let inner = folder.join("tests");
    let all = if inner.is_dir() {
        inner
    } else {
        folder.to_path_buf()
    };
    let mut tests = Vec::new();
    for entry in list(&all)? {
        if entry.is_dir() {
            of_one(&entry, &mut tests)?;
        }
    }
    ensure!(
        !tests.is_empty(),
        "no test-hvm* below {}: is the framework built?",
        all.display()
    );
    tests.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tests)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("cannot read {}", folder.display()))
}

fn of_one(folder: &Path, tests: &mut Vec<Test>) -> Result<()> {
    let information = std::fs::read(folder.join("info.json")).unwrap_or_default();
    // Where a build has none, or a broken one, its tests are still tests.
    let information: Value = serde_json::from_slice(&information).unwrap_or(Value::Null);
    let category = information.get("category").and_then(Value::as_str).unwrap_or("");
    for file in list(folder)? {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if !is_test(name) || !is_elf(&file) {
            continue;
        }
        let settings = std::fs::read_to_string(folder.join(format!("{name}.cfg"))).unwrap_or_default();
        tests.push(Test {
            name: name.to_owned(),
            category: category.to_owned(),
            vcpus: setting(&settings, "vcpus").unwrap_or(1),
            memory_mib: setting(&settings, "memory").unwrap_or(128).into(),
            file,
        });
    }
    Ok(())
}

fn is_test(name: &str) -> bool {
    name.strip_prefix("test-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(environment, test)| !test.is_empty() && ENVIRONMENTS.contains(&environment))
}

fn is_elf(file: &Path) -> bool {
    let mut start = [0; 4];
    std::fs::File::open(file)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
        .is_ok_and(|()| start == *b"\x7fELF")
}

/// A number in a guest's settings, such as `vcpus = 2`.
fn setting(settings: &str, key: &str) -> Option<u32> {
    settings.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_searched_for_tests_of_hvm_guests_and_their_settings() {
        let build = tempfile::tempdir().unwrap();
        let folder = build.path().join("tests/one");
        std::fs::create_dir_all(&folder).unwrap();
        let elf = b"\x7fELF and so on";
        for (name, contents) in [
            ("test-hvm64-one", &elf[..]),
            ("test-hvm32pae-one", elf),
            ("test-hvm64-one.cfg", b"vcpus = 2\nmemory=64\n"),
            ("test-pv64-one", elf),
            ("test-hvm64-", elf),
            ("test-hvm32-one", b"not a program"),
            ("main.c", b""),
            ("info.json", b"{\"name\": \"one\", \"category\": \"xsa\"}"),
        ] {
            std::fs::write(folder.join(name), contents).unwrap();
        }
        let found = tests(build.path()).unwrap();
        let names: Vec<_> = found.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["test-hvm32pae-one", "test-hvm64-one"]);
        assert_eq!((found[0].vcpus, found[0].memory_mib), (1, 128));
        assert_eq!((found[1].vcpus, found[1].memory_mib), (2, 64));
        assert!(found.iter().all(|test| test.category == "xsa"));
        assert_eq!(tests(&build.path().join("tests")).unwrap(), found);
        assert!(tests(&folder).is_err());
    }

    #[test]
    fn unfinished_tests_and_tools_run_when_they_are_asked_for_by_name() {
        let test = |category: &str| Test {
            name: "test-hvm32pse-xsa-186".to_owned(),
            file: PathBuf::new(),
            category: category.to_owned(),
            vcpus: 1,
            memory_mib: 128,
        };
        assert!(test("xsa").is_wanted(&[]) && test("").is_wanted(&[]));
        assert!(!test("in-development").is_wanted(&[]));
        let only = |pattern: &str| test("utility").is_wanted(&[pattern.to_owned()]);
        assert!(only("xsa-186") && only("hvm32*186") && only("*"));
        assert!(!only("xsa-187") && !only("186*hvm32"));
        assert!(test("xsa").is_wanted(&["none".to_owned(), "pse".to_owned()]));
    }
}
