//! The figures for eyes: beside each other, and what has grown.

use std::fmt;

use super::costs::{Costs, Report};

/// Costs beside each other.
pub(super) struct Table<'a> {
    report: &'a Report,
    before: Option<&'a Report>,
}

impl<'a> Table<'a> {
    pub(super) const fn new(report: &'a Report, before: Option<&'a Report>) -> Self {
        Self { report, before }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { machine, xen, ours } = self.report;
        writeln!(out, "Instructions executed for one operation, in {machine}:\n")?;
        write!(out, "| {:<24} | {:>9} |", "operation", "xenvisor")?;
        let mut rule = format!("|{:-<26}|{:->10}:|", "", "");
        if xen.is_some() {
            write!(out, " {:>9} | {:>6} |", "Xen 4.17", "ratio")?;
            rule.push_str(&format!("{:->10}:|{:->7}:|", "", ""));
        }
        if self.before.is_some() {
            write!(out, " {:>9} | {:>7} |", "before", "change")?;
            rule.push_str(&format!("{:->10}:|{:->8}:|", "", ""));
        }
        writeln!(out, "\n{rule}")?;
        for name in ours.names() {
            let cost = ours.of(name).unwrap_or(0);
            write!(out, "| {name:<24} | {:>9} |", grouped(cost))?;
            if let Some(xen) = xen {
                match xen.of(name) {
                    Some(theirs) => {
                        let ratio = tenths(theirs, cost);
                        write!(out, " {:>9} | {ratio:>6} |", grouped(theirs))?;
                    }
                    None => write!(out, " {:>9} | {:>6} |", "", "")?,
                }
            }
            if let Some(before) = self.before {
                match before.ours.of(name) {
                    Some(before) => write!(out, " {:>9} | {:>7} |", grouped(before), change(before, cost))?,
                    None => write!(out, " {:>9} | {:>7} |", "", "new")?,
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// What has become dearer.
pub(super) struct Growth(Vec<(String, u64, u64)>);

impl Growth {
    /// What costs more than `percent` more than before, and by more than an instruction.
    pub(super) fn between(before: &Costs, now: &Costs, percent: u64) -> Self {
        let grown = |name: &str| {
            let (old, new) = (before.of(name)?, now.of(name)?);
            let limit = old.saturating_mul(100 + percent) / 100;
            (new > limit.max(old + 1)).then(|| (name.to_owned(), old, new))
        };
        Self(now.names().filter_map(grown).collect())
    }

    pub(super) const fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return writeln!(out, "no operation costs more than it did");
        }
        for (name, old, new) in &self.0 {
            let change = change(*old, *new);
            writeln!(
                out,
                "{name}: {} instructions, {change}; it was {}",
                grouped(*new),
                grouped(*old)
            )?;
        }
        Ok(())
    }
}

/// Thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many times, to a tenth.
fn tenths(all: u64, part: u64) -> String {
    let tenths = all.saturating_mul(10) / part.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// How much more or less, in percent to a tenth.
fn change(old: u64, new: u64) -> String {
    let sign = if new < old { '-' } else { '+' };
    let permille = new.abs_diff(old).saturating_mul(1000) / old.max(1);
    format!("{sign}{}.{}%", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::super::costs::tests::costs;
    use super::*;

    #[test]
    fn figures_stand_beside_each_other_with_their_ratio() {
        let report = Report {
            machine: "qemu".to_owned(),
            xen: Some(costs(&[("hypercall", 5496)])),
            ours: costs(&[("hypercall", 700), ("new-one", 1_234_567)]),
        };
        let before = Report {
            xen: None,
            ours: costs(&[("hypercall", 800)]),
            ..report.clone()
        };
        let said = Table::new(&report, Some(&before)).to_string();
        assert!(
            said.contains("|       700 |     5,496 |    7.8 |       800 |  -12.5% |"),
            "{said}"
        );
        assert!(
            said.contains("| 1,234,567 |           |        |           |     new |"),
            "{said}"
        );
        let widths: std::collections::HashSet<_> = said.lines().skip(2).map(str::len).collect();
        assert_eq!(widths.len(), 1, "{said}");
    }

    #[test]
    fn growth_is_what_is_beyond_the_tolerance() {
        let before = costs(&[("a", 1000), ("b", 1000), ("c", 10), ("gone", 1)]);
        let now = costs(&[("a", 1030), ("b", 1031), ("c", 11), ("new", 9)]);
        let growth = Growth::between(&before, &now, 3);
        assert_eq!(growth.to_string(), "b: 1,031 instructions, +3.1%; it was 1,000\n");
        assert!(Growth::between(&now, &now, 0).is_none());
    }
}
