//! `bench`: how fast a converted model runs here.

use std::fs;
use std::time::Instant;

use anelith_chat::{LanguageModel, Meta, Monolith};
use anelith_report::{Report, Reported};
use anelith_runtime::{Options, Precision, StepInfo, StepTime, read_bandwidth};
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::failure::{Failure, Result};
use crate::tables::aligned;
use crate::terminal::print;

/// Tokens of the prompt of `--first-token`.
const FIRST_PROMPT: usize = 8;

/// What one run of prompt and answer took, in tokens a second.
struct Run {
    prefill: f64,
    decode: f64,
}

/// Steps of one sort.
struct Kind {
    name: &'static str,
    steps: usize,
    seconds: f64,
    bytes: u64,
}

/// Measures; `process_start` is when this process began.
pub(crate) fn bench(args: &BenchArgs, process_start: Instant) -> Result<()> {
    let repack = !args.as_stored;
    let options = Options { repack, ..args.meta.numbers.options(Precision::Fast)? };
    let start = Instant::now();
    let meta = Meta::open(&args.meta.meta)?;
    let mut model = Monolith::open(&meta, options)?;
    let load = start.elapsed().as_secs_f64();
    if args.first_token {
        check_room(0, FIRST_PROMPT as u64, &model)?;
        return first_token(args, &mut model, process_start);
    }
    check_room(args.start.into(), u64::from(args.prompt) + u64::from(args.generate), &model)?;
    let runs = (0..args.repeats).map(|_| run(args, &mut model)).collect::<Result<Vec<_>>>()?;
    let position = (args.start + args.prompt) as usize;
    let infer_times = model.profile(&[token(position, model.vocab_size())], position)?;
    let batch = tokens(0, model.batch_size(), model.vocab_size());
    let batch_start = (position / batch.len()).saturating_sub(1) * batch.len();
    let prefill_times = model.profile(&batch, batch_start)?;
    // The read benchmark takes memory of its own.
    let peak = peak_bytes();
    let bandwidth = read_bandwidth();
    let report = Figures {
        load,
        runs,
        peak,
        bandwidth,
        infer: model.infer_steps()?.into_iter().zip(infer_times).collect(),
        prefill: model.prefill_steps()?.into_iter().zip(prefill_times).collect(),
        weight_file: model.weight_file_bytes(),
        weights: model.infer_weight_bytes(),
    };
    match args.json {
        true => print(&format!("{}\n", report.json(args, &model))),
        false => print(&report.text(args)),
    }
}

/// The token at `position`; any will do, and these are the ones of the benchmark beside which ours is run.
fn token(position: usize, vocab: usize) -> u32 {
    ((1000 + position * 37) % vocab) as u32
}

fn tokens(first: usize, count: usize, vocab: usize) -> Vec<u32> {
    (first..first + count).map(|position| token(position, vocab)).collect()
}

fn check_room(start: u64, tokens: u64, model: &Monolith) -> Result<()> {
    let asked = start + tokens;
    if asked <= model.context_length() as u64 {
        return Ok(());
    }
    let report =
        Report::new("the context has no room for so many tokens").at("--start, --prompt, --generate");
    let report = report.expecting(format!("together at most {}", model.context_length())).finding(asked);
    Err(Failure::usage(report.mending("give less, or convert with a larger --context")))
}

/// Feeds `prompt` from `start` on, full batches at once and the rest token by token.
fn feed(model: &mut Monolith, start: usize, prompt: &[u32]) -> Result<()> {
    let batch = model.batch_size();
    let mut at = start;
    for tokens in prompt.chunks(batch) {
        match tokens.len() == batch {
            true => model.prefill(tokens, at)?,
            false => {
                for (i, token) in tokens.iter().enumerate() {
                    model.infer(*token, at + i)?;
                }
            }
        }
        at += tokens.len();
    }
    Ok(())
}

fn run(args: &BenchArgs, model: &mut Monolith) -> Result<Run> {
    let (start, vocab) = (args.start as usize, model.vocab_size());
    model.reset();
    let prompt = tokens(0, args.prompt as usize, vocab);
    let begin = Instant::now();
    feed(model, start, &prompt)?;
    let prefill = f64::from(args.prompt) / begin.elapsed().as_secs_f64();
    let first = start + prompt.len();
    let begin = Instant::now();
    for position in first..first + args.generate as usize {
        model.infer(token(position, vocab), position)?;
    }
    Ok(Run { prefill, decode: f64::from(args.generate) / begin.elapsed().as_secs_f64() })
}

fn first_token(args: &BenchArgs, model: &mut Monolith, process_start: Instant) -> Result<()> {
    let prompt = tokens(0, FIRST_PROMPT, model.vocab_size());
    feed(model, 0, &prompt)?;
    let seconds = process_start.elapsed().as_secs_f64();
    match args.json {
        true => print(&format!("{}\n", json!({ "start_to_first_token_seconds": seconds }))),
        false => print(&format!("start to first token, prompt of {FIRST_PROMPT}: {:.0} ms\n", seconds * 1e3)),
    }
}

/// The most memory this process has held, in bytes, as the kernel tells it.
pub(crate) fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

type Steps = Vec<(StepInfo, StepTime)>;

/// All that was measured.
struct Figures {
    load: f64,
    runs: Vec<Run>,
    peak: Option<u64>,
    /// Bytes a second.
    bandwidth: f64,
    infer: Steps,
    prefill: Steps,
    /// Bytes of the weight files.
    weight_file: u64,
    /// Bytes of weights that a token needs.
    weights: u64,
}

