//! Transcripts: where those of real Xen are kept, and two held beside each other.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xenvisor_conversation::Area;

use crate::workspace;

/// How many lines that differ are shown.
const SHOWN: usize = 20;

/// The folder of the transcripts that are kept.
pub(super) fn folder() -> PathBuf {
    workspace::root().join("tests/transcripts")
}

/// The name of an area's transcript in its folder.
pub(super) fn file_name(area: Area) -> String {
    format!("{}.txt", area.name())
}

/// What real Xen answered, as it is kept.
pub fn kept(area: Area) -> Result<String> {
    let file = folder().join(file_name(area));
    std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// Xen's transcript and ours, line by line. Displayed, it says whether and where they differ.
#[derive(Clone, Debug)]
pub struct Comparison<'t> {
    area: Area,
    /// Numbers and texts of the lines that differ: Xen's, ours.
    differing: Vec<(usize, &'t str, &'t str)>,
    /// How many lines each has.
    lines: (usize, usize),
}

impl<'t> Comparison<'t> {
    /// Compares them.
    pub fn of(area: Area, theirs: &'t str, ours: &'t str) -> Comparison<'t> {
        let pairs = theirs.lines().zip(ours.lines());
        Comparison {
            area,
            differing: (1..)
                .zip(pairs)
                .filter(|(_, (xen, we))| xen != we)
                .map(|(line, (xen, we))| (line, xen, we))
                .collect(),
            lines: (theirs.lines().count(), ours.lines().count()),
        }
    }

    /// Whether they are the same.
    pub fn agrees(&self) -> bool {
        self.differing.is_empty() && self.lines.0 == self.lines.1
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.area.name();
        for (line, xen, we) in self.differing.iter().take(SHOWN) {
            writeln!(out, "{name}:{line}\n  Xen: {xen}\n  we:  {we}")?;
        }
        let (theirs, ours) = self.lines;
        if theirs != ours {
            writeln!(out, "{name}: Xen says {theirs} lines, we {ours}")?;
        }
        if self.agrees() {
            write!(out, "{name}: {theirs} lines, all as with Xen")
        } else {
            write!(
                out,
                "{name}: {theirs} lines, {} not as with Xen",
                self.differing.len()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_and_lines_that_are_missing_are_told() {
        let of = |theirs, ours| Comparison::of(Area::Events, theirs, ours);
        assert!(of("a\nb\n", "a\nb\n").agrees());
        let differs = of("a\nb\n", "a\nc\n");
        assert!(!differs.agrees());
        assert_eq!(
            differs.to_string(),
            "events:2\n  Xen: b\n  we:  c\nevents: 2 lines, 1 not as with Xen"
        );
        let short = of("a\nb\n", "a\n");
        assert!(!short.agrees());
        assert!(short.to_string().contains("Xen says 2 lines, we 1"), "{short}");
    }
}
