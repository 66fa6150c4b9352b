//! A verification as one JSON object.

use anelith_verify::{BlockFigures, Figures, Judged, Part, Scope, Verification, advice, grade};
use serde_json::{Map, Value, json};

use super::text::title;

/// The figures of the main column stand at the top, by the names of the metrics.
pub(super) fn json(found: &Verification, scope: Scope, judged: &[Judged]) -> Value {
    let mut object = figures(found.main());
    let columns: Map<String, Value> = found
        .columns
        .iter()
        .map(|(part, of_part)| (key(*part).to_owned(), Value::Object(figures(of_part))))
        .collect();
    let rest = json!({
        "grade": grade(found.main().kl_mean),
        "advice": advice(found),
        "package": found.package.display().to_string(),
        "source": found.source,
        "tokens": found.tokens,
        "windows": found.windows,
        "window": found.window,
        "has_lookup_tables": found.is_packed,
        "measured": scope_name(scope),
        "columns": columns,
        "blocks": found.blocks.iter().map(|block| of_block(block, found)).collect::<Vec<_>>(),
        "first_drop": found.first_drop().map(|block| block.block.to_string()),
        "not_finite": found.saturation.beyond,
        "numbers_seen": found.saturation.seen,
        "first_not_finite": found.saturation.first.as_ref().map(|first| json!({
            "token": first.token,
            "block": first.block.to_string(),
            "op": first.op,
            "value": number(first.value.into()),
        })),
        "prefill": {
            "agrees": found.agreement.agrees(),
            "comparisons": found.agreement.comparisons,
            "batches": found.agreement.batches,
            "partial": found.agreement.partial,
            "kl_max": number(found.agreement.kl_max),
            "max_abs": number(found.agreement.max_abs),
            "cache": number(found.agreement.cache),
        },
        "repeated": found.repeat.positions,
        "differing": found.repeat.differing,
        "recorded": found.recorded.as_ref().map(figures),
        "gates": judged.iter().map(|judged| json!({
            "gate": judged.gate,
            "value": judged.value.map(number),
            "passed": judged.passed,
        })).collect::<Vec<_>>(),
    });
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    Value::Object(object)
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::All => "all",
        Scope::Exact => "exact",
        Scope::F32 => "f32",
    }
}

/// The name of a column.
fn key(part: Part) -> &'static str {
    match part {
        Part::Fp16 => "fp16",
        Part::Lut => "f32",
        Part::Both => "exact",
    }
}

fn figures(figures: &Figures) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("positions".into(), json!(figures.positions));
    object.insert("near_ties".into(), json!(figures.near_ties));
    for (name, value) in [
        ("kl_mean", figures.kl_mean),
        ("kl_stderr", figures.kl_stderr),
        ("kl_median", figures.kl_median),
        ("kl_p90", figures.kl_p90),
        ("kl_p99", figures.kl_p99),
        ("kl_p999", figures.kl_p999),
        ("kl_max", figures.kl_max),
        ("same_top", figures.same_top),
        ("same_top_near", figures.same_top_near),
        ("same_top5", figures.same_top5),
        ("dp_rms", figures.dp_rms),
        ("ppl_reference", figures.ppl_reference),
        ("ppl", figures.ppl),
        ("ppl_ratio", figures.ppl_ratio),
        ("correlation", figures.correlation),
        ("max_abs", figures.max_abs),
    ] {
        object.insert(name.into(), number(value));
    }
    object
}

fn of_block(block: &BlockFigures, found: &Verification) -> Value {
    let columns = found.columns.iter().zip(&block.after);
    let after: Map<String, Value> =
        columns.map(|((part, _), after)| (key(*part).to_owned(), number(*after))).collect();
    json!({
        "block": block.block.to_string(),
        "layer": block.block.layer(),
        "bits": block.bits,
        "snr_after": after,
        "snr_own": number(block.own),
        "drops": block.drops,
        "largest": number(block.largest.into()),
        "largest_at": block.largest_at,
    })
}

/// JSON has no infinities.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(title(value)) }
}
