//! Costs by name, in the order in which they were counted: as a guest says them, and as JSON.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// What the guest says when it is done.
const END: &str = "all costs counted";

/// Costs, in instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Costs(Vec<(String, u64)>);

impl Costs {
    /// The costs in what a guest said on its console; other guests may have spoken in between.
    pub(super) fn said(console: &str) -> Result<Costs> {
        ensure!(
            console.contains(END),
            "the guest that counts has not come to its end; it said\n{console}"
        );
        let lines = console.lines().filter_map(|line| line.split_once("cost "));
        let mut costs = Vec::new();
        for (before, rest) in lines {
            let mut words = rest.split_whitespace();
            match (words.next(), words.next().map(str::parse)) {
                (Some(name), Some(Ok(cost))) => costs.push((name.to_owned(), cost)),
                _ => bail!("not a cost: {before}cost {rest}"),
            }
        }
        Ok(Costs(costs))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn of(&self, name: &str) -> Option<u64> {
        self.0
            .iter()
            .find_map(|(known, cost)| (known == name).then_some(*cost))
    }

    fn to_json(&self) -> Value {
        let members = self.0.iter().map(|(name, cost)| json!([name, cost]));
        Value::Array(members.collect())
    }

    fn from_json(value: &Value) -> Option<Costs> {
        let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_u64()?));
        value
            .as_array()?
            .iter()
            .map(pair)
            .collect::<Option<_>>()
            .map(Costs)
    }
}

/// A run's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Where it ran.
    pub(super) machine: String,
    /// What Xen needs.
    pub(super) xen: Option<Costs>,
    /// What we need.
    pub(super) ours: Costs,
}

impl Report {
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let mut members = Map::new();
        members.insert("machine".to_owned(), self.machine.clone().into());
        if let Some(xen) = &self.xen {
            members.insert("xen".to_owned(), xen.to_json());
        }
        members.insert("xenvisor".to_owned(), self.ours.to_json());
        let mut text = serde_json::to_string_pretty(&members).context("cannot write JSON")?;
        text.push('\n');
        super::write(file, text.as_bytes())
    }

    pub(super) fn read(file: &Path) -> Result<Report> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} has no figures of a run", file.display()))
    }

    fn parse(text: &str) -> Result<Report> {
        let value: Value = serde_json::from_str(text)?;
        let costs = |name: &str| value.get(name).and_then(Costs::from_json);
        Ok(Report {
            machine: value
                .get("machine")
                .and_then(Value::as_str)
                .context("no `machine`")?
                .to_owned(),
            xen: costs("xen"),
            ours: costs("xenvisor").context("no `xenvisor`")?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn costs(of: &[(&str, u64)]) -> Costs {
        Costs(
            of.iter()
                .map(|(name, cost)| ((*name).to_owned(), *cost))
                .collect(),
        )
    }

    #[test]
    fn costs_are_what_the_guest_said_in_its_order() {
        let said = "[one] hello\n[one] cost hypercall 700\r\n[two] port 3\n[one] cost cpuid 512\n[one] all costs counted\n";
        let costs = Costs::said(said).unwrap();
        assert_eq!(costs.names().collect::<Vec<_>>(), ["hypercall", "cpuid"]);
        assert_eq!((costs.of("cpuid"), costs.of("port")), (Some(512), None));
    }

    #[test]
    fn a_guest_that_was_cut_short_or_stammers_has_no_costs() {
        assert!(Costs::said("cost cpuid 512\n").is_err());
        assert!(Costs::said("cost cpuid many\nall costs counted\n").is_err());
    }

    #[test]
    fn a_report_survives_its_file() {
        let report = Report {
            machine: "qemu".to_owned(),
            xen: Some(costs(&[("b", 1), ("a", 2)])),
            ours: costs(&[("b", 3)]),
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper/report.json");
        report.write(&file).unwrap();
        assert_eq!(Report::read(&file).unwrap(), report);
        let said = format!("{:#}", Report::parse("{\"machine\":\"qemu\"}").unwrap_err());
        assert!(said.contains("no `xenvisor`"), "{said}");
    }
}
