//! The part of docs/performance.md about running.

use std::fmt::{Display, Write};

use crate::markdown::{self, Table};
use crate::run::runtime::cases::{BATCH, CONTEXT, FOUR, MODEL, QUARTER, THREADS, Workload};
use crate::run::runtime::judge;
use crate::run::runtime::repack;
use crate::run::runtime::results::{Filled, Results, Rounds};
use crate::run::runtime::told::{Kind, Told};

/// All tables under headings, each with what was done for it.
pub(crate) fn print(results: &Results) -> String {
    let mut text = "# Performance of the runtime\n\n".to_owned();
    let mut add = |heading: &str, body: &[&dyn Display]| {
        let body: Vec<String> = body.iter().map(|part| part.to_string().trim_end().to_owned()).collect();
        // A String takes all that is written to it.
        let _ = write!(text, "## {heading}\n\n{}\n\n", body.join("\n\n"));
    };
    add("Running: how it is measured", &[&about(results)]);
    add("Running: targets", &[&judge::table(results)]);
    add("Running: beside llama.cpp", &[&peer(results)]);
    if !results.forms.is_empty() {
        add("Running: forms of weights", &[&FORMS, &forms(results)]);
    }
    if !results.repacked.is_empty() {
        add(
            "Running: weights brought into another form",
            &[&repack::text(), &repack::table(&results.repacked)],
        );
    }
    if let Some(told) = results.four.0.last() {
        add("Running: where the time of a decoded token goes", &[&kinds(&told.infer_kinds)]);
        add(&format!("Running: where the time of a batch of {BATCH} goes"), &[&kinds(&told.prefill_kinds)]);
    }
    if !results.sets.is_empty() {
        add("Running: sets of instructions", &[&sets_text(), &sets(&results.sets)]);
    }
    if !results.growth.is_empty() {
        add("Running: growth of decode with the context", &[&growth_text(), &growth(results)]);
    }
    text
}

/// What was done, with the numbers of this run.
fn about(results: &Results) -> String {
    let Workload { prompt, generate, repeats, .. } = Workload::of_targets(
        results.four.0.last().map_or(0, |told| told.decode_tokens_per_second.len() as u64),
    );
    let told = results.four.0.last();
    let [isa, precision] = [told.map(|t| t.isa.as_str()), told.map(|t| t.precision.as_str())];
    let peer = match &results.peer {
        Ok(peer) => format!(
            "llama.cpp runs the same weights as Q4_0 through node-llama-cpp {}, its processes in turn with anelith's.",
            peer.version
        ),
        Err(why) => format!("llama.cpp: skipped: {why}."),
    };
    format!(
        "{}, {}. Memory can be read at {}, by all threads together (median of the rounds).\n\nMeasured by `make \
         bench-runtime` on the shapes of {} with random weights: `anelith convert --lut {FOUR} --context {CONTEXT} \
         --batch {BATCH}`, then in each of {} rounds `anelith bench --prompt {prompt} --generate {generate} --repeats \
         {repeats} --threads {THREADS}`, which runs `{}` instructions with precision `{}`. All files are in the page \
         cache. {peer} Figures are medians of all repeats of all rounds; memory is the largest.",
        results.version,
        results.machine,
        rate(results.four.bandwidth()),
        MODEL.kind.model(),
        results.four.0.len(),
        isa.unwrap_or("no"),
        precision.unwrap_or("unknown"),
    )
}

/// Both programs side by side.
fn peer(results: &Results) -> Table {
    let mut table =
        Table::new(&["", "decode, tokens/s", "prefill, tokens/s", "start to first token", "peak memory"]);
    table.row(vec![
        format!("anelith `--lut {FOUR}`"),
        tokens(results.four.decode()),
        tokens(results.four.prefill()),
        markdown::seconds(results.start()),
        markdown::bytes(results.four.peak()),
    ]);
    match &results.peer {
        Ok(peer) => {
            table.row(vec![
                "llama.cpp Q4_0".into(),
                tokens(peer.decode()),
                tokens(peer.prefill()),
                markdown::seconds(peer.first_token()),
                format!("{}, node included", markdown::bytes(peer.peak())),
            ]);
            table.row(vec![
                "ratio".into(),
                markdown::times(results.four.decode() / peer.decode()),
                markdown::times(results.four.prefill() / peer.prefill()),
                markdown::times(results.start() / peer.first_token()),
                markdown::times(results.four.peak() as f64 / peer.peak().max(1) as f64),
            ]);
        }
        Err(why) => table.row(vec![
            format!("llama.cpp skipped: {why}"),
            "-".into(),
            "-".into(),
            "-".into(),
            "-".into(),
        ]),
    }
    table
}

const FORMS: &str = "Measured in the same rounds. *Weights per token* are the bytes in which the weights that one \
                     decoded token needs are stored; per second, they are compared with the bandwidth and with 4 bits.";

fn forms(results: &Results) -> Table {
    let mut table = Table::new(&[
        "`--lut`",
        "load",
        "decode, tokens/s",
        "prefill, tokens/s",
        "weights per token",
        "weights per second",
        "of the bandwidth",
        "per byte against 4 bits",
        "peak memory",
    ]);
    let four = (FOUR, &results.four);
    for (lut, form) in [four].into_iter().chain(results.forms.iter().map(|(lut, form)| (*lut, form))) {
        table.row(form_cells(results, lut, form));
    }
    table
}

fn form_cells(results: &Results, lut: &str, form: &Rounds) -> Vec<String> {
    vec![
        format!("`{lut}`"),
        format!("{:.2} s", form.load()),
        tokens(form.decode()),
        tokens(form.prefill()),
        markdown::bytes(form.bytes_per_token()),
        rate(form.bytes_per_second()),
        format!("{:.0} %", 100.0 * form.bytes_per_second() / results.four.bandwidth()),
        markdown::times(results.per_byte(form)),
        format!("{}, `weight.bin` {}", markdown::bytes(form.peak()), markdown::bytes(form.weight_bytes())),
    ]
}

