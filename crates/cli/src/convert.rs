//! `convert` and `part`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anelith_chat::{Session, SessionOptions};
use anelith_checkpoint::{Architecture, Checkpoint, tokenizer_files};
use anelith_convert::{
    CHAT_STEP, Finding, Options, Outcome, Outputs, Pipeline, Selection, Step, StepPlan, WeightReport,
};
use anelith_report::{Report, Reported};

use crate::args::{ConvertArgs, Form, ModelArgs, Part, PartArgs};
use crate::document;
use crate::failure::{Failure, Result, Status};
use crate::foreign;
use crate::gate;
use crate::hub::{self, Found};
use crate::results::{Chat, Conversion, Download, Output, StepResult};
use crate::tables;
use crate::terminal::{Interrupt, Steps, note, report, warn};

pub(crate) fn convert(args: &ConvertArgs, interrupt: &Interrupt) -> Result<()> {
    let selection = selection(args)?;
    let Some((options, checkpoint)) = opened(&args.model)? else { return Ok(()) };
    Job { args: &args.model, options, checkpoint: &checkpoint, selection }.run(interrupt)
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
    Job { args: &args.model, options, checkpoint: &checkpoint, selection }.run(interrupt)
}

/// A conversion to be made, or to be looked at.
struct Job<'j> {
    args: &'j ModelArgs,
    options: Options,
    checkpoint: &'j Checkpoint,
    selection: Selection,
}

impl<'j> Job<'j> {
    fn run(&self, interrupt: &Interrupt) -> Result<()> {
        let steps = Steps::new(interrupt);
        let (pipeline, check) = self.check(&steps)?;
        match self.args.dry_run {
            true => self.preview(&pipeline, check, &steps),
            false => self.convert(&pipeline, check, &steps, interrupt),
        }
    }

    /// Step 0: what the options and the model say before anything is written.
    fn check(&self, steps: &Steps) -> Result<(Pipeline<'j>, Option<Vec<Finding>>)> {
        note("step 0: check");
        let pipeline = Pipeline::new(self.checkpoint, &self.options, steps)?;
        let pipeline = pipeline.with_sharing(self.args.link.sharing());
        if self.args.skip_check {
            return Ok((pipeline, None));
        }
        let found = pipeline.check(self.selection, steps)?;
        for (line, warning) in tables::findings(&found) {
            note(&line);
            warning.iter().for_each(|warning| warn(warning));
        }
        // Step 6 needs tokenizer and template; what is wrong with them is said before the work, not after it.
        let session = Session::open(&self.options.model, SessionOptions::default())?;
        gate::check_vocabulary(&session, self.checkpoint)?;
        Ok((pipeline, Some(found)))
    }

    /// What the selected ones of steps 1 to 6 would do.
    fn preview(&self, pipeline: &Pipeline<'_>, check: Option<Vec<Finding>>, steps: &Steps) -> Result<()> {
        let preview = pipeline.preview(self.selection, steps)?;
        tables::deviations(&preview.weights).for_each(|deviation| warn(&deviation));
        let planned = |plan: &StepPlan| StepResult {
            action: Some(plan.action),
            outputs: Output::planned(pipeline.outputs().dir(), &plan.files),
            ..StepResult::skipped(plan.step)
        };
        let of = |step: Step| {
            let plan = preview.steps.iter().find(|plan| plan.step == step);
            plan.map_or_else(|| StepResult::skipped(step), planned)
        };
        let all = Step::ALL.into_iter().map(of).chain([StepResult::chat(self.selection.chats(), None)]);
        let plan = self.conversion(pipeline, check, all.collect(), Some(preview.weights));
        match self.args.printing.form() {
            Form::Text => report(&tables::preview(&plan)),
            Form::Json => document::show(document::conversion(&plan)),
            Form::Nothing => Ok(()),
        }
    }

