//! `convert` and `part`.

use std::path::Path;

use anelith_chat::{Session, SessionOptions};
use anelith_checkpoint::{Architecture, Checkpoint};
use anelith_convert::{CHAT_STEP, Options, Outcome, Pipeline, Progress, Selection, Step};
use anelith_report::{Report, Reported};

use crate::args::{ConvertArgs, ModelArgs, Part, PartArgs};
use crate::failure::{Failure, Result, Status};
use crate::foreign;
use crate::gate;
use crate::hub;
use crate::tables;
use crate::terminal::{Interrupt, Steps, note, report};

pub(crate) fn convert(args: &ConvertArgs, interrupt: &Interrupt) -> Result<()> {
    let selection = selection(args)?;
    let Some((options, checkpoint)) = opened(&args.model)? else { return Ok(()) };
    if args.model.dry_run {
        return preview(&checkpoint, &options, selection, &args.model, interrupt);
    }
    let outcome = run(&checkpoint, &options, selection, &args.model, interrupt)?;
    let chatted = if selection.chats() {
        note(&format!("step {CHAT_STEP}: chat with the compiled model"));
        let chatted = gate::chat(&outcome.outputs.path(Step::Describe));
        report("\n")?;
        chatted
    } else {
        Ok(())
    };
    show_weights(&outcome)?;
    chatted
}

/// What `--restart`, `--only` and `--until` select.
fn selection(args: &ConvertArgs) -> Result<Selection> {
    let (first, last) = (args.restart.unwrap_or(1), args.until.unwrap_or(CHAT_STEP));
    if first > last {
        let report = Report::new("--until stops before the step that --restart begins with").at("--until");
        let report = report.expecting(format!("{first} to {CHAT_STEP}")).finding(last);
        return Err(Failure::usage(report.mending("name a later step, or leave one of the two out")));
    }
    let selection = match (args.restart, args.only) {
        (_, Some(only)) => Selection::only(only),
        (Some(first), None) => Selection::from(first),
        (None, None) => Selection::needed(),
    };
    Ok(selection.until(last))
}

pub(crate) fn part(args: &PartArgs, interrupt: &Interrupt) -> Result<()> {
    let Some((options, checkpoint)) = opened(&args.model)? else { return Ok(()) };
    if let Some(family) = args.arch {
        assert_family(family.into(), checkpoint.config.architecture)?;
    }
    let step = match args.part {
        Part::Monolithic => Step::Infer,
        Part::MonolithicPrefill => Step::Prefill,
    };
    let selection = Selection::only(step.number());
    if args.model.dry_run {
        return preview(&checkpoint, &options, selection, &args.model, interrupt);
    }
    let outcome = run(&checkpoint, &options, selection, &args.model, interrupt)?;
    show_weights(&outcome)
}

/// Step 0: what the options and the model say before anything is written.
fn check<'c>(
    checkpoint: &'c Checkpoint,
    options: &Options,
    selection: Selection,
    args: &ModelArgs,
    steps: &Steps,
) -> Result<Pipeline<'c>> {
    note("step 0: check");
    let pipeline = Pipeline::new(checkpoint, options, steps)?.with_sharing(args.link.sharing());
    if !args.skip_check {
        note(&tables::findings(&pipeline.check(selection, steps)?));
        // Step 6 needs tokenizer and template; what is wrong with them is said before the work, not after it.
        let session = Session::open(&options.model, SessionOptions::default())?;
        check_vocabulary(&session, checkpoint, steps)?;
    }
    Ok(pipeline)
}

