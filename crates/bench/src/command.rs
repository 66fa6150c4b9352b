//! The command line.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anelith_convert::Lut;
use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::generate::{Recipe, Tokenizer};
use crate::place::{self, Place, Source};
use crate::report::document::Part;
use crate::report::{self, Whole};
use crate::run::runtime::cases;
use crate::run::runtime::measure::{Extra, Plan};
use crate::run::runtime::peer::PeerArgs;
use crate::run::runtime::tables;
use crate::run::{Bench, Case, Measured};
use crate::shapes::{Kind, Scale, Shape};
use crate::stages::{Split, Splitting};
use crate::{disk, kmeans, machine, markdown, targets, usage};

/// What conversions take: time, memory, disk; and how fast their results run.
#[derive(Debug, Parser)]
#[command(name = "anelith-bench", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a checkpoint of a model's shapes with random weights
    Checkpoint(CheckpointArgs),
    /// Measure conversions by the release binary, from checkpoints made for it
    Convert(ConvertArgs),
    /// Measure where the time of a conversion goes
    Stages(StagesArgs),
    /// Measure all that docs/performance.md tells of conversions, and write it there
    All(AllArgs),
    /// Measure how fast their results run, beside llama.cpp where it is to be had
    Runtime(RuntimeArgs),
    /// Run a command and print what it took (for use by the others)
    #[command(hide = true)]
    Measure(MeasureArgs),
}

#[derive(Debug, Args)]
struct CheckpointArgs {
    /// Whose shapes
    kind: Kind,
    /// The directory to make
    out: PathBuf,
    /// So many times the layers and the vocabulary, such as 1/4 or 2
    #[arg(long, default_value = "1")]
    scale: Scale,
    /// So many layers, whatever the scale
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    layers: Option<u64>,
    /// So many rows of the vocabulary, whatever the scale
    #[arg(long, value_parser = clap::value_parser!(u64).range(16..=10_000_000))]
    vocab: Option<u64>,
    /// What the random weights follow from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A folder with the tokenizer's files [the demo model's]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ConvertArgs {
    #[command(flatten)]
    place: Place,
    /// The model [all conversions that have targets]
    #[arg(long, value_name = "KIND")]
    checkpoint: Option<Kind>,
    /// As for `anelith convert`
    #[arg(long, default_value = "4", requires = "checkpoint")]
    lut: String,
    /// So many times the layers and the vocabulary, such as 1/4 or 2
    #[arg(long, default_value = "1", requires = "checkpoint")]
    scale: Scale,
    #[command(flatten)]
    runs: RunArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// How often each conversion is run
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100))]
    runs: usize,
    /// Further arguments of `anelith convert`
    #[arg(last = true, default_values_t = ["--until".to_owned(), "5".to_owned()])]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
