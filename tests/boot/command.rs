//! What a person does at a shell: `cargo xtask run`, as a program among programs.

use std::io::Write;
use std::process::{Output, Stdio};

use xtask::workspace;

use crate::world::{built, emulator};

/// What comes of `cargo xtask run linux` with these words behind it.
fn run(words: &[&str]) -> Output {
    workspace::cargo()
        .args(["run", "--quiet", "--package", "xtask", "--", "run", "linux"])
        .args(["--machine", emulator().word()])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_command_prints_its_output_and_nothing_else() {
    let output = run(&["--", "cat", "/sys/hypervisor/type"]);
    assert_eq!(text(&output.stdout), "xen\n", "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn bytes_errors_and_status_of_a_command_come_out_as_they_were() {
    let output = run(&[
        "--",
        "printf '\\000\\001\\r\\n\\377'; head -c 300000 /dev/zero; echo oh no >&2; exit 7",
    ]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert_eq!(output.stdout[..5], [0, 1, b'\r', b'\n', 255], "{stderr}");
    assert_eq!(output.stdout.len(), 5 + 300_000, "{stderr}");
    assert!(output.stdout[5..].iter().all(|byte| *byte == 0));
    assert!(stderr.lines().any(|line| line == "oh no"), "{stderr}");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_guest_that_dies_under_its_command_is_a_failure_and_its_last_words_are_told() {
    let output = run(&["--", "echo before; sleep 1; echo c > /proc/sysrq-trigger"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(text(&output.stdout), "before\n", "{stderr}");
    assert!(stderr.contains("Kernel panic - not syncing"), "{stderr}");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_command_that_takes_too_long_is_stopped() {
    let output = run(&["--timeout", "15", "--", "sleep", "1000"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{stderr}");
    assert!(stderr.contains("the time limit was reached"), "{stderr}");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn what_comes_through_a_pipe_is_typed_at_the_shell() {
    let mut child = workspace::cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--",
            "run",
            "linux",
            "--machine",
            emulator().word(),
            "--timeout",
            "240",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"echo $((6 * 7))\npoweroff\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", text(&output.stderr));
    assert!(said.contains("42"), "{said}");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn the_image_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let stripped = folder.path().join("linux");
    let status = std::process::Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(built("linux"))
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::metadata(&stripped).unwrap().len();
    assert!(bytes < 700_000, "{bytes} bytes");
}