/// Warns of tokens for which the model has no row; refuses them where step 6 could not even ask.
fn check_vocabulary(session: &Session, checkpoint: &Checkpoint, steps: &Steps) -> Result<()> {
    let (tokenizer, size) = (session.tokenizer(), checkpoint.config.vocab_size);
    let is_beyond = |id: &u32| *id as usize >= size;
    let Some((largest, token)) = tokenizer.last_token().filter(|(id, _)| is_beyond(id)) else {
        return Ok(());
    };
    // Without the chat template, the tokenizer frames a text itself.
    let asked = [session.prompt(gate::QUESTION)?, tokenizer.encode(gate::QUESTION, true)?].concat();
    let stops = tokenizer.stop_ids();
    let endless = stops.first().filter(|_| stops.iter().all(is_beyond));
    let (id, what) = match (asked.iter().find(|id| is_beyond(id)), endless) {
        (Some(id), _) => (*id, "prompts need a token that the model does not have"),
        (None, Some(id)) => (*id, "no token that ends an answer is one that the model has"),
        (None, None) => {
            steps.warn(&format!(
                "tokenizer.json: ids up to {largest} ({token:?}) are beyond vocab_size {size}; \
                 the model cannot read or answer with those from {size} on"
            ));
            return Ok(());
        }
    };
    let found = tokenizer.token(id).map_or(id.to_string(), |token| format!("{id} ({token:?})"));
    let report = Report::new(what).at(checkpoint.dir.join("tokenizer.json").display());
    let report = report.expecting(format!("ids below {size}, the vocab_size of config.json")).finding(found);
    Err(Failure::new(Status::Input, report.mending("use the tokenizer files that belong to this model")))
}

/// Step 0, then what the selected ones of steps 1 to 6 would do.
fn preview(
    checkpoint: &Checkpoint,
    options: &Options,
    selection: Selection,
    args: &ModelArgs,
    interrupt: &Interrupt,
) -> Result<()> {
    let steps = Steps::new(interrupt);
    let pipeline = check(checkpoint, options, selection, args, &steps)?;
    let preview = pipeline.preview(selection, &steps)?;
    let deviations = tables::deviations(&preview.weights);
    if !deviations.is_empty() {
        note(&deviations);
    }
    report(&tables::preview(&preview, pipeline.outputs(), selection.chats()))
}

/// Step 0, then the selected ones of steps 1 to 5.
fn run(
    checkpoint: &Checkpoint,
    options: &Options,
    selection: Selection,
    args: &ModelArgs,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let steps = Steps::new(interrupt);
    let pipeline = check(checkpoint, options, selection, args, &steps)?;
    if !args.skip_check {
        interrupt.defer(|| Ok(pipeline.check_sharing(selection, &steps)?))?;
    }
    let outcome = interrupt.defer(|| Ok(pipeline.run(selection, &steps)?))?;
    if outcome.steps.iter().any(|(step, _)| *step == Step::Compile) {
        note(&recompile(&outcome.outputs.path(Step::Combine), outcome.outputs.dir()));
    }
    Ok(outcome)
}

fn show_weights(outcome: &Outcome) -> Result<()> {
    match &outcome.report {
        Some(weights) => {
            let deviations = tables::deviations(weights);
            if !deviations.is_empty() {
                note(&deviations);
            }
            report(&tables::weights(weights))
        }
        None => Ok(()),
    }
}

/// The command by which Apple's compiler does step 4.
pub(crate) fn recompile(package: &Path, dir: &Path) -> String {
    let quoted = |path: &Path| {
        let text = path.display().to_string();
        let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@".contains(c);
        if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    format!(
        "on a Mac, this does step 4 with Apple's compiler:\n  xcrun coremlcompiler compile {} {}",
        quoted(package),
        quoted(dir)
    )
}

fn assert_family(wanted: Architecture, found: Architecture) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    let report = Report::new("the model is of another family than --arch says").at("config.json");
    Err(Failure::new(Status::Input, report.expecting(wanted).finding(found).mending("leave --arch out")))
}

/// What to convert and how; `None` where the model is not here and nothing may be written.
fn opened(args: &ModelArgs) -> Result<Option<(Options, Checkpoint)>> {
    let options = options(args)?;
    let Some(model) = hub::model(&args.model, args.revision.as_deref(), args.dry_run)? else {
        return Ok(None);
    };
    Ok(Some((Options { model: model.dir.clone(), ..options }, model.open()?)))
}

fn options(args: &ModelArgs) -> Result<Options> {
    foreign::check(&args.foreign)?;
    let options = Options {
        model: args.model.clone(),
        output: args.output.clone(),
        context: args.context,
        batch: args.batch,
        lut: args.lut,
        lut_embeddings: args.lut_embeddings,
        lut_lmhead: args.lut_lmhead,
        argmax: args.argmax,
        prefix: args.prefix.clone(),
    };
    options.check()?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_for_a_mac_can_be_pasted() {
        let command = recompile(Path::new("my models/it's.mlpackage"), Path::new("out-1"));
        assert!(command.ends_with(r"compile 'my models/it'\''s.mlpackage' out-1"), "{command}");
    }
}
