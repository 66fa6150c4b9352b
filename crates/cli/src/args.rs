//! The command line.

mod doctor;
mod inspect;
mod lint;
mod verify;

use std::path::PathBuf;

use anelith_checkpoint::Architecture;
use anelith_convert::{Lut, Sharing};
use anelith_report::{Report, Reported};
use anelith_runtime::{Isa, Options, Precision};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::{Failure, Result};

pub(crate) use doctor::DoctorArgs;
pub(crate) use inspect::{DiffArgs, InspectArgs};
pub(crate) use lint::LintArgs;
pub(crate) use verify::VerifyArgs;

const STATUSES: &str = "\
Exit status:
  0    done
  1    the machine failed: I/O, disk full, another run holds the output directory
  2    usage: flags and their values
  3    the input: missing, invalid or unsupported model, package or step output
  4    a quality gate: the converted model does not answer as it should, a condition of verify --fail-if holds, lint
       has found an error, two models differ
  130  interrupted";

/// A Hugging Face language model as one Core ML model for the Apple Neural Engine.
#[derive(Debug, Parser)]
#[command(name = "anelith", version, max_term_width = 110, after_help = STATUSES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert a model: all steps from the checkpoint to a compiled bundle that has answered a question
    #[command(after_help = format!("\
Examples:
  anelith convert --model ./models/Qwen3-0.6B --output ./converted
  anelith convert --model Qwen/Qwen3-0.6B --output ./converted
  anelith convert --model Qwen/Qwen3-0.6B --revision main --output ./converted
  anelith convert --model ./models/Meta-Llama-3.2-1B --output ./converted --context 1024 --lut 6
  anelith convert --model ./models/Qwen3-0.6B --output ./converted --lut 4 --lut-embeddings 8,tensor --lut-lmhead 6
  anelith convert --model ./models/Qwen3-0.6B --output ./converted --lut 4,16 --lut-embeddings none --argmax
  anelith convert --model ./models/Qwen3-0.6B --output ./converted --dry-run
  anelith convert --model ./models/Qwen3-0.6B --output ./converted --restart 4
  anelith convert --model ./models/Qwen3-0.6B --output ./converted --until 5

{STATUSES}"))]
    Convert(ConvertArgs),
    /// Convert one part: the inference or the prefill package (step 1 or 2 of convert)
    #[command(after_help = format!("\
Examples:
  anelith part --part monolithic         --model ./models/Qwen3-0.6B --output ./converted
  anelith part --part monolithic_prefill --model ./models/Qwen3-0.6B --output ./converted

{STATUSES}"))]
    Part(PartArgs),
    /// Combine the inference and the prefill package into one of two functions (step 3 of convert)
    #[command(after_help = format!("\
Examples:
  anelith combine --monolithic --prefix llama --input ./converted --output ./converted
  anelith combine infer.mlpackage prefill.mlpackage combined.mlpackage

{STATUSES}"))]
    Combine(CombineArgs),
    /// Compile an ML program into a .mlmodelc bundle, no Xcode needed (step 4 of convert)
    #[command(after_help = format!("\
Examples:
  anelith compile monolithic --prefix llama --input ./converted --output ./converted
  anelith compile model.mlpackage model.mlmodelc

{STATUSES}"))]
    Compile(CompileArgs),
    /// Chat with a converted model
    #[command(after_help = format!("\
Examples:
  anelith chat --meta ./converted/meta.yaml
  anelith chat --meta ./converted/meta.yaml --full
  anelith chat --meta ./converted/meta.yaml --prompt \"Who are you?\"

Without --prompt, every line of standard input is a question; an empty line or its end closes the conversation.

{STATUSES}"))]
    Chat(ChatArgs),
    /// Continue a sequence of token ids greedily, and print the ids
    #[command(after_help = format!("\
Example:
  anelith generate --meta ./converted/meta.yaml --ids 1,403,407 --max-tokens 20 --f32