    /// Steps 1 to 6, as far as they are selected.
    fn convert(
        &self,
        pipeline: &Pipeline<'_>,
        check: Option<Vec<Finding>>,
        steps: &Steps,
        interrupt: &Interrupt,
    ) -> Result<()> {
        if !self.args.skip_check {
            interrupt.defer(|| Ok(pipeline.check_sharing(self.selection, steps)?))?;
        }
        let outcome = interrupt.defer(|| Ok(pipeline.run(self.selection, steps)?))?;
        if outcome.steps.iter().any(|(step, _)| *step == Step::Compile) {
            note(&recompile(&outcome.outputs.path(Step::Combine), outcome.outputs.dir()));
        }
        let start = Instant::now();
        let chatted = self.chat(&outcome);
        let seconds = self.selection.chats().then(|| start.elapsed().as_secs_f64());
        if let Some(weights) = &outcome.report {
            self.show_weights(weights)?;
        }
        let chat = chatted?;
        if self.args.printing.form() != Form::Json {
            return Ok(());
        }
        let mut all = self.results(&outcome, steps)?;
        all.push(StepResult::chat(self.selection.chats(), seconds));
        let mut done = self.conversion(pipeline, check, all, outcome.report);
        done.chat = chat;
        document::show(document::conversion(&done))
    }

    /// Step 6, where it is selected.
    fn chat(&self, outcome: &Outcome) -> Result<Option<Chat>> {
        if !self.selection.chats() {
            return Ok(None);
        }
        note(&format!("step {CHAT_STEP}: {}", StepResult::CHAT));
        let meta = outcome.outputs.path(Step::Describe);
        if self.args.printing.form() != Form::Text {
            return gate::chat(&meta, |_| Ok(())).map(Some);
        }
        let chatted = gate::chat(&meta, report);
        report("\n")?;
        chatted.map(Some)
    }

    fn show_weights(&self, weights: &WeightReport) -> Result<()> {
        tables::deviations(weights).for_each(|deviation| warn(&deviation));
        match self.args.printing.form() {
            Form::Text => report(&tables::weights(weights)),
            Form::Json | Form::Nothing => Ok(()),
        }
    }

    /// What became of steps 1 to 5, with what they have left on the disk.
    fn results(&self, outcome: &Outcome, steps: &Steps) -> Result<Vec<StepResult>> {
        let result = |step: Step| {
            let Some((_, action)) = outcome.steps.iter().find(|(done, _)| *done == step) else {
                return Ok(StepResult::skipped(step));
            };
            let (action, seconds) = (Some(*action), steps.seconds(step));
            let paths = self.written(&outcome.outputs, step)?;
            let outputs = paths.iter().map(|path| Output::read(path)).collect::<Result<_>>()?;
            Ok(StepResult { action, seconds, outputs, ..StepResult::skipped(step) })
        };
        Step::ALL.into_iter().map(result).collect()
    }

    /// The paths of all that a step leaves.
    fn written(&self, outputs: &Outputs, step: Step) -> Result<Vec<PathBuf>> {
        let beside = match step {
            Step::Describe => tokenizer_files(&self.checkpoint.dir)?,
            _ => Vec::new(),
        };
        let beside = beside.iter().map(|file| outputs.dir().join(file.name));
        Ok(beside.chain([outputs.path(step)]).collect())
    }

    fn conversion(
        &self,
        pipeline: &Pipeline<'_>,
        check: Option<Vec<Finding>>,
        steps: Vec<StepResult>,
        weights: Option<WeightReport>,
    ) -> Conversion {
        Conversion {
            is_dry_run: self.args.dry_run,
            options: self.options.clone(),
            architecture: self.checkpoint.config.architecture,
            outputs: pipeline.outputs().clone(),
            sharing: self.args.link.sharing(),
            check,
            steps,
            weight_bytes: pipeline.weight_bytes(),
            weights,
            chat: None,
        }
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

/// What to convert and how; `None` where the model is not here and nothing may be written, which has been told.
fn opened(args: &ModelArgs) -> Result<Option<(Options, Checkpoint)>> {
    let options = options(args)?;
    let revision = args.revision.as_deref();
    let model = match args.dry_run {
        false => hub::model(&args.model, revision)?,
        true => match hub::look(&args.model, revision)? {
            Found::Whole(model) => model,
            Found::Lacking(download) => return show_download(&download, args.printing.form()).map(|()| None),
        },
    };
    Ok(Some((Options { model: model.dir.clone(), ..options }, model.open()?)))
}

fn show_download(download: &Download, form: Form) -> Result<()> {
    match form {
        Form::Text => report(&tables::download(download)),
        Form::Json => document::show(document::download(download)),
        Form::Nothing => Ok(()),
    }
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
