//! What `inspect` prints for people.

use std::path::Path;

use anelith_inspect::compare::{Deviation, coordinates};
use anelith_inspect::detail::{Detail, Palette, SourceError};
use anelith_inspect::names;
use anelith_inspect::summary::{FunctionSummary, Summary};
use anelith_inspect::weights::{Piece, Purpose, Weight};

use crate::plain::plain;
use crate::tables::{aligned, size};

/// Rows of a label and what it is.
pub(crate) fn labelled(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(label, text)| format!("  {label:width$}  {}\n", plain(text))).collect()
}

/// The iOS release that a specification version stands for.
fn release(version: i32) -> String {
    match version {
        6..=9 => format!("iOS {}", version + 9),
        _ => "unknown".to_owned(),
    }
}

pub(super) fn summary(path: &Path, summary: &Summary) -> String {
    let version = summary.specification_version;
    let mut text = format!("{}: specification version {version} ({})\n", path.display(), release(version));
    let metadata = &summary.metadata;
    let fields = [
        ("description", &metadata.short_description),
        ("author", &metadata.author),
        ("version", &metadata.version),
        ("license", &metadata.license),
    ];
    let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
    let fields = fields.map(|(label, text)| (label.to_owned(), text.clone()));
    let own = metadata.user_defined.iter().chain(&summary.build_info);
    let rows: Vec<_> = fields.chain(own.map(|(key, value)| (plain(key), value.clone()))).collect();
    text += &labelled(&rows);
    for function in &summary.functions {
        text += &self::function(function);
    }
    text += &sizes(summary);
    for file in &summary.files {
        text += &format!(
            "\n{}: {}, {} blobs, {} referred to, {} of elements\n",
            plain(&file.name),
            size(file.bytes),
            file.blobs,
            file.referenced,
            size(file.referenced_bytes),
        );
    }
    text
}

fn function(function: &FunctionSummary) -> String {
    let default = if function.is_default { ", default" } else { "" };
    let total: usize = function.ops.iter().map(|(_, n)| n).sum();
    let mut text =
        format!("\nfunction {} ({}{default}): {total} ops\n", plain(&function.name), function.opset);
    let mut rows = Vec::new();
    for (kind, features) in
        [("input", &function.inputs), ("output", &function.outputs), ("state", &function.states)]
    {
        rows.extend(features.iter().map(|f| (format!("{kind:6}  {}", plain(&f.name)), f.ty.clone())));
    }
    text += &labelled(&rows);
    let ops: Vec<String> = function.ops.iter().map(|(kind, n)| format!("{} {n}", plain(kind))).collect();
    text + &wrapped("  ops     ", &ops)
}

/// The widest line of a list of words.
const WIDTH: usize = 100;

/// Words with commas between them, on lines that begin with `head` and then with as many blanks.
fn wrapped(head: &str, words: &[String]) -> String {
    let mut text = head.to_owned();
    let mut column = head.len();
    for (i, word) in words.iter().enumerate() {
        let comma = if i + 1 < words.len() { "," } else { "" };
        if i > 0 && column + word.len() + 2 > WIDTH {
            text += &format!("\n{}", " ".repeat(head.len()));
            column = head.len();
        } else if i > 0 {
            text.push(' ');
            column += 1;
        }
        text += &format!("{word}{comma}");
        column += word.len() + comma.len();
    }
    text + "\n"
}

