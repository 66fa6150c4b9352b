//! `diff`: what differs between two packages or bundles.

use std::path::Path;

use anelith_inspect::compare::coordinates;
use anelith_inspect::diff::{Diff, WeightChange, WeightName};
use anelith_inspect::graph::{Aligned, Comparison, OpChange, OpName};
use anelith_inspect::signature::Change;
use anelith_mil::Bundle;
use anelith_report::{Report, Reported};
use serde_json::{Value, json};

use crate::args::DiffArgs;
use crate::failure::{Failure, Result, Status};
use crate::inspect::json::deviation;
use crate::inspect::program_path;
use crate::inspect::text::decibels;
use crate::plain::plain;
use crate::terminal::report;

pub(crate) fn diff(args: &DiffArgs) -> Result<()> {
    let (path_a, path_b) = (program_path(&args.a)?, program_path(&args.b)?);
    let (a, b) = (Bundle::open(&path_a)?, Bundle::open(&path_b)?);
    let diff = anelith_inspect::diff::diff(&a, &b, args.function.as_deref())?;
    let top = if args.top == 0 { usize::MAX } else { args.top };
    report(&match args.json {
        true => format!("{}\n", as_json(&diff, &path_a, &path_b, top)),
        false => as_text(&diff, &path_a, &path_b, top),
    })?;
    if diff.is_empty() {
        return Ok(());
    }
    let report =
        Report::new("the models differ").at(format!("{} and {}", path_a.display(), path_b.display()));
    Err(Failure::new(Status::Gate, report.finding(counts(&diff))))
}

fn counts(diff: &Diff) -> String {
    let (signature, ops, weights) = (diff.signature.len(), diff.changed_ops(), diff.weights.len());
    format!("differences in the signature: {signature}, in ops: {ops}, in weights: {weights}")
}

/// A heading, a line for each of the first `top`, and how many more there are.
fn section<T>(title: &str, items: &[T], top: usize, line: impl Fn(&T) -> String) -> String {
    if items.is_empty() {
        return format!("{title}: no difference\n");
    }
    let plural = if items.len() == 1 { "" } else { "s" };
    let mut text = format!("{title}: {} difference{plural}\n", items.len());
    for item in items.iter().take(top) {
        text += &format!("  {}\n", line(item));
    }
    match items.len().saturating_sub(top) {
        0 => text,
        more => text + &format!("  and {more} more; --top 0 lists all\n"),
    }
}

fn as_text(diff: &Diff, a: &Path, b: &Path, top: usize) -> String {
    let mut text = format!("A: {}\nB: {}\n\n", a.display(), b.display());
    text += &section("signature", &diff.signature, top, signature);
    for function in &diff.functions {
        let how = match function.aligned {
            Aligned::Names => "names",
            Aligned::Structure => "structure",
        };
        let (of_a, of_b) = function.ops;
        let title = format!(
            "\nops of {}, {of_a} and {of_b}, {} paired by {how}",
            function_name(function),
            function.paired
        );
        text += &section(&title, &function.changes, top, op);
    }
    let title = format!("\nweights, {} equal", diff.equal_weights);
    text + &section(&title, &diff.weights, top, weight)
}

fn function_name(function: &Comparison) -> String {
    let (a, b) = &function.functions;
    if a == b { a.clone() } else { format!("{a} and {b}") }
}

fn signature(change: &Change) -> String {
    let shown = |side: &Option<String>| side.as_deref().map_or("not there".to_owned(), plain);
    format!("{}: {} | {}", plain(&change.what), shown(&change.a), shown(&change.b))
}

fn layer(layer: Option<u64>) -> String {
    layer.map_or(String::new(), |layer| format!("layer {layer}: "))
}

fn op(change: &OpChange) -> String {
    let layer = layer(change.layer);
    let name = |op: &OpName| format!("{} `{}`", op.kind, op.name);
    let (a, b) = (&change.values.0, &change.values.1);
    let text = match (&change.a, &change.b) {
        (Some(op), None) => format!("{layer}only in A: {} {a}", name(op)),
        (None, Some(op)) => format!("{layer}only in B: {} {b}", name(op)),
        (Some(op), Some(other)) => {
            let other = if op.name == other.name { String::new() } else { format!(" | `{}`", other.name) };
            let shown = |text: &str| if text.is_empty() { "not there".to_owned() } else { text.to_owned() };
            format!("{layer}{}{other}: {}: {} | {}", name(op), change.what, shown(a), shown(b))
        }
        (None, None) => layer,
    };
    plain(&text)
}

