//! A verification for people.

use std::fmt::Write as _;

use anelith_verify::{Figures, Judged, Part, Scope, Verification, advice, grade};

use crate::tables::aligned;

/// What a number is that is not finite, else the number.
pub(super) fn title(value: f64) -> String {
    if value.is_nan() {
        "nan".into()
    } else if value.is_infinite() {
        if value > 0.0 { "inf".into() } else { "-inf".into() }
    } else {
        value.to_string()
    }
}

/// The columns, the blocks, what the package says against itself, and what it all means.
pub(super) fn text(found: &Verification, scope: Scope, judged: &[Judged]) -> String {
    let mut text = format!("{}\n", found.package.display());
    let windows = if found.windows == 1 { "window" } else { "windows" };
    let of = format!("{} {windows} of at most {}", found.windows, found.window);
    line(&mut text, &format!("{} tokens of {}, in {of}", found.tokens, found.source));
    if !found.is_packed && scope == Scope::All {
        line(
            &mut text,
            "the package has no lookup tables: its error is that of fp16 alone, one column says it all",
        );
    }
    line(&mut text, "");
    text += &aligned(&columns(found));
    line(&mut text, "");
    match found.blocks.is_empty() {
        true => {
            line(&mut text, "the layers of this package cannot be told apart: no two sums a layer were found")
        }
        false => text += &aligned(&blocks(found)),
    }
    line(&mut text, "");
    against_itself(&mut text, found);
    if let Some(recorded) = &found.recorded {
        let agree = format!(
            "recorded logits and our reference: KL {} on average, {} at most, the same likeliest token at {}",
            scientific(recorded.kl_mean),
            scientific(recorded.kl_max),
            percent(recorded.same_top_near)
        );
        line(&mut text, &agree);
    }
    for judged in judged {
        let value = judged.value.map_or("not measured".to_owned(), scientific);
        let word = if judged.passed { "passed" } else { "failed" };
        line(&mut text, &format!("gate {}: {word} ({value})", judged.gate));
    }
    line(&mut text, "");
    let kl = found.main().kl_mean;
    line(&mut text, &format!("{}: mean KL divergence {} nats", grade(kl), scientific(kl)));
    if let Some(advice) = advice(found) {
        line(&mut text, &advice);
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes all");
}

fn heading(part: Part) -> &'static str {
    match part {
        Part::Fp16 => "fp16 alone",
        Part::Lut => "package in f32",
        Part::Both => "package",
    }
}

fn scientific(value: f64) -> String {
    if value.is_finite() { format!("{value:.2e}") } else { title(value) }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn fixed(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { title(value) }
}

fn decibels(value: f64) -> String {
    if value == f64::INFINITY {
        "equal".into()
    } else if value.is_finite() {
        format!("{value:.1} dB")
    } else {
        title(value)
    }
}

type Show = fn(&Figures) -> String;

/// A row for each figure, a column for each part.
fn columns(found: &Verification) -> Vec<Vec<String>> {
    let rows: [(&str, Show); 15] = [
        ("mean KL divergence, nats", |f| scientific(f.kl_mean)),
        ("  standard error", |f| scientific(f.kl_stderr)),
        ("  median", |f| scientific(f.kl_median)),
        ("  90 %", |f| scientific(f.kl_p90)),
        ("  99 %", |f| scientific(f.kl_p99)),
        ("  99.9 %", |f| scientific(f.kl_p999)),
        ("  maximum", |f| scientific(f.kl_max)),
        ("same likeliest token", |f| percent(f.same_top)),
        ("same among the five likeliest", |f| percent(f.same_top5)),
        ("next token's probability, RMS difference", |f| percent(f.dp_rms)),
        ("perplexity", |f| fixed(f.ppl)),
        ("  of the reference", |f| fixed(f.ppl_reference)),
        ("  ratio", |f| fixed(f.ppl_ratio)),
        ("correlation of logits", |f| fixed(f.correlation)),
        ("largest difference of logits", |f| fixed(f.max_abs)),
    ];
    let mut head = vec![String::new()];
    head.extend(found.columns.iter().map(|(part, _)| heading(*part).to_owned()));
    let row = |(name, show): &(&str, Show)| {
        let mut cells = vec![(*name).to_owned()];
        cells.extend(found.columns.iter().map(|(_, figures)| show(figures)));
        cells
    };
    std::iter::once(head).chain(rows.iter().map(row)).collect()
}

/// A row for each block: signal to noise after it, and of what it adds by itself.
fn blocks(found: &Verification) -> Vec<Vec<String>> {
    let mut head = vec!["signal to noise after".to_owned()];
    head.extend(found.columns.iter().map(|(part, _)| heading(*part).to_owned()));
    head.extend(["by itself", "bits", "largest", ""].map(str::to_owned));
    let mut rows = vec![head];
    let first = found.first_drop().map(|block| block.block);
    for block in &found.blocks {
        let mut row = vec![block.block.to_string()];
        let after = |column: usize| block.after.get(column).map_or("-".to_owned(), |v| decibels(*v));
        row.extend((0..found.columns.len()).map(after));
        row.push(decibels(block.own));
        row.push(block.bits.map_or("fp16".to_owned(), |bits| bits.to_string()));
        row.push(format!("{:.4}", block.largest));
        row.push(match (block.drops, Some(block.block) == first) {
            (true, true) => "the first that drops".to_owned(),
            (true, false) => "drops".to_owned(),
            (false, _) => String::new(),
        });
        rows.push(row);
    }
    rows
}

fn against_itself(text: &mut String, found: &Verification) {
    match &found.saturation.first {
        None => line(text, "fp16: all numbers are finite"),
        Some(first) => line(
            text,
            &format!(
                "fp16: {} of {} numbers are not finite; the first at token {}, {}, in {}: {}",
                found.saturation.beyond,
                found.saturation.seen,
                first.token,
                first.block,
                first.op,
                title(first.value.into())
            ),
        ),
    }
    let agreement = &found.agreement;
    let word = if agreement.agrees() { "agree" } else { "DISAGREE" };
    let partial = match agreement.partial {
        0 => String::new(),
        tokens => format!(", a batch of {tokens} filled up"),
    };
    let batches = if agreement.batches == 1 { "batch" } else { "batches" };
    let of = format!("{} {batches}{partial}, the end of the context", agreement.batches);
    line(
        text,
        &format!(
            "prefill and infer {word} ({of}): KL at most {}, caches within {} of the largest value of a layer",
            scientific(agreement.kl_max),
            scientific(agreement.cache)
        ),
    );
    match found.repeat.differing {
        0 => line(text, &format!("two runs of {} tokens are equal bit for bit", found.repeat.positions)),
        n => line(text, &format!("two runs DIFFER at {n} of {} tokens", found.repeat.positions)),
    }
}
