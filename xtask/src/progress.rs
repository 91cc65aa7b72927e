//! A slow step a person waits for: a bar or a spinner on a terminal, one line elsewhere.
//!
//! All of it goes to standard error; standard output belongs to what was asked for.

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One slow step. It disappears from the terminal when it is dropped.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
}

impl Step {
    /// Shows that `what` is going on.
    pub fn begin(what: &str) -> Step {
        if !std::io::stderr().is_terminal() {
            eprintln!("xtask: {what}");
        }
        let bar = ProgressBar::new(100).with_prefix(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed:.dim} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { bar }
    }

    /// Shows how far it is, of 100.
    pub fn percent(&self, percent: u64) {
        if self.bar.position() == 0
            && percent > 0
            && let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {pos}% {wide_msg:.dim}")
        {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_position(percent.min(100));
    }

    /// Shows what just happened.
    pub fn say(&self, message: &str) {
        self.bar.set_message(message.trim().to_owned());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Runs `command` as the step `what` and answers with its standard output; what it says on standard error is shown
/// while it runs and becomes the error if it fails.
pub fn run(what: &str, command: &mut Command) -> Result<Vec<u8>> {
    let step = Step::begin(what);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{what}: cannot start {}", command.get_program().display()))?;
    let mut said = String::new();
    let mut output = Vec::new();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for line in BufReader::new(stderr?).split(b'\n') {
                let line = String::from_utf8_lossy(&line.ok()?).into_owned();
                step.say(&line);
                said.push_str(&line);
                said.push('\n');
            }
            Some(())
        });
        if let Some(stdout) = stdout {
            for line in BufReader::new(stdout).by_ref().split(b'\n').map_while(Result::ok) {
                report_apt(&step, &String::from_utf8_lossy(&line));
                output.extend_from_slice(&line);
                output.push(b'\n');
            }
        }
    });
    let status = child
        .wait()
        .with_context(|| format!("{what}: lost the process"))?;
    drop(step);
    if !status.success() {
        bail!(
            "{what}: {} failed ({status})\n{}",
            command.get_program().display(),
            said.trim_end()
        );
    }
    Ok(output)
}

/// apt tells its progress as `dlstatus:item:percent:text` or `pmstatus:package:percent:text`.
fn report_apt(step: &Step, line: &str) {
    let mut parts = line.splitn(4, ':');
    if !matches!(parts.next(), Some("dlstatus" | "pmstatus")) {
        return;
    }
    let whole = parts
        .nth(1)
        .and_then(|percent| percent.split('.').next()?.parse().ok());
    if let Some(percent) = whole {
        step.percent(percent);
    }
    if let Some(text) = parts.next() {
        step.say(text);
    }
}
