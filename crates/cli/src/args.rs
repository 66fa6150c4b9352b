//! The command line.

mod chat;
mod convert;
mod doctor;
mod inspect;
mod lint;
mod output;
mod packages;
mod serve;
mod verify;

use std::path::PathBuf;

use anelith_convert::Sharing;
use anelith_report::{Report, Reported};
use anelith_runtime::{Isa, Options, Precision};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::{Failure, Result};

pub(crate) use chat::{ChatArgs, GenerateArgs, SamplingArgs};
pub(crate) use convert::{ConvertArgs, ForeignArgs, ModelArgs, Part, PartArgs};
pub(crate) use doctor::DoctorArgs;
pub(crate) use inspect::{DiffArgs, InspectArgs};
pub(crate) use lint::LintArgs;
pub(crate) use output::{Form, OutputArgs};
pub(crate) use packages::{CombineArgs, CompileArgs, StepArgs};
pub(crate) use serve::ServeArgs;
pub(crate) use verify::VerifyArgs;

const STATUSES: &str = "\
Exit status:
  0    done
  1    the machine failed: I/O, disk full, another run holds the output directory
  2    usage: flags and their values
  3    the input: missing, invalid or unsupported model, package or step output
  4    a quality gate: the converted model does not answer as it should, lint has
       found an error, a condition of verify --fail-if holds, two models differ
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
  anelith convert --model ./models/Qwen3-0.6B --output ./converted --json --quiet > converted.json

{STATUSES}"))]
    Convert(ConvertArgs),
    /// Convert one part: the inference or the prefill package (step 1 or 2 of convert)
    #[command(after_help = format!("\
Examples:
  anelith part --part monolithic         --model ./models/Qwen3-0.6B --output ./converted
  anelith part --part monolithic_prefill --model ./models/Qwen3-0.6B --output ./converted
  anelith part --part monolithic         --model ./models/Qwen3-0.6B --output ./converted --json

{STATUSES}"))]
    Part(PartArgs),
    /// Combine the inference and the prefill package into one of two functions (step 3 of convert)
    #[command(after_help = format!("\
Examples:
  anelith combine --monolithic --prefix llama --input ./converted --output ./converted
  anelith combine infer.mlpackage prefill.mlpackage combined.mlpackage
  anelith combine infer.mlpackage prefill.mlpackage combined.mlpackage --json

{STATUSES}"))]
    Combine(CombineArgs),
    /// Compile an ML program into a .mlmodelc bundle, no Xcode needed (step 4 of convert)
    #[command(after_help = format!("\
Examples:
  anelith compile monolithic --prefix llama --input ./converted --output ./converted
  anelith compile model.mlpackage model.mlmodelc
  anelith compile model.mlpackage model.mlmodelc --json --quiet

{STATUSES}"))]
    Compile(CompileArgs),
    /// Chat with a converted model
    #[command(after_help = chat::help())]
    Chat(ChatArgs),
    /// Continue a sequence of token ids greedily, and print the ids
    #[command(after_help = format!("\
Examples:
  anelith generate --meta ./converted/meta.yaml --ids 1,403,407 --max-tokens 20 --f32
  anelith generate --meta ./converted/meta.yaml --ids 1,403,407 --json

{STATUSES}"))]
    Generate(GenerateArgs),
    /// Serve a converted model over HTTP, to clients of OpenAI's API and to browsers
    #[command(after_help = format!("\
Examples:
  anelith serve --meta ./converted
  anelith serve --meta ./converted --port 0 --slots 2 --queue 8 --quiet
  ANELITH_API_KEY=secret anelith serve --meta ./converted --host 0.0.0.0
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{\"model\": \"NAME\", \"messages\": [{{\"role\": \"user\", \"content\": \"Who are you?\"}}]}}'

One line on standard output says where it listens, once it does. GET /v1/models tells the NAME, / is a page to chat on, \
/health and /metrics are for whoever looks after it; docs/serve.md says what requests may have. Ctrl-C and SIGTERM end it \
when the answers under way are complete, a second one at once; the status is 0.

{STATUSES}"))]
    Serve(ServeArgs),
    /// Run functions of any package or bundle on given inputs
    #[command(after_help = format!("\
Examples:
  anelith run model.mlpackage --feeds feeds.json
  anelith run model.mlpackage --feeds feeds.json --json-output outputs.json --f32 --json

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

Sizes are by component where names tell (embeddings, attention, MLP, norms, LM head), else by the op that reads \
the weight. Bits per weight count tables and scales in.

{STATUSES}"))]
    Inspect(InspectArgs),
    /// Show what differs between two packages or bundles: signature, ops, weights, the largest difference first
    #[command(after_help = format!("\
Examples:
  anelith diff sound.mlpackage damaged.mlpackage
  anelith diff ./converted ./converted-again --top 5
  anelith diff theirs.mlpackage ours.mlpackage --function infer --json

Ops are brought together by their names where most have the same, else in order, by kind, types and arguments, so \
that packages of different tools can be compared. Weights are compared by the values that they are computed with, whatever \
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

An error is known to fail; a warning is known to leave the Neural Engine, or to lose numbers on some inputs; a note costs \
time at most. --rules without a package lists the rules, each with where it is known from and how to mend it. That nothing \
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
            Command::Serve(args) => args.meta.threads.threads,
            Command::Bench(args) => args.meta.threads.threads,
            Command::Verify(args) => args.threads.threads,
            // Their time is the disk's.
            Command::Combine(_) | Command::Compile(_) | Command::Lint(_) => None,
            // Sums of one order are taken on one thread.
            Command::Inspect(_) | Command::Diff(_) => None,
            Command::Doctor(args) => args.threads.threads,
        }
    }

    /// Whether nothing but warnings and errors is to be said.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Command::Convert(args) => args.model.printing.quiet,
            Command::Part(args) => args.model.printing.quiet,
            Command::Combine(args) => args.step.printing.quiet,
            Command::Compile(args) => args.step.printing.quiet,
            Command::Serve(args) => args.quiet,
            Command::Chat(args) => args.quiet,
            _ => false,
        }
    }

    /// Whether the command says itself what becomes of Ctrl-C.
    pub(crate) fn minds_interrupts(&self) -> bool {
        matches!(self, Command::Chat(_) | Command::Serve(_))
    }
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
            return Ok(Options { isa, ..precision.into() });
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
    /// Multiply weights as the file has them, without bringing any into a form that takes time to make and is quicker
    #[arg(long, conflicts_with = "first_token")]
    pub(crate) as_stored: bool,
    /// List the steps of one call of each function, each with what it took
    #[arg(long)]
    pub(crate) plan: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
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
    /// Print one JSON object: with --json-output, what was called and the shapes of the outputs; else the outputs, which
    /// are JSON anyway
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) numbers: NumberArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}
