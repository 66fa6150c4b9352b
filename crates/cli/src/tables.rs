//! Tables for people.

use anelith_convert::{Component, Finding, Regrouped, WeightReport};

/// Step 0: what was looked at, what was found, and what to know; without the last line end.
pub(crate) fn findings(findings: &[Finding]) -> String {
    let width = findings.iter().map(|f| f.subject.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { subject, found, warning } in findings {
        text += &format!("  {subject:width$}  {found}\n");
        if let Some(warning) = warning {
            text += &format!("warning: {subject}: {warning}\n");
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Component, bits, group, size before and after, squared error relative to the weights' variance.
pub(crate) fn weights(report: &WeightReport) -> String {
    let header = ["component", "bits", "group", "before", "after", "error"].map(str::to_owned);
    let mut rows = vec![header];
    for c in &report.components {
        rows.push([
            name(c.component).to_owned(),
            c.bits.map_or("fp16".into(), |b| b.to_string()),
            group(c.bits, c.group),
            megabytes(c.bytes_before),
            megabytes(c.bytes_after),
            c.decibels.map_or("-".into(), |d| format!("{d:.2} dB")),
        ]);
    }
    aligned(&rows)
}

/// A warning for each tensor that got smaller groups than asked for; without the last line end.
pub(crate) fn regrouped(report: &WeightReport) -> String {
    let line = |r: &Regrouped| {
        let Regrouped { name, rows, used, wanted } = r;
        format!(
            "warning: {name}: {rows} channels do not divide by groups of {wanted}, so {used} share a table"
        )
    };
    report.regrouped.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn name(component: Component) -> &'static str {
    match component {
        Component::Embeddings => "embeddings",
        Component::Layers => "layers",
        Component::LmHead => "LM head",
        Component::Other => "norms, biases, rotary tables",
    }
}

fn group(bits: Option<u32>, group: Option<u64>) -> String {
    match (bits, group) {
        (None, _) => "-".into(),
        (Some(_), Some(n)) => n.to_string(),
        (Some(_), None) => "varies".into(),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[[String; 6]]) -> String {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:w$}", row[0], w = widths[0]);
        for (cell, w) in row.iter().zip(&widths).skip(1) {
            line += &format!("  {cell:>w$}");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
