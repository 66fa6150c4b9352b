//! What has happened so far, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
    begun: Instant,
}

#[derive(Debug)]
struct Counts {
    /// Requests by endpoint and status.
    requests: BTreeMap<(&'static str, u16), u64>,
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
    disconnects: u64,
    failures: u64,
    first_token: Histogram,
    duration: Histogram,
    rate: Histogram,
}

/// How many values are at most as large as each bound.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// For each bound the values above the one before; then those above all.
    counts: Vec<u64>,
    sum: f64,
}

const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

const RATES: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn note(&mut self, value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[place] += 1;
        self.sum += value;
    }

    fn write(&self, out: &mut String, name: &str) {
        let mut total = 0;
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.counts) {
            total += count;
            line(out, format_args!("{name}_bucket{{le=\"{bound}\"}} {total}"));
        }
        line(out, format_args!("{name}_sum {}", self.sum));
        line(out, format_args!("{name}_count {total}"));
    }
}

/// What is so now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) slots: usize,
    pub(crate) busy: usize,
    pub(crate) waiting: usize,
    pub(crate) connections: usize,
}

/// What an answer took, from the engine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Tokens of the prompt that were looked at, and those of them that a cache held.
    pub(crate) prompt: usize,
    pub(crate) cached: usize,
    pub(crate) generated: usize,
    /// Seconds from the first token to the last.
    pub(crate) seconds: f64,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let counts = Counts {
            requests: BTreeMap::new(),
            prompt_tokens: 0,
            cached_tokens: 0,
            generated_tokens: 0,
            disconnects: 0,
            failures: 0,
            first_token: Histogram::new(&SECONDS),
            duration: Histogram::new(&SECONDS),
            rate: Histogram::new(&RATES),
        };
        Metrics { counts: Mutex::new(counts), begun: Instant::now() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request has ended.
    pub(crate) fn request(&self, endpoint: &'static str, status: u16, seconds: f64) {
        self.with(|counts| {
            *counts.requests.entry((endpoint, status)).or_default() += 1;
            if matches!(endpoint, "chat.completions" | "completions") {
                counts.duration.note(seconds);
            }
        });
    }

    /// The first token of an answer is there.
    pub(crate) fn first_token(&self, seconds: f64) {
        self.with(|counts| counts.first_token.note(seconds));
    }

    /// An answer has ended, or was given up.
    pub(crate) fn work(&self, work: Work) {
        self.with(|counts| {
            counts.prompt_tokens += work.prompt as u64;
            counts.cached_tokens += work.cached as u64;
            counts.generated_tokens += work.generated as u64;
            if work.generated > 1 && work.seconds > 0.0 {
                counts.rate.note((work.generated - 1) as f64 / work.seconds);
            }
        });
    }

    /// A client went away before its answer was there.
    pub(crate) fn disconnect(&self) {
        self.with(|counts| counts.disconnects += 1);
    }

    /// The model failed.
    pub(crate) fn failure(&self) {
        self.with(|counts| counts.failures += 1);
    }

    /// All of it.
    pub(crate) fn text(&self, load: Load) -> String {
        let mut out = String::new();
        self.with(|counts| write_counts(&mut out, counts));
        let gauges = [
            ("anelith_slots", "Answers that can be under way at a time.", load.slots as f64),
            ("anelith_slots_busy", "Answers under way.", load.busy as f64),
            ("anelith_queue_length", "Requests that wait for a slot.", load.waiting as f64),
            ("anelith_connections", "Connections that are open.", load.connections as f64),
            ("anelith_uptime_seconds", "Time since the start.", self.begun.elapsed().as_secs_f64()),
        ];
        for (name, help, value) in gauges {
            head(&mut out, name, "gauge", help);
            line(&mut out, format_args!("{name} {value}"));
        }
        if let Some(bytes) = resident_bytes() {
            let name = "process_resident_memory_bytes";
            head(&mut out, name, "gauge", "Memory of the process.");
            line(&mut out, format_args!("{name} {bytes}"));
        }
        out
    }
}

fn write_counts(out: &mut String, counts: &Counts) {
    let name = "anelith_requests_total";
    head(out, name, "counter", "Requests that have ended; status 499: the client went away.");
    for ((endpoint, status), count) in &counts.requests {
        line(out, format_args!("{name}{{endpoint=\"{endpoint}\",status=\"{status}\"}} {count}"));
    }
    let refused =
        counts.requests.iter().filter(|((_, status), _)| *status == 429).map(|(_, count)| count).sum();
    let totals = [
        ("anelith_rate_limited_total", "Requests refused because the queue was full.", refused),
        (
            "anelith_disconnects_total",
            "Answers that were given up because the client went away.",
            counts.disconnects,
        ),
        ("anelith_model_failures_total", "Answers at which the model failed.", counts.failures),
        ("anelith_prompt_tokens_total", "Tokens of prompts, cached ones too.", counts.prompt_tokens),
        ("anelith_cached_prompt_tokens_total", "Tokens of prompts that a cache held.", counts.cached_tokens),
        ("anelith_generated_tokens_total", "Tokens of answers.", counts.generated_tokens),
    ];
    for (name, help, value) in totals {
        head(out, name, "counter", help);
        line(out, format_args!("{name} {value}"));
    }
    let histograms = [
        ("anelith_time_to_first_token_seconds", "From the request to the first token.", &counts.first_token),
        ("anelith_request_duration_seconds", "From a request for an answer to its end.", &counts.duration),
        ("anelith_tokens_per_second", "Tokens after the first, by the time they took.", &counts.rate),
    ];
    for (name, help, histogram) in histograms {
        head(out, name, "histogram", help);
        histogram.write(out, name);
    }
}

fn head(out: &mut String, name: &str, sort: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {sort}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes all");
}

/// The memory that the process has, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::new();
        for seconds in [0.001, 0.3, 1e9] {
            metrics.request("completions", 200, seconds);
        }
        metrics.request("completions", 429, 0.001);
        metrics.work(Work { prompt: 9, cached: 4, generated: 3, seconds: 0.5 });
        let text = metrics.text(Load { slots: 4, busy: 1, waiting: 2, connections: 3 });
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        has("anelith_requests_total{endpoint=\"completions\",status=\"200\"} 3");
        has("anelith_rate_limited_total 1");
        has("anelith_request_duration_seconds_bucket{le=\"0.005\"} 2");
        has("anelith_request_duration_seconds_bucket{le=\"0.5\"} 3");
        has("anelith_request_duration_seconds_bucket{le=\"300\"} 3");
        has("anelith_request_duration_seconds_bucket{le=\"+Inf\"} 4");
        has("anelith_tokens_per_second_bucket{le=\"5\"} 1");
        has("anelith_tokens_per_second_sum 4");
        has("anelith_cached_prompt_tokens_total 4");
        has("anelith_queue_length 2");
    }
}
