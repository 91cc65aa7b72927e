//! The figures as a picture: a bar a cost, ours and Xen's below each other, on a logarithmic scale.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use super::costs::Report;

const WIDTH: u32 = 900;
const LINE: u32 = 28;
const MARGIN: u32 = 60;
const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const THEIRS: RGBColor = RGBColor(0xc0, 0xc0, 0xc0);

/// Draws it as SVG.
pub(super) fn draw(report: &Report, file: &Path) -> Result<()> {
    let mut text = String::new();
    picture(report, &mut text).map_err(|error| anyhow!("cannot draw the chart: {error}"))?;
    super::write(file, text.as_bytes()).context("cannot keep the chart")
}

fn picture(report: &Report, into: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let names: Vec<&str> = report.ours.names().collect();
    let count = u32::try_from(names.len())?;
    let costs = || [Some(&report.ours), report.xen.as_ref()].into_iter().flatten();
    let largest = costs()
        .flat_map(|costs| names.iter().filter_map(|name| costs.of(name)))
        .max()
        .unwrap_or(1);
    let area = SVGBackend::with_string(into, (WIDTH, count * LINE + 2 * MARGIN)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!(
        "instructions for one operation, in {}: xenvisor blue, Xen 4.17 grey",
        report.machine
    );
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(190)
        .build_cartesian_2d((10.0..largest as f64 * 1.2).log_scale(), 0.0..f64::from(count))?;
    let label = |at: &f64| {
        // Labels are asked for in the middle of each line, the first name on top.
        let line = f64::from(count) - at;
        names
            .iter()
            .enumerate()
            .find(|(n, _)| (*n as f64 + 0.5 - line).abs() < 0.5)
            .map_or_else(String::new, |(_, name)| (*name).to_owned())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(names.len() * 2 + 1)
        .y_label_formatter(&label)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (n, name) in names.iter().enumerate() {
        let top = f64::from(count) - n as f64;
        let mut bar = |cost: Option<u64>, from: f64, to: f64, colour: RGBColor| {
            let cost = cost.unwrap_or(0).max(10) as f64;
            let corners = [(10.0, top - from), (cost, top - to)];
            chart
                .draw_series([Rectangle::new(corners, colour.filled())])
                .map(drop)
        };
        bar(report.ours.of(name), 0.1, 0.5, OURS)?;
        bar(report.xen.as_ref().and_then(|xen| xen.of(name)), 0.5, 0.9, THEIRS)?;
    }
    drop(chart);
    area.present()?;
    drop(area);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::costs::tests::costs;
    use super::*;

    #[test]
    fn a_chart_has_a_bar_for_each_cost_of_each() {
        let report = Report {
            machine: "qemu".to_owned(),
            xen: Some(costs(&[("hypercall", 5496), ("cpuid", 5398)])),
            ours: costs(&[("hypercall", 700), ("cpuid", 650)]),
        };
        let mut text = String::new();
        picture(&report, &mut text).unwrap();
        assert_eq!(text.matches("fill=\"#1F77B4\"").count(), 2, "{text}");
        assert_eq!(text.matches("fill=\"#C0C0C0\"").count(), 2);
        assert!(text.contains("hypercall") && text.contains("cpuid"));
    }
}