fn sizes(summary: &Summary) -> String {
    if summary.sizes.is_empty() {
        return "\nno weights\n".to_owned();
    }
    let head = ["weights", "stored", "tensors", "elements", "bytes", "tables", "bits a weight"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for s in &summary.sizes {
        rows.push(vec![
            plain(&s.component),
            s.storage.clone(),
            s.tensors.to_string(),
            s.elements.to_string(),
            size(s.element_bytes),
            size(s.table_bytes),
            format!("{:.2}", s.bits),
        ]);
    }
    let sum = |of: fn(&anelith_inspect::summary::Size) -> u64| summary.sizes.iter().map(of).sum::<u64>();
    let (elements, bytes, tables) = (sum(|s| s.elements), sum(|s| s.element_bytes), sum(|s| s.table_bytes));
    let bits = (bytes + tables) as f64 * 8.0 / elements.max(1) as f64;
    rows.push(vec![
        "all".to_owned(),
        String::new(),
        sum(|s| s.tensors).to_string(),
        elements.to_string(),
        size(bytes),
        size(tables),
        format!("{bits:.2}"),
    ]);
    format!("\n{}", aligned(&rows))
}

pub(super) fn weight(weight: &Weight<'_>, detail: &Detail, model: Option<&Path>) -> String {
    let mut rows = Vec::new();
    let mut row = |label: &str, text: String| rows.push((label.to_owned(), text));
    row("type", format!("{}, {} elements", weight.ty, weight.elements()));
    let layer = names::layer(&weight.words).map_or(String::new(), |layer| format!(", layer {layer}"));
    row("part", format!("{}{layer}", weight.component()));
    for used in &weight.uses {
        row("read by", format!("{}: {} `{}` as `{}`", used.function, used.kind, used.op, used.parameter));
    }
    for maker in &weight.makers {
        row("made by", (*maker).to_owned());
    }
    let (elements, tables) = (weight.bytes(Purpose::Elements), weight.bytes(Purpose::Tables));
    let bits = (elements + tables) as f64 * 8.0 / weight.elements().max(1) as f64;
    row(
        "stored",
        format!(
            "{}, {} and {} of tables, {bits:.2} bits a weight",
            weight.storage(),
            size(elements),
            size(tables)
        ),
    );
    for piece in &weight.pieces {
        row(piece.role, place(piece));
    }
    let range = &detail.range;
    row(
        "values",
        format!(
            "{} to {}, mean {:.3e}, root mean square {:.3e}",
            range.min, range.max, range.mean, range.rms
        ),
    );
    if range.not_finite > 0 {
        row("not finite", format!("{} elements", range.not_finite));
    }
    let mut text = format!("weight {}\n{}", plain(&weight.name), labelled(&rows));
    if let Some(palette) = &detail.palette {
        text += &self::palette(palette);
    }
    if let (Some(error), Some(model)) = (&detail.error, model) {
        text += &source(error, &detail.shape, model);
    }
    text
}

fn place(piece: &Piece<'_>) -> String {
    let place = match &piece.place {
        Some(p) => format!("{}, metadata at {1} ({1:#x}), data at {2} ({2:#x})", p.file, p.metadata, p.data),
        None => "in the program".to_owned(),
    };
    format!("{}, {}: {place}", piece.ty, size(piece.bytes))
}

fn palette(palette: &Palette) -> String {
    let shape = [&palette.groups[..], &[palette.entries, palette.vector]].concat();
    let mut text = format!("\ntables {shape:?}: {} of {} entries", palette.tables, palette.entries);
    if palette.vector > 1 {
        text += &format!(" of {} elements", palette.vector);
    }
    text += &match palette.unused {
        Some(unused) => format!(", of which no index asks for {unused}\n"),
        None => "; too many to count unused entries\n".to_owned(),
    };
    let head =
        ["entry".to_owned(), "all tables".to_owned(), format!("table {}", palette.shown), "value".to_owned()];
    let mut rows = vec![head.to_vec()];
    let vectors = palette.table.chunks(palette.vector.max(1) as usize);
    for (i, ((all, own), values)) in
        palette.histogram.iter().zip(&palette.table_histogram).zip(vectors).enumerate()
    {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        let unused = if *own == 0 { " unused" } else { "" };
        rows.push(vec![i.to_string(), all.to_string(), format!("{own}{unused}"), values.join(" ")]);
    }
    text + &aligned(&rows)
}

fn source(error: &SourceError, shape: &[u64], model: &Path) -> String {
    let rows = &error.rows;
    let part = match rows.first {
        0 => String::new(),
        first => format!(" from row {first} on"),
    };
    let head = format!(
        "\nagainst {} {:?} ({}){part} of {}\n",
        plain(rows.name()),
        rows.shape,
        rows.dtype(),
        model.display()
    );
    head + &deviation(&error.deviation, shape, &error.groups)
}

/// A ratio in words.
pub(crate) fn decibels(snr: Option<f64>) -> String {
    match snr {
        None => "exact".to_owned(),
        Some(snr) => format!("{snr:.2} dB"),
    }
}

fn deviation(deviation: &Deviation, shape: &[u64], groups: &[u64]) -> String {
    let mut rows = vec![
        ("mean square error".to_owned(), format!("{:.4e}", deviation.mean_square)),
        ("SNR".to_owned(), decibels(deviation.snr)),
        ("differing".to_owned(), format!("{} of {} elements", deviation.differing, deviation.elements)),
    ];
    if deviation.differing > 0 {
        let at = coordinates(shape, deviation.at);
        let (source, here) = deviation.values;
        let text = format!("{:.4e} at {at:?}: {source} in the checkpoint, {here} here", deviation.max);
        rows.push(("largest difference".to_owned(), text));
    }
    if let Some((group, snr)) = deviation.worst {
        rows.push(("worst group".to_owned(), format!("{group} of {groups:?}, SNR {}", decibels(Some(snr)))));
    }
    if deviation.not_finite > 0 {
        rows.push(("not finite".to_owned(), format!("{} pairs", deviation.not_finite)));
    }
    labelled(&rows)
}
