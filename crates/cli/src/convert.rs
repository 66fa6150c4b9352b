//! `convert` and `part`.

use std::path::Path;

use anelith_checkpoint::{Architecture, Checkpoint};
use anelith_convert::{Options, Outcome, Pipeline, Report, Selection, Step};

use crate::args::{ConvertArgs, ForeignArgs, ModelArgs, Part, PartArgs};
use crate::failure::{Failure, Result};
use crate::gate;
use crate::tables;
use crate::terminal::{Bars, Interrupt, print_line};

/// The step that the library does not do: chatting with the result.
const CHAT_STEP: u32 = 6;

pub(crate) fn convert(args: &ConvertArgs, interrupt: Interrupt) -> Result<()> {
    let options = options(&args.model)?;
    let bars = Bars::new(interrupt.clone());
    let selection = match (args.restart, args.only) {
        (_, Some(only)) => Selection::Only(only),
        (Some(first), None) => Selection::From(first),
        (None, None) => Selection::Needed,
    };
    let checkpoint = Checkpoint::open(&options.model)?;
    let pipeline = Pipeline::new(&checkpoint, &options, &bars)?;
    if !args.model.skip_check {
        eprintln!("step 0: check");
        eprint!("{}", tables::findings(&pipeline.check()?));
    }
    let outcome = pipeline.run(selection, &bars)?;
    show(&outcome, selection)?;
    let meta = outcome.outputs.path(Step::Describe);
    match selection {
        Selection::Only(n) if n != CHAT_STEP => Ok(()),
        _ => {
            eprintln!("step {CHAT_STEP}: chat with {}", outcome.outputs.path(Step::Compile).display());
            gate::chat(&meta, &interrupt)
        }
    }
}

pub(crate) fn part(args: &PartArgs, interrupt: Interrupt) -> Result<()> {
    let options = options(&args.model)?;
    let bars = Bars::new(interrupt);
    let checkpoint = Checkpoint::open(&options.model)?;
    if let Some(arch) = &args.arch {
        assert_family(arch, checkpoint.config.architecture)?;
    }
    let pipeline = Pipeline::new(&checkpoint, &options, &bars)?;
    if !args.model.skip_check {
        eprint!("{}", tables::findings(&pipeline.check()?));
    }
    let step = match args.part {
        Part::Monolithic => Step::Infer,
        Part::MonolithicPrefill => Step::Prefill,
    };
    let selection = Selection::Only(step.number());
    let outcome = pipeline.run(selection, &bars)?;
    show(&outcome, selection)
}

/// What was done, and how palettization went.
fn show(outcome: &Outcome, selection: Selection) -> Result<()> {
    for (step, run) in &outcome.steps {
        let done = if *run { "done" } else { "up to date" };
        eprintln!("{step}: {}: {done}", outcome.outputs.path(*step).display());
        if *step == Step::Compile {
            let package = outcome.outputs.path(Step::Combine);
            eprintln!(
                "  on a Mac, Apple's compiler does the same: {}",
                recompile(&package, outcome.outputs.dir())
            );
        }
    }
    let palettized = matches!(selection, Selection::Needed | Selection::From(_) | Selection::Only(1));
    match &outcome.report {
        Some(report) if palettized => print_line(&tables::weights(report)),
        _ => Ok(()),
    }
}

fn recompile(package: &Path, dir: &Path) -> String {
    format!("xcrun coremlcompiler compile {} {}", package.display(), dir.display())
}

fn assert_family(wanted: &str, found: Architecture) -> Result<()> {
    let report = |what: &str| Report::new(what).at("--arch").found(wanted);
    let wanted: Architecture = wanted
        .parse()
        .map_err(|_| Failure::usage(report("no such family").expected("llama, qwen2 or qwen3")))?;
    if wanted == found {
        return Ok(());
    }
    let what = "the model is of another family";
    Err(Failure::new(
        crate::failure::Status::Input,
        report(what).expected(format!("{found}, as config.json says")),
    ))
}

fn options(args: &ModelArgs) -> Result<Options> {
    foreign(&args.foreign)?;
    hub_id(&args.model)?;
    let options = Options {
        model: args.model.clone(),
        output: args.output.clone(),
        context: args.context,
        batch: args.batch,
        lut: args.lut,
        prefix: args.prefix.clone(),
    };
    options.check()?;
    Ok(options)
}

/// `org/name` is a hub id where neither it nor `org` exists as a path.
fn hub_id(model: &Path) -> Result<()> {
    let text = model.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_id = match text.split_once('/') {
        Some((org, name)) => {
            !org.is_empty()
                && !name.is_empty()
                && !org.starts_with('.')
                && org.chars().chain(name.chars()).all(plain)
                && !Path::new(org).exists()
        }
        None => false,
    };
    if is_id && !model.exists() {
        return Err(Failure::not_yet(&format!(
            "downloading {text} from the hub; give a model directory to --model"
        )));
    }
    Ok(())
}

/// Upstream's options that do nothing here, those that are refused, and those that do not work yet.
fn foreign(args: &ForeignArgs) -> Result<()> {
    let ignored = [
        (args.dynamic_prefill_slice, "--dynamic-prefill-slice", "prefill always writes at current_pos"),
        (args.skip_anemll_dedup, "--skip-anemll-dedup", "every weight is stored once from the start"),
        (args.force_mlprogram_compile, "--force-mlprogram-compile", "the bundle always is an ML program"),
    ];
    for (_, option, why) in ignored.into_iter().filter(|(given, ..)| *given) {
        eprintln!("warning: {option} has no effect: {why}");
    }
    let refused = [
        (
            args.static_prefill_slice,
            "--static-prefill-slice",
            "it would make a model that default consumers break",
        ),
        (args.single_cache, "--single-cache", "the supported families have a single cache anyway"),
        (args.allow_missing_weights, "--allow-missing-weights", "missing weights would be random numbers"),
    ];
    if let Some((_, option, why)) = refused.into_iter().find(|(given, ..)| *given) {
        return Err(Failure::usage(Report::new(format!("{option} is refused: {why}")).mend("leave it out")));
    }
    let later = [
        (args.argmax, "--argmax"),
        (args.dry_run, "--dry-run"),
        (args.lut_embeddings.is_some(), "--lut-embeddings"),
        (args.lut_lmhead.is_some(), "--lut-lmhead"),
        (args.revision.is_some(), "--revision"),
        (args.threads.is_some(), "--threads"),
        (args.json, "--json"),
        (args.quiet, "--quiet"),
    ];
    match later.into_iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(Failure::not_yet(option)),
        None => Ok(()),
    }
}