fn kinds(kinds: &[Kind]) -> Table {
    let mut table = Table::new(&["kind of op", "steps", "time", "share", "bytes", "per second"]);
    let all: f64 = kinds.iter().map(|kind| kind.seconds).sum();
    let mut row = |name: &str, steps: u64, seconds: f64, bytes: u64| {
        table.row(vec![
            name.into(),
            steps.to_string(),
            milliseconds(seconds),
            format!("{:.1} %", if all > 0.0 { 100.0 * seconds / all } else { 0.0 }),
            markdown::bytes(bytes),
            if seconds > 0.0 { rate(bytes as f64 / seconds) } else { "-".into() },
        ]);
    };
    let mut sorted: Vec<&Kind> = kinds.iter().collect();
    sorted.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    for kind in &sorted {
        row(&kind.kind, kind.steps, kind.seconds, kind.bytes);
    }
    let steps = kinds.iter().map(|kind| kind.steps).sum();
    row("all", steps, all, kinds.iter().map(|kind| kind.bytes).sum());
    table
}

fn sets_text() -> String {
    let Workload { prompt, generate, repeats, .. } = Workload::of_sets();
    format!(
        "The best set that the machine has and those below it, each forced by `--isa`, all with a prompt of {prompt}, \
         {generate} decoded tokens and {repeats} repeats."
    )
}

fn sets(sets: &[Told]) -> Table {
    let mut table =
        Table::new(&["set", "decode, tokens/s", "against the best", "prefill, tokens/s", "against the best"]);
    let Some(best) = sets.first() else { return table };
    for told in sets {
        table.row(vec![
            format!("`{}`", told.isa),
            tokens(told.decode()),
            markdown::times(told.decode() / best.decode()),
            tokens(told.prefill()),
            markdown::times(told.prefill() / best.prefill()),
        ]);
    }
    table
}

fn growth_text() -> String {
    format!(
        "On {} of the layers and of the vocabulary, so that cache and weights are to each other as in the whole model \
         and the run is short. Each context is a conversion of its own, decoded at its first positions and at its \
         last. *Cache* is what the filled positions hold, *read* that and the weights. *Added* compares with the end \
         of the context before: bytes of cache per second of additional time, which stays the same where time grows \
         as the cache does.",
        QUARTER.scale
    )
}

fn growth(results: &Results) -> Table {
    let mut table = Table::new(&[
        "context",
        "filled positions",
        "time per token",
        "cache",
        "read",
        "read per second",
        "time against the first end",
        "cache against it",
        "added",
    ]);
    let full = results.full();
    let first = full.first();
    for filled in &results.growth {
        let before = full.iter().rfind(|f| f.told.context < filled.told.context).filter(|_| filled.is_full);
        let times = |of: fn(&Filled) -> f64| {
            first
                .filter(|_| filled.is_full)
                .map_or("-".into(), |first| markdown::times(of(filled) / of(first)))
        };
        let added = before
            .map(|before| (filled.cache() - before.cache()) as f64 / (filled.seconds() - before.seconds()));
        table.row(vec![
            filled.told.context.to_string(),
            filled.workload.filled().to_string(),
            milliseconds(filled.seconds()),
            markdown::bytes(filled.cache()),
            markdown::bytes(filled.read()),
            rate(filled.read() as f64 / filled.seconds()),
            times(|f| f.seconds()),
            times(|f| f.cache() as f64),
            added.map_or("-".into(), |added| if added > 0.0 { rate(added) } else { "no time".into() }),
        ]);
    }
    table
}

/// Bytes a second.
fn rate(bytes_per_second: f64) -> String {
    format!("{:.1} GB/s", bytes_per_second / 1e9)
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn tokens(per_second: f64) -> String {
    if per_second < 99.95 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::runtime::results::tests::results;

    #[test]
    fn shares_are_of_the_whole_and_the_largest_comes_first() {
        let told = &results().four.0[0];
        let reversed: Vec<Kind> = told.infer_kinds.iter().rev().cloned().collect();
        let table = kinds(&reversed).to_string();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows[0], "| matrix product | 197 | 7.50 ms | 75.0 % | 300 MB | 40.0 GB/s |");
        assert_eq!(rows[2], "| all | 225 | 10.00 ms | 100.0 % | 600 MB | 60.0 GB/s |");
    }

    #[test]
    fn growth_is_between_the_ends_of_contexts() {
        let table = growth(&results()).to_string();
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows[0], "| 512 | 96 | 4.76 ms | 2.8 MB | 303 MB | 63.6 GB/s | - | - | - |");
        assert_eq!(rows[1], "| 512 | 480 | 5.00 ms | 14 MB | 314 MB | 62.8 GB/s | 1.00 x | 1.00 x | - |");
        // 7680 positions of 28672 bytes in 5 ms more.
        assert_eq!(
            rows[3],
            "| 8192 | 8160 | 10.00 ms | 234 MB | 534 MB | 53.4 GB/s | 2.00 x | 17 x | 44.0 GB/s |"
        );
    }

    #[test]
    fn every_part_has_its_heading_if_it_was_measured() {
        let mut results = results();
        let headings = |results: &Results| print(results).matches("\n## ").count();
        assert_eq!(headings(&results), 8);
        results.forms.clear();
        results.sets.clear();
        results.growth.clear();
        results.peer = Err("node is absent".into());
        assert_eq!(headings(&results), 5);
        assert!(print(&results).contains("| llama.cpp skipped: node is absent | - | - | - | - |"));
    }
}
