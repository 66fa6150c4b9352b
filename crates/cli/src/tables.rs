//! Tables for people.

use anelith_convert::{
    Action, CHAT_STEP, Component, ComponentReport, Finding, Outputs, Preview, Regrouped, Sharing, Small,
    StepPlan, WeightReport,
};

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
pub(crate) fn preview(preview: &Preview, outputs: &Outputs, chats: bool) -> String {
    let mut text = format!("output directory: {}\n", outputs.dir().display());
    for StepPlan { step, action, files } in &preview.steps {
        let action = match action {
            Action::Build => "to do",
            Action::Reuse => "done, to be reused",
            Action::Separate => "done, to be copied, as it shares its weight.bin with other files",
            Action::Recheck => "to do, unless the steps before it make again what was there",
        };
        text += &format!("{step}: {}: {action}\n", step.title());
        let row = |f: &anelith_convert::File| vec![format!("  {}", f.name), f.bytes.map_or("-".into(), size)];
        text += &aligned(&files.iter().map(row).collect::<Vec<_>>());
    }
    if chats {
        text += &format!("step {CHAT_STEP}: chat with the compiled model: to do\n");
    }
    let stored = match preview.sharing {
        Sharing::Link => "stored once where the file system can",
        Sharing::Copy => "stored in each package and the bundle",
    };
    text += &format!("weight.bin: {}, {stored}\n", size(preview.weight_bytes));
    text + &aligned(&planned_rows(&preview.weights))
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
/// palettized though it is; without the last line end.
pub(crate) fn deviations(report: &WeightReport) -> String {
    let regrouped = report.regrouped.iter().map(|r| {
        let Regrouped { name, rows, used, wanted } = r;
        format!(
            "warning: {name}: {rows} channels do not divide by groups of {wanted}, so {used} share a table"
        )
    });
    let small = report.small.iter().map(|Small { component, tensors }| {
        let name = name(*component);
        format!("warning: {name}: {tensors} tensors of at most 2048 elements are not palettized")
    });
    regrouped.chain(small).collect::<Vec<_>>().join("\n")
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