fn weight(change: &WeightChange) -> String {
    let at = layer(change.a.as_ref().or(change.b.as_ref()).and_then(|name| name.layer));
    let name = |w: &WeightName| format!("{} ({}, {})", w.name, w.component, w.storage);
    let text = match (&change.a, &change.b, &change.deviation) {
        (Some(a), Some(b), Some(deviation)) => {
            let stored = if a.storage == b.storage {
                a.storage.clone()
            } else {
                format!("{} | {}", a.storage, b.storage)
            };
            let other = if a.name == b.name { String::new() } else { format!(" | {}", b.name) };
            let mut text = format!("{at}{}{other} ({}, {stored}): ", a.name, a.component);
            if deviation.differing == 0 {
                return plain(&(text + "equal values, stored otherwise"));
            }
            let relative = deviation.snr.map_or(0.0, |snr| 10f64.powf(-snr / 20.0));
            text += &format!(
                "SNR {}, relative error {relative:.2e}, largest difference {:.3e} at {:?} ({} | {}), {} of {} differ",
                decibels(deviation.snr),
                deviation.max,
                coordinates(&a.shape, deviation.at),
                deviation.values.0,
                deviation.values.1,
                deviation.differing,
                deviation.elements,
            );
            if deviation.not_finite > 0 {
                text += &format!(", {} not finite", deviation.not_finite);
            }
            text
        }
        (Some(a), Some(b), None) => format!("{at}{}: {} | {} {}", name(a), a.ty, name(b), b.ty),
        (Some(a), None, _) => format!("{at}only in A: {} {}", name(a), a.ty),
        (None, Some(b), _) => format!("{at}only in B: {} {}", name(b), b.ty),
        (None, None, _) => String::new(),
    };
    plain(&text)
}

fn as_json(diff: &Diff, a: &Path, b: &Path, top: usize) -> Value {
    let functions = diff.functions.iter().map(|function| {
        json!({
            "a": function.functions.0,
            "b": function.functions.1,
            "paired_by": match function.aligned { Aligned::Names => "names", Aligned::Structure => "structure" },
            "ops": [function.ops.0, function.ops.1],
            "paired": function.paired,
            "differences": function.changes.len(),
            "changes": function.changes.iter().take(top).map(op_json).collect::<Vec<_>>(),
        })
    });
    let signature = diff.signature.iter().take(top);
    json!({
        "a": a.display().to_string(),
        "b": b.display().to_string(),
        "equal": diff.is_empty(),
        "signature_differences": diff.signature.len(),
        "signature": signature.map(|c| json!({ "what": c.what, "a": c.a, "b": c.b })).collect::<Vec<_>>(),
        "functions": functions.collect::<Vec<_>>(),
        "equal_weights": diff.equal_weights,
        "weight_differences": diff.weights.len(),
        "weights": diff.weights.iter().take(top).map(weight_json).collect::<Vec<_>>(),
    })
}

fn op_json(change: &OpChange) -> Value {
    let op = |op: &Option<OpName>| op.as_ref().map(|op| json!({ "name": op.name, "kind": op.kind }));
    let what = match (&change.a, &change.b) {
        (Some(_), None) => "only in a",
        (None, Some(_)) => "only in b",
        _ => &change.what,
    };
    json!({
        "layer": change.layer,
        "a": op(&change.a),
        "b": op(&change.b),
        "what": what,
        "a_value": change.values.0,
        "b_value": change.values.1,
    })
}

fn weight_json(change: &WeightChange) -> Value {
    let name = |name: &Option<WeightName>| {
        name.as_ref().map(|w| {
            json!({
                "name": w.name,
                "layer": w.layer,
                "component": w.component,
                "storage": w.storage,
                "type": w.ty,
            })
        })
    };
    let shape = change.a.as_ref().map(|a| a.shape.clone()).unwrap_or_default();
    json!({
        "a": name(&change.a),
        "b": name(&change.b),
        "deviation": change.deviation.as_ref().map(|d| deviation(d, &shape)),
    })
}
