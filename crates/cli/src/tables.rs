//! Tables for people.

use std::fmt::Write as _;

use anelith_convert::{Action, Component, ComponentReport, Finding, Regrouped, Sharing, Small, WeightReport};

use crate::results::{Conversion, Download, Output, StepResult};

/// Step 0: each line says what was looked at and what was found; beside it, what to know.
pub(crate) fn findings(findings: &[Finding]) -> impl Iterator<Item = (String, Option<String>)> {
    let width = findings.iter().map(|f| f.subject.len()).max().unwrap_or(0);
    findings.iter().map(move |Finding { subject, found, warning }| {
        let warning = warning.as_ref().map(|warning| format!("{subject}: {warning}"));
        (format!("  {subject:width$}  {found}"), warning)
    })
}

/// Component, bits, group, size before and after, squared error relative to the weights' variance.
pub(crate) fn weights(report: &WeightReport) -> String {
    let mut rows = planned_rows(report);
    let errors = report.components.iter().map(|c| c.decibels.map_or("-".into(), |d| format!("{d:.2} dB")));
    for (row, error) in rows.iter_mut().zip(std::iter::once("error".to_owned()).chain(errors)) {
        row.push(error);
    }
    aligned(&rows)
}

/// What `weights` shows but for the errors.
fn planned_rows(report: &WeightReport) -> Vec<Vec<String>> {
    let row = |c: &ComponentReport| {
        vec![
            name(c.component).to_owned(),
            c.bits.map_or("fp16".into(), |b| b.to_string()),
            group(c),
            megabytes(c.bytes_before),
            megabytes(c.bytes_after),
        ]
    };
    let header = ["component", "bits", "group", "before", "after"].map(str::to_owned).to_vec();
    std::iter::once(header).chain(report.components.iter().map(row)).collect()
}

/// What a run would do: each step with its files and their sizes, and the weights as they will be stored.
pub(crate) fn preview(plan: &Conversion) -> String {
    let mut text = format!("output directory: {}\n", plan.outputs.dir().display());
    for StepResult { number, title, action, outputs, .. } in &plan.steps {
        let action = match action {
            Some(Action::Build) => "to do",
            Some(Action::Reuse) => "done, to be reused",
            Some(Action::Separate) => "done, to be copied, as it shares its weight.bin with other files",
            Some(Action::Recheck) => "to do, unless the steps before it make again what was there",
            None => continue,
        };
        text += &format!("step {number}: {title}: {action}\n");
        text += &aligned(&outputs.iter().flat_map(file_rows).collect::<Vec<_>>());
    }
    let stored = match plan.sharing {
        Sharing::Link => "stored once where the file system can",
        Sharing::Copy => "stored in each package and the bundle",
    };
    text += &format!("weight.bin: {}, {stored}\n", size(plan.weight_bytes));
    text + &plan.weights.as_ref().map_or(String::new(), |weights| aligned(&planned_rows(weights)))
}

/// The name and size of each file of an output.
fn file_rows(output: &Output) -> Vec<Vec<String>> {
    let name = output.path.file_name().unwrap_or_default().to_string_lossy();
    let row = |name: String, bytes: Option<u64>| vec![format!("  {name}"), bytes.map_or("-".into(), size)];
    match output.files.is_empty() {
        true => vec![row(name.into_owned(), output.bytes)],
        false => output.files.iter().map(|f| row(format!("{name}/{}", f.name), f.bytes)).collect(),
    }
}

/// What must be downloaded before anything else can be said.
pub(crate) fn download(download: &Download) -> String {
    let Download { endpoint, cache, files, .. } = download;
    let mut text = format!("to download first, from {endpoint} to {}:\n", cache.display());
    let mut line = |bytes, what: &str| {
        writeln!(text, "  {:>10}  {what}", megabytes(bytes)).expect("a string takes all");
    };
    files.iter().for_each(|file| line(file.bytes.unwrap_or(0), &file.name));
    line(download.bytes(), "in all; once it is there, --dry-run shows the steps");
    text
}

/// Exact below a kilobyte, else in thousands or millions of bytes.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => megabytes(bytes),
    }
}

/// A warning for each tensor that got smaller groups than asked for, and each component with tensors that are not
/// palettized though it is.
pub(crate) fn deviations(report: &WeightReport) -> impl Iterator<Item = String> {
    let regrouped = report.regrouped.iter().map(|r| {
        let Regrouped { name, rows, used, wanted } = r;
        format!("{name}: {rows} channels do not divide by groups of {wanted}, so {used} share a table")
    });
    let small = report.small.iter().map(|Small { component, tensors }| {
        let name = name(*component);
        format!("{name}: {tensors} tensors of at most 2048 elements are not palettized")
    });
    regrouped.chain(small)
}

fn name(component: Component) -> &'static str {
    match component {
        Component::Embeddings => "embeddings",
        Component::Layers => "layers",
        Component::LmHead => "LM head",
        Component::Other => "norms, biases, rotary tables",
    }
}

fn group(component: &ComponentReport) -> String {
    match component.group {
        _ if component.bits.is_none() => "-".into(),
        _ if component.per_tensor => "tensor".into(),
        Some(n) => n.to_string(),
        None => "varies".into(),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// The first column to the left, the others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
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
