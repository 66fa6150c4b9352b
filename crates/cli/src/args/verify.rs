//! The arguments of `verify`.

use std::path::PathBuf;

use anelith_verify::METRICS;
use clap::Args;

use super::{STATUSES, ThreadArgs};

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The checkpoint that was converted: a directory in Hugging Face format, or the id of a model on the hub, ORG/NAME
    #[arg(long, value_name = "DIR|ID")]
    pub(crate) model: PathBuf,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,
    /// meta.yaml of the converted model, or the directory that holds it
    #[arg(long, value_name = "FILE")]
    pub(crate) meta: PathBuf,
    /// Text to verify with, in UTF-8 [default: the beginning of Alice's Adventures in Wonderland]
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    pub(crate) text: Option<PathBuf>,
    /// Tokens to verify with: an .npz file of numpy.savez or numpy.savez_compressed with `input_ids` int32 or int64
    /// `[T]`, and perhaps `logits` f32 `[T, V]` that another program has computed of them, with which our reference is
    /// then compared
    #[arg(long, value_name = "FILE.npz")]
    pub(crate) ids: Option<PathBuf>,
    /// Tokens at most, at least 2
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) tokens: u32,
    /// Measure only the package with the roundings that the program says
    #[arg(long)]
    pub(crate) exact: bool,
    /// Measure only the package without any rounding
    #[arg(long, conflicts_with = "exact")]
    pub(crate) f32: bool,
    /// Exit with status 4 if one of these conditions holds: METRIC>NUMBER or METRIC<NUMBER, with commas between
    #[arg(long, value_name = "GATES")]
    pub(crate) fail_if: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// What stands below the options.
pub(super) fn help() -> String {
    let width = METRICS.iter().map(|metric| metric.name.len()).max().unwrap_or(0);
    let line = |metric: &anelith_verify::Metric| format!("  {:width$}  {}\n", metric.name, metric.about);
    let metrics: String = METRICS.iter().map(line).collect();
    format!(
        "\
Examples:
  anelith verify --model ./models/Qwen3-0.6B --meta ./converted/meta.yaml
  anelith verify --model ./models/Qwen3-0.6B --meta ./converted/meta.yaml --text chapter.txt --tokens 512
  anelith verify --model ./models/Qwen3-0.6B --meta ./converted/meta.yaml --json --fail-if 'kld>0.3,same_top<0.8'

What is measured is the file that meta.yaml names, read back from the disk. Three columns split its error: fp16 alone \
(the checkpoint without lookup tables, rounded as a program of fp16 rounds; its weights take 2 bytes each in TMPDIR \
while it is made), lookup tables alone (the package without rounding), and both (the package as it is).

Metrics for --fail-if, all of the last column unless their name says otherwise:
{metrics}
The mean KL divergence is excellent below 0.005 nats, good below 0.05, acceptable below 0.3, poor up to 0.5; what is \
above should be rejected.

{STATUSES}"
    )
}