impl Figures {
    fn json(&self, args: &BenchArgs, model: &Monolith) -> Value {
        let all = |of: fn(&Run) -> f64| self.runs.iter().map(of).collect::<Vec<_>>();
        let numbers = &args.meta.numbers;
        let options = numbers.options(Precision::Fast);
        let word = |debug: String| debug.to_lowercase();
        let mut value = json!({
            "isa": options.as_ref().map(|o| word(format!("{:?}", o.isa))).unwrap_or_default(),
            "precision": options.as_ref().map(|o| word(format!("{:?}", o.precision))).unwrap_or_default(),
            "threads": rayon::current_num_threads(),
            "context": model.context_length(),
            "batch": model.batch_size(),
            "start": args.start,
            "prompt": args.prompt,
            "generate": args.generate,
            "weight_bytes": self.weight_file,
            "load_seconds": self.load,
            "bandwidth_bytes_per_second": self.bandwidth,
            "decode_bytes_per_token": self.weights,
            "prefill_tokens_per_second": all(|run| run.prefill),
            "decode_tokens_per_second": all(|run| run.decode),
            "peak_bytes": self.peak,
            "infer_kinds": kinds(&self.infer).iter().map(Kind::json).collect::<Vec<_>>(),
            "prefill_kinds": kinds(&self.prefill).iter().map(Kind::json).collect::<Vec<_>>(),
        });
        if args.plan {
            value["infer_plan"] = plan_json(&self.infer);
            value["prefill_plan"] = plan_json(&self.prefill);
        }
        value
    }

    fn text(&self, args: &BenchArgs) -> String {
        let of = |of: fn(&Run) -> f64| median(self.runs.iter().map(of).collect());
        let (prefill, decode) = (of(|run| run.prefill), of(|run| run.decode));
        let mut text = format!(
            "load {:.0} ms, prefill {prefill:.1} tokens/s, decode {decode:.1} tokens/s, peak memory {}\n\
             memory bandwidth {:.1} GB/s, weights of a token {:.1} MB: decode is at {:.0} % of what memory allows\n",
            self.load * 1e3,
            self.peak.map_or("unknown".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
            self.bandwidth / 1e9,
            self.weights as f64 / 1e6,
            100.0 * decode * self.weights as f64 / self.bandwidth,
        );
        for (title, steps) in [("infer, one token", &self.infer), ("prefill, one batch", &self.prefill)] {
            let rows = kinds(steps).iter().map(|kind| kind.row(self.bandwidth)).collect();
            text += &format!("\n{}", table(&[title, "steps", "ms", "MB", "bandwidth"], rows));
        }
        if args.plan {
            for (title, steps) in [("infer", &self.infer), ("prefill", &self.prefill)] {
                let rows = steps.iter().map(|(info, time)| step_row(info, time, self.bandwidth)).collect();
                let head = [title, "kernel", "shape", "us", "kB", "bandwidth"];
                text += &format!("\n{}", table(&head, rows));
            }
        }
        text
    }
}

fn table(head: &[&str], mut rows: Vec<Vec<String>>) -> String {
    rows.insert(0, head.iter().map(|word| (*word).to_owned()).collect());
    aligned(&rows)
}

/// The median, which is the mean of the two in the middle of an even number. 0 for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.get(values.len().saturating_sub(1) / 2..=values.len() / 2) {
        Some([lower, .., upper]) => f64::midpoint(*lower, *upper),
        Some([only]) => *only,
        _ => 0.0,
    }
}

/// The steps by kind, those that take longest first.
fn kinds(steps: &Steps) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for (info, time) in steps {
        let at = kinds.iter().position(|kind| kind.name == info.kind).unwrap_or_else(|| {
            kinds.push(Kind { name: info.kind, steps: 0, seconds: 0.0, bytes: 0 });
            kinds.len() - 1
        });
        kinds[at].steps += 1;
        kinds[at].seconds += time.time.as_secs_f64();
        kinds[at].bytes += time.bytes;
    }
    kinds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kinds
}

/// How much of the bandwidth reading `bytes` in `seconds` takes, in words.
fn share(bytes: u64, seconds: f64, bandwidth: f64) -> String {
    format!("{:.0} %", 100.0 * bytes as f64 / seconds.max(1e-9) / bandwidth)
}

impl Kind {
    fn json(&self) -> Value {
        json!({ "kind": self.name, "steps": self.steps, "seconds": self.seconds, "bytes": self.bytes })
    }

    fn row(&self, bandwidth: f64) -> Vec<String> {
        vec![
            self.name.to_owned(),
            self.steps.to_string(),
            format!("{:.2}", self.seconds * 1e3),
            format!("{:.1}", self.bytes as f64 / 1e6),
            share(self.bytes, self.seconds, bandwidth),
        ]
    }
}

fn step_row(info: &StepInfo, time: &StepTime, bandwidth: f64) -> Vec<String> {
    let seconds = time.time.as_secs_f64();
    vec![
        info.op.clone(),
        info.kernel.clone(),
        info.shape.clone(),
        format!("{:.1}", seconds * 1e6),
        format!("{:.1}", time.bytes as f64 / 1e3),
        share(time.bytes, seconds, bandwidth),
    ]
}

fn plan_json(steps: &Steps) -> Value {
    let step = |(info, time): &(StepInfo, StepTime)| {
        json!({
            "op": info.op,
            "kind": info.kind,
            "kernel": info.kernel,
            "shape": info.shape,
            "seconds": time.time.as_secs_f64(),
            "bytes": time.bytes,
        })
    };
    steps.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![5.0]), 5.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