{STATUSES}"))]
    Generate(GenerateArgs),
    /// Run functions of any package or bundle on given inputs
    #[command(after_help = format!("\
Example:
  anelith run model.mlpackage --feeds feeds.json --json-output outputs.json --f32

FEEDS is a JSON list of calls, made in order with one state:
  [{{\"function\": \"infer\", \"inputs\": {{\"current_pos\": {{\"dtype\": \"int32\", \"shape\": [1], \"data\": [0]}}, ...}}}}, ...]
The dtype is fp16 (or float16), fp32 (or float32), int8, int16, int32, uint8, uint16 or bool.
Data is in row-major order; \"inf\" and \"-inf\" stand for the infinities. The outputs come in the same order:
  [{{\"outputs\": {{\"logits1\": {{\"shape\": [1, 1, 32], \"data\": [...]}}, ...}}}}, ...]

{STATUSES}"))]
    Run(RunArgs),
    /// Measure how fast a converted model runs here: load, prefill, decode, memory, share of the memory bandwidth
    #[command(after_help = format!("\
Examples:
  anelith bench --meta ./converted/meta.yaml
  anelith bench --meta ./converted/meta.yaml --prompt 256 --generate 64 --threads 2 --json
  anelith bench --meta ./converted/meta.yaml --plan

--plan lists every step of one call of each function: op, kernel, shape, time, bytes read, share of the bandwidth.

{STATUSES}"))]
    Bench(BenchArgs),
    /// Measure how far a converted model is from its checkpoint, layer by layer, and what the error is from
    #[command(after_help = verify::help())]
    Verify(VerifyArgs),
    /// Show what is in any package or bundle: inputs, ops, sizes; one weight down to its table; or the whole program as text
    #[command(after_help = format!("\
Examples:
  anelith inspect model.mlpackage
  anelith inspect ./converted --json
  anelith inspect model.mlpackage --weight layers.3.self_attn.q_proj
  anelith inspect ./converted --weight layers.3.self_attn.q_proj --model ./models/Qwen3-0.6B
  anelith inspect model.mlmodelc --text --function infer | head

Sizes are by component where names tell (embeddings, attention, MLP, norms, LM head), else by the op that reads
the weight. Bits per weight count tables and scales in.

{STATUSES}"))]
    Inspect(InspectArgs),
    /// Show what differs between two packages or bundles: signature, ops, weights, the largest difference first
    #[command(after_help = format!("\
Examples:
  anelith diff sound.mlpackage damaged.mlpackage
  anelith diff ./converted ./converted-again --top 5
  anelith diff theirs.mlpackage ours.mlpackage --function infer --json

Ops are brought together by their names where most have the same, else in order, by kind, types and arguments, so
that packages of different tools can be compared. Weights are compared by the values that they are computed with, whatever
they are stored as; A is the reference of SNR and relative error.

The exit status is 0 when nothing differs and 4 when something does; all else is an error, unlike that of diff(1).

{STATUSES}"))]
    Diff(DiffArgs),
    /// Look for what is known to fail on the Neural Engine, or to leave it, in any package or bundle
    #[command(after_help = format!("\
Examples:
  anelith lint ./converted
  anelith lint model.mlpackage --target macos15,ios18 --strict
  anelith lint model.mlpackage --allow linear,last-axis
  anelith lint model.mlpackage --rules state-alignment,update-dtype --json
  anelith lint --rules

An error is known to fail; a warning is known to leave the Neural Engine, or to lose numbers on some inputs; a note costs
time at most. --rules without a package lists the rules, each with where it is known from and how to mend it. That nothing
is found does not prove that all of a model runs on the Neural Engine; docs/check-on-a-mac.md says how to find out.

{STATUSES}"))]
    Lint(LintArgs),
    /// Tell what this machine has for conversions, and what would become of a model
    #[command(after_help = format!("\
Examples:
  anelith doctor
  anelith doctor --model ./models/Qwen3-0.6B
  anelith doctor --model ./models/Qwen3-0.6B --context 4096 --output ./converted --json
  anelith doctor --meta ./converted/meta.yaml

Nothing is written, and nothing is asked of the hub without --online.

{STATUSES}"))]
    Doctor(DoctorArgs),
}

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
    pub(crate) link: LinkArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) foreign: ForeignArgs,
}

/// Options that are known but do nothing here: upstream's, and those that do not work yet.
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
    #[arg(long, hide = true)]
    pub(crate) json: bool,
    #[arg(long, hide = true)]
    pub(crate) quiet: bool,
}

/// How outputs come to the weights of others.
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// Copy the weights into each package and the bundle. Without this they share one weight.bin on disk where the
    /// file system can (as clones, else hard links): deleting, moving or copying one leaves the others whole, but what
    /// another program writes into one weight.bin in place may change all of them
    #[arg(long)]
    pub(crate) no_link: bool,
}

impl LinkArgs {
    pub(crate) fn sharing(&self) -> Sharing {
        if self.no_link { Sharing::Copy } else { Sharing::Link }
    }
}

/// How much of the machine is used.
#[derive(Debug, Args)]
pub(crate) struct ThreadArgs {
    /// Threads to work on, 1 to 1024; the result is the same with any number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

impl Command {
    /// The number of threads to work on, where one is given.
    pub(crate) fn threads(&self) -> Option<u16> {
        match self {
            Command::Convert(args) => args.model.threads.threads,
            Command::Part(args) => args.model.threads.threads,
            Command::Chat(args) => args.meta.threads.threads,
            Command::Generate(args) => args.meta.threads.threads,
            Command::Run(args) => args.threads.threads,
            Command::Bench(args) => args.meta.threads.threads,
            Command::Verify(args) => args.threads.threads,
            // Their time is the disk's.
            Command::Combine(_) | Command::Compile(_) | Command::Lint(_) => None,
            // Sums of one order are taken on one thread.
            Command::Inspect(_) | Command::Diff(_) => None,
            Command::Doctor(args) => args.threads.threads,
        }
    }
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

/// Where the step outputs of a conversion are.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The palettization that the decoder layers must have, in the words of --lut of convert; embedding and LM head
    /// may have another
    #[arg(long, value_name = "LUT")]
    pub(crate) lut: Option<Lut>,
    /// Prefix of file names [default: the only one that fits]
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Directory of the inputs [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub(crate) input: Option<PathBuf>,
    /// Directory of the output [default: that of the inputs]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
}

impl StepArgs {
    /// An option that is given but means nothing where packages are named by path.
    pub(crate) fn stray(&self) -> Option<&'static str> {
        let given = [
            (self.prefix.is_some(), "--prefix"),
            (self.input.is_some(), "--input"),
            (self.output.is_some(), "--output"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }
}

#[derive(Debug, Args)]
pub(crate) struct CombineArgs {
    /// Combine the packages of a monolithic conversion
    #[arg(long)]
    pub(crate) monolithic: bool,
    /// Three packages, in place of --monolithic: the inference, the prefill and, to be written, the combined one
    #[arg(value_names = ["INFER", "PREFILL", "OUT"], num_args = 3, conflicts_with = "monolithic")]
    pub(crate) packages: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) step: StepArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// `monolithic`, or SOURCE OUT.mlmodelc, where SOURCE is a .mlpackage or a .mlmodel
    #[arg(value_name = "SOURCE", required = true, num_args = 1..=2)]
    pub(crate) source: Vec<PathBuf>,
    /// Versions of Apple's compiler to write into the bundle: COMPONENT,COREMLC
    #[arg(long, value_name = "VERSIONS")]
    pub(crate) coremlc_version: Option<String>,
    #[command(flatten)]
    pub(crate) step: StepArgs,
}

/// Which converted model to run.
#[derive(Debug, Args)]
pub(crate) struct MetaArgs {
    /// meta.yaml of the model, or the directory that holds it
    #[arg(long, value_name = "FILE")]
    pub(crate) meta: PathBuf,
    #[command(flatten)]
    pub(crate) numbers: NumberArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// How numbers are computed.
#[derive(Debug, Args)]
pub(crate) struct NumberArgs {
    /// How numbers are computed: fast; exact, which rounds to fp16 wherever the program says fp16; or f32, which rounds
    /// nowhere [default: exact for run, else fast]
    #[arg(long, value_name = "MODE")]
    pub(crate) precision: Option<PrecisionArg>,
    /// The same as --precision f32
    #[arg(long, conflicts_with = "precision")]
    pub(crate) f32: bool,
    /// Instructions that fast mode uses, for tests [default: the best that the machine has]
    #[arg(long, value_name = "SET")]
    pub(crate) isa: Option<IsaArg>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PrecisionArg {
    Fast,
    Exact,
    F32,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Precision {
        match precision {
            PrecisionArg::Fast => Precision::Fast,
            PrecisionArg::Exact => Precision::Exact,
            PrecisionArg::F32 => Precision::F32,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum IsaArg {
    Generic,
    Avx2,
    Avx512,
    Neon,
}

impl From<IsaArg> for Isa {
    fn from(isa: IsaArg) -> Isa {
        match isa {
            IsaArg::Generic => Isa::Generic,
            IsaArg::Avx2 => Isa::Avx2,
            IsaArg::Avx512 => Isa::Avx512,
            IsaArg::Neon => Isa::Neon,
        }
    }
}

impl NumberArgs {
    /// What to run a program with, where `default` is how numbers are computed unless an option says.
    ///
    /// # Errors
    /// Instructions that this machine does not have.
    pub(crate) fn options(&self, default: Precision) -> Result<Options> {
        let precision = if self.f32 { Precision::F32 } else { self.precision.map_or(default, Into::into) };
        let isa = self.isa.map_or_else(Isa::best, Into::into);
        if isa.is_here() {
            return Ok(Options { precision, isa });
        }
        let here: Vec<String> = Isa::here().map(|isa| format!("{isa:?}").to_lowercase()).collect();
        let report = Report::new("this machine does not have these instructions").at("--isa");
        Err(Failure::usage(report.expecting(here.join(", "))))
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) meta: MetaArgs,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) prompt: u32,
    /// Tokens to generate after it
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) generate: u32,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeats: u32,
    /// Position of the first token of the prompt, as if so many had gone before
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) start: u32,
    /// Only load the model, run a prompt of 8 tokens, and tell how long after the start of the process the next token is
    /// known
    #[arg(long, conflicts_with_all = ["prompt", "generate", "repeats", "start", "plan"])]
    pub(crate) first_token: bool,
    /// List the steps of one call of each function, each with what it took
    #[arg(long)]
    pub(crate) plan: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) meta: MetaArgs,
    /// Ask this and exit
    #[arg(long)]
    pub(crate) prompt: Option<String>,
    /// Keep the whole conversation in the prompt, as far as the context reaches
    #[arg(long)]
    pub(crate) full: bool,
    /// Tokens of an answer at most [default: what the context has room for]
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Send the text as it is, without the model's chat template
    #[arg(long)]
    pub(crate) no_template: bool,
    /// Ask the template to turn thinking off
    #[arg(long)]
    pub(crate) no_think: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) meta: MetaArgs,
    /// The ids to continue
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',', required = true)]
    pub(crate) ids: Vec<u32>,
    /// How many ids to add at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) max_tokens: usize,
    /// Go on after the model's stop tokens
    #[arg(long)]
    pub(crate) no_stop: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Package, bundle or specification
    pub(crate) package: PathBuf,
    /// The calls to make
    #[arg(long, value_name = "FILE")]
    pub(crate) feeds: PathBuf,
    /// Where the outputs go [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) json_output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) numbers: NumberArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}