struct StagesArgs {
    /// A directory with a checkpoint
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// As for `anelith convert`
    #[arg(long, default_value = "4")]
    lut: Lut,
    /// How many threads [one for each core]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct AllArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    runs: RunArgs,
    /// The document whose marked part is rewritten; without it the tables are printed only
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// What the comparison of k-means with other programs has printed; may be absent
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Keep the checkpoints of the growth series
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct RuntimeArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    peer: PeerArgs,
    /// How often each process runs, in turn with the others
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100))]
    rounds: usize,
    /// How often each process repeats its work
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    repeats: u64,
    /// What to measure beside `--lut 4` and llama.cpp: all of it unless given; `--extra` alone for nothing
    #[arg(long, num_args = 0.., value_name = "WHAT")]
    extra: Option<Vec<Extra>>,
    /// The document whose marked part is rewritten; without it the tables are printed only
    #[arg(long, value_name = "FILE", conflicts_with = "extra")]
    document: Option<PathBuf>,
    /// Keep the conversions, so that the next run need not make them
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
struct MeasureArgs {
    /// Where its output goes
    #[arg(long)]
    log: PathBuf,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Cli {
    pub(crate) fn run(&self) -> Result<()> {
        match &self.command {
            Command::Checkpoint(args) => args.run(),
            Command::Convert(args) => args.run(),
            Command::Stages(args) => args.run(),
            Command::All(args) => args.run(),
            Command::Runtime(args) => args.run(),
            Command::Measure(args) => {
                let usage = usage::measure(&args.command, &args.log)?;
                let text = serde_json::to_string(&usage);
                print(&text.map_err(|e| Error::Failed(format!("what was measured cannot be told: {e}")))?)
            }
        }
    }
}

impl CheckpointArgs {
    fn run(&self) -> Result<()> {
        let mut shape = Shape::of(self.kind).scaled(self.scale)?;
        shape.layers = self.layers.unwrap_or(shape.layers);
        shape.vocab = self.vocab.unwrap_or(shape.vocab);
        let demo = || {
            note("no --tokenizer: the demo model's tokenizer, of 1024 tokens, takes its place");
            place::root().join("models/demo-qwen3")
        };
        let tokenizer = self.tokenizer.clone().unwrap_or_else(demo);
        let start = Instant::now();
        Recipe { shape: &shape, seed: self.seed, tokenizer: &tokenizer }.make(&self.out)?;
        let (weights, seconds) = (shape.weights(), markdown::seconds(start.elapsed().as_secs_f64()));
        print(&format!("{}: {weights} weights in {seconds}", self.out.display()))
    }
}

impl ConvertArgs {
    fn run(&self) -> Result<()> {
        let bench = self.runs.bench(&self.place);
        let cases = match self.checkpoint {
            Some(kind) => {
                vec![Case::new(Source { kind, scale: self.scale, tokenizer: Tokenizer::Real }, &self.lut)]
            }
            None => cases(),
        };
        let measured = cases.iter().map(|case| measure(&bench, case)).collect::<Result<Vec<_>>>()?;
        let tables = [targets::table(&measured), report::conversions(&measured)];
        let tables =
            tables.into_iter().filter(|table| !table.is_empty()).chain(targets::against_upstream(&measured));
        print(&tables.map(|table| table.to_string()).collect::<Vec<_>>().join("\n"))
    }
}

/// The conversions that have targets.
fn cases() -> Vec<Case> {
    let all = [(Kind::Qwen3, "4"), (Kind::Qwen3, "none"), (Kind::Llama, "4")];
    let source = |kind| Source { kind, scale: Scale::ONE, tokenizer: Tokenizer::Real };
    all.map(|(kind, lut)| Case::new(source(kind), lut)).to_vec()
}

impl RunArgs {
    fn bench<'a>(&'a self, place: &'a Place) -> Bench<'a> {
        Bench { place, runs: self.runs, arguments: &self.arguments }
    }
}

fn measure(bench: &Bench<'_>, case: &Case) -> Result<Measured> {
    note(&format!("{} ...", case.title()));
    let measured = bench.measure(case)?;
    let (seconds, peak) = (markdown::seconds(measured.wall()), markdown::bytes(measured.peak()));
    note(&format!("  {seconds}, {peak}"));
    Ok(measured)
}

impl StagesArgs {
    fn run(&self) -> Result<()> {
        let output = self.place.file("output")?;
        let splitting =
            Splitting { model: &self.model, output: &output, lut: self.lut, threads: self.threads };
        let split = splitting.measure()?;
        print(&format!("{}\n{}", split.steps(), split.stages()))
    }
}

impl AllArgs {
    fn run(&self) -> Result<()> {
        let bench = self.runs.bench(&self.place);
        let mut whole = Whole {
            machine: machine::describe(&self.place.file(".")?),
            version: format!("anelith {}", env!("CARGO_PKG_VERSION")),
            runs: self.runs.runs,
            arguments: self.runs.arguments.clone(),
            kmeans: kmeans::table(&place::root().join("target/criterion")),
            peers: self.peers()?,
            ..Whole::default()
        };
        for case in cases() {
            whole.measured.push(measure(&bench, &case)?);
            if !case.is_plain() {
                whole.splits.push((case.title(), self.split(&case)?));
            }
        }
        // One tokenizer for all sizes: the memory that reading a real one takes would look like growth.
        let series =
            Scale::SERIES.map(|scale| Source { kind: Kind::Qwen3, scale, tokenizer: Tokenizer::Demo });
        for source in series {
            let case = Case::new(source, "4");
            whole.growth.push((measure(&bench, &case)?, self.split(&case)?));
            if !self.keep {
                disk::remove(&self.place.checkpoint_dir(source)?)?;
            }
        }
        tell(&whole.print(), Part::Conversions, self.document.as_deref())
    }

    /// Where Python is absent, so is the file.
    fn peers(&self) -> Result<Option<String>> {
        let path = self.peers.as_ref().filter(|path| path.exists());
        path.map(|path| fs::read_to_string(path).map_err(Error::io("read", path))).transpose()
    }

    fn split(&self, case: &Case) -> Result<Split> {
        let lut = case.lut.parse().map_err(Error::Usage)?;
        let (model, output) = (self.place.checkpoint_dir(case.source)?, self.place.file("output")?);
        Splitting { model: &model, output: &output, lut, threads: None }.measure()
    }
}

impl RuntimeArgs {
    fn run(&self) -> Result<()> {
        let plan = Plan {
            place: &self.place,
            peer: &self.peer,
            rounds: self.rounds,
            repeats: self.repeats,
            extras: self.extra.as_deref().unwrap_or(&Extra::ALL),
            say: &note,
        };
        let results = plan.measure()?;
        if !self.keep {
            cases::remove(&self.place)?;
        }
        tell(&tables::print(&results), Part::Running, self.document.as_deref())
    }
}

/// Prints the tables, and puts them into their part of a document.
fn tell(tables: &str, part: Part, document: Option<&Path>) -> Result<()> {
    print(tables)?;
    document.map_or(Ok(()), |document| part.write_into(document, tables))
}

fn print(text: &str) -> Result<()> {
    let written = writeln!(io::stdout(), "{}", text.trim_end());
    written.map_err(|source| Error::Io { what: "cannot write to standard output".into(), source })
}

/// Writes a line to standard error, where nobody may be reading.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
