//! The arguments of `convert` and `part`.

use std::path::PathBuf;

use anelith_checkpoint::Architecture;
use anelith_convert::Lut;
use clap::{Args, ValueEnum};

use super::{LinkArgs, OutputArgs, ThreadArgs};

/// What to convert and how.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Model directory in Hugging Face format, or the id of a model on the hub, ORG/NAME. What exists as a path is one,
    /// and so is a name below a directory that exists. A hub's model is downloaded into the cache that other tools use
    /// (HF_HUB_CACHE, HF_HOME), as far as it is needed and not there; HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what
    /// they mean to huggingface_hub
    #[arg(long, value_name = "DIR|ID")]
    pub(crate) model: PathBuf,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,
    /// Output directory, created if missing; not the model directory
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Context length: tokens that the KV cache holds
    #[arg(long, visible_alias = "context-length", value_name = "TOKENS", default_value_t = 512)]
    pub(crate) context: u64,
    /// Tokens per prefill call
    #[arg(long, visible_alias = "batch-size", value_name = "TOKENS", default_value_t = 64)]
    pub(crate) batch: u64,
    /// Palettization: BITS, BITS,GROUP or none; GROUP output channels share a lookup table (default 8), 0, t or
    /// tensor is one table per tensor
    #[arg(long, value_name = "LUT", default_value = "4")]
    pub(crate) lut: Lut,
    /// Palettization of the embedding, in the words of --lut [default: as --lut]
    #[arg(long, value_name = "LUT")]
    pub(crate) lut_embeddings: Option<Lut>,
    /// Palettization of the LM head, in the words of --lut [default: as --lut]
    #[arg(long, value_name = "LUT")]
    pub(crate) lut_lmhead: Option<Lut>,
    /// Let the model pick the token: it returns place and value of the largest logit of each vocabulary split in
    /// place of logits, so that only greedy decoding is possible
    #[arg(long)]
    pub(crate) argmax: bool,
    /// Print what would be done (steps, files, sizes) and stop; nothing is written
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Prefix of file names [default: llama, qwen25 or qwen, by architecture]
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Skip the part of step 0 that looks at disk, memory and tokenizer files
    #[arg(long)]
    pub(crate) skip_check: bool,
    #[command(flatten)]
    pub(crate) printing: OutputArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) foreign: ForeignArgs,
}

/// Options of upstream's that do nothing here.
#[derive(Debug, Args)]
pub(crate) struct ForeignArgs {
    #[arg(long, hide = true)]
    pub(crate) dynamic_prefill_slice: bool,
    #[arg(long, hide = true)]
    pub(crate) skip_anemll_dedup: bool,
    #[arg(long, hide = true)]
    pub(crate) force_mlprogram_compile: bool,
    #[arg(long, hide = true)]
    pub(crate) static_prefill_slice: bool,
    #[arg(long, hide = true)]
    pub(crate) single_cache: bool,
    #[arg(long, hide = true)]
    pub(crate) allow_missing_weights: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Rebuild from step N (1-6); the earlier steps' outputs must exist and match
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=6), conflicts_with = "only")]
    pub(crate) restart: Option<u32>,
    /// Run step N (1-6) alone and exit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=6))]
    pub(crate) only: Option<u32>,
    /// Stop after step N (1-6; step 6 is the last one anyway); before it, no chat runs the model
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=6), conflicts_with = "only")]
    pub(crate) until: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct PartArgs {
    /// Which part
    #[arg(long, value_enum)]
    pub(crate) part: Part,
    /// The family that the model must be of
    #[arg(long, value_enum)]
    pub(crate) arch: Option<Family>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Part {
    Monolithic,
    MonolithicPrefill,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Family {
    Llama,
    Qwen2,
    Qwen3,
}

impl From<Family> for Architecture {
    fn from(family: Family) -> Architecture {
        match family {
            Family::Llama => Architecture::Llama,
            Family::Qwen2 => Architecture::Qwen2,
            Family::Qwen3 => Architecture::Qwen3,
        }
    }
}
