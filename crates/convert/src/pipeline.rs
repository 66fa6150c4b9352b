//! Steps 0 to 5 as one value that can be printed, resumed and run in parts.

mod build;
mod describe;
mod preview;

use std::sync::OnceLock;

use anelith_checkpoint::Checkpoint;
use anelith_mil::package;
use anelith_report::{Report, Reported};

use crate::check::{self, Finding};
use crate::digest::{Digests, digest_parts};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::metadata::VERSION;
use crate::options::{Luts, Options};
use crate::parts::Plan;
use crate::progress::Progress;
use crate::record::{Record, Status};
use crate::sampling::Sampling;
use crate::step::{CHAT_STEP, Outputs, Step};
use crate::weights::WeightReport;

pub use build::{combine_packages, compile_package};
pub use preview::{Action, File, Preview, StepPlan};

/// Which steps to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selection {
    /// Those whose output is missing or stale.
    Needed,
    /// This one and all after it; the earlier ones' outputs must be current.
    From(u32),
    /// This one alone.
    Only(u32),
}

/// What a conversion did.
#[derive(Debug)]
pub struct Outcome {
    /// The steps in order, and whether each was run or its output reused.
    pub steps: Vec<(Step, bool)>,
    /// What palettization did to the weights, where step 1's output is current.
    pub report: Option<WeightReport>,
    /// Where the outputs are.
    pub outputs: Outputs,
}

/// A conversion: a checkpoint, the options, and the plan that follows from both.
#[derive(Debug)]
pub struct Pipeline<'c> {
    checkpoint: &'c Checkpoint,
    options: Options,
    plan: Plan<'c>,
    sampling: Sampling,
    outputs: Outputs,
    /// The digest of the weights and of config.json, as soon as it is known.
    source: OnceLock<String>,
}

impl<'c> Pipeline<'c> {
    /// Checks the options against the checkpoint and plans the conversion; writes nothing.
    ///
    /// # Errors
    /// `Usage` for options that do not fit, `Input` and `Checkpoint` for a model that cannot be converted.
    pub fn new(
        checkpoint: &'c Checkpoint,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Pipeline<'c>> {
        options.check()?;
        options.check_context(checkpoint)?;
        check::output_is_not_model(options)?;
        let outputs = Outputs::new(&options.output, options.prefix(checkpoint.config.architecture));
        check::output_is_ours(checkpoint, &outputs)?;
        for warning in checkpoint.config.warnings.iter().chain(checkpoint.tensors.warnings()) {
            progress.warn(warning);
        }
        let (sampling, warnings) = Sampling::read(&checkpoint.dir)?;
        warnings.iter().for_each(|warning| progress.warn(warning));
        let plan = Plan::new(checkpoint, options, progress)?;
        let source = OnceLock::new();
        Ok(Pipeline { checkpoint, options: options.clone(), plan, sampling, outputs, source })
    }

    /// The digest of the model as far as the packages depend on it. Reads all weights, unless they have been read.
    fn source(&self, progress: &dyn Progress) -> Result<String> {
        match self.source.get() {
            Some(known) => Ok(known.clone()),
            None => self.learn_source(self.plan.weights.source(progress)?, progress),
        }
    }

    /// Learns the digest of the weights that were just read.
    fn learn_source(&self, weights: String, progress: &dyn Progress) -> Result<String> {
        let config = Digests::new(progress).file(&self.checkpoint.dir.join("config.json"))?;
        let source = digest_parts(&[&config.to_string(), &weights]);
        if *self.source.get_or_init(|| source.clone()) == source {
            return Ok(source);
        }
        let report = Report::new("the model has changed while it was read").at(self.checkpoint.dir.display());
        Err(Error::Input(report.mending("convert it again when nothing writes into its directory any more")))
    }

    /// Step 0: what can be said about this machine and this model before the selected steps begin; writes nothing.
    ///
    /// # Errors
    /// When a tokenizer file is missing, or the disk has no room; where that depends on which steps are run, also as
    /// `run` would for an earlier output.
    pub fn check(&self, selection: Selection, progress: &dyn Progress) -> Result<Vec<Finding>> {
        check::findings(self.checkpoint, &self.outputs, &self.plan, || self.rebuilt(selection, progress))
    }

    /// What of step 0 can only be tried: that a disk with room for the weights only once can share them. Where there is
    /// room enough, nothing is tried; else two empty files are, under the lock of the output directory.
    ///
    /// # Errors
    /// `Machine` when the disk has no room for copies and must copy; those of `check`, and of taking the lock.
    pub fn check_sharing(&self, selection: Selection, progress: &dyn Progress) -> Result<()> {
        check::copies_fit(&self.outputs, &self.plan, || self.rebuilt(selection, progress))
    }

    /// Which of the steps that hold weights will be run, or may have to be as one before them is.
    fn rebuilt(&self, selection: Selection, progress: &dyn Progress) -> Result<[bool; 4]> {
        let mut run = Run::new(self, progress);
        let mut made = Vec::new();
        for step in check::WEIGHT_STEPS {
            let Some(is_reused) = run.is_reused(step, selection)? else { continue };
            if !is_reused || step.needs().iter().any(|needed| made.contains(needed)) {
                made.push(step);
            }
        }
        Ok(check::WEIGHT_STEPS.map(|step| made.contains(&step)))
    }

    fn described(&self) -> describe::Model<'_> {
        describe::Model { head: &self.plan.head, sampling: &self.sampling }
    }

    /// Where the outputs go.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Runs the selected steps of 1 to 5.
    ///
    /// # Errors
    /// When an earlier output that is needed is missing or stale, when something cannot be read or written, or
    /// `Interrupted`.
    pub fn run(&self, selection: Selection, progress: &dyn Progress) -> Result<Outcome> {
        let _lock = Lock::acquire(self.outputs.dir())?;
        let mut run = Run::new(self, progress);
        let mut steps = Vec::new();
        for step in Step::ALL {
            if let Some(done) = run.step(step, selection)? {
                steps.push((step, done));
            }
        }
        let is_current = run.status(Step::Infer)? == Status::Current;
        let report = run.record.report(&self.outputs).filter(|_| is_current).cloned();
        Ok(Outcome { steps, report, outputs: self.outputs.clone() })
    }
}

/// One run over the steps.
struct Run<'p, 'c> {
    pipeline: &'p Pipeline<'c>,
    record: Record,
    digests: Digests<'p>,
    progress: &'p dyn Progress,
}

impl<'p, 'c> Run<'p, 'c> {
    fn new(pipeline: &'p Pipeline<'c>, progress: &'p dyn Progress) -> Run<'p, 'c> {
        let record = Record::open(pipeline.outputs.dir());
        Run { pipeline, record, digests: Digests::new(progress), progress }
    }

    /// Runs `step` or reuses its output, as the selection says; `None` for a step that is not selected.
    fn step(&mut self, step: Step, selection: Selection) -> Result<Option<bool>> {
        if self.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let Some(is_reused) = self.is_reused(step, selection)? else { return Ok(None) };
        if is_reused {
            self.progress.reuse(step, &self.pipeline.outputs.path(step));
        } else {
            self.execute(step)?;
        }
        Ok(Some(!is_reused))
    }

    /// Whether the output of `step` is used as it is; `None` for a step that is not selected.
    fn is_reused(&mut self, step: Step, selection: Selection) -> Result<Option<bool>> {
        let number = step.number();
        let is_reused = match selection {
            Selection::Only(CHAT_STEP) if matches!(step, Step::Compile | Step::Describe) => {
                self.require(step)?;
                self.require_before(step)?;
                true
            }
            Selection::Only(only) if number != only => return Ok(None),
            Selection::Only(_) => {
                self.require_before(step)?;
                if step == Step::Describe && self.pipeline.outputs.path(Step::Compile).exists() {
                    // meta.yaml would describe a model that is not there.
                    self.require_before(Step::Compile)?;
                    self.require(Step::Compile)?;
                }
                false
            }
            Selection::From(first) if number < first => {
                self.require(step)?;
                true
            }
            Selection::From(_) => false,
            Selection::Needed => self.status(step)? == Status::Current,
        };
        Ok(Some(is_reused))
    }

    fn execute(&mut self, step: Step) -> Result<()> {
        let (p, progress) = (self.pipeline, self.progress);
        let outputs = &p.outputs;
        self.warn_of_others(step);
        let total = if step == Step::Infer { p.plan.weights.source_bytes() } else { 0 };
        let mut report = None;
        progress.begin(step, total);
        match step {
            Step::Infer => {
                let written = build::infer(&p.plan, outputs, progress)?;
                p.learn_source(written.source, progress)?;
                self.digests.learn(&package::weights_path(&outputs.path(step)), written.file)?;
                report = Some(written.report);
            }
            Step::Prefill => build::prefill(&p.plan, outputs)?,
            Step::Combine => build::combine(outputs, outputs, progress)?,
            Step::Compile => build::compile(outputs, outputs)?,
            Step::Describe => describe::describe(p.checkpoint, &p.options, p.described(), outputs)?,
        }
        // Only now: the inputs of step 5 hold what it has copied.
        let inputs = self.inputs(step)?;
        self.record.note(outputs, step, inputs, report, &mut self.digests)?;
        progress.end(&outputs.path(step));
        Ok(())
    }

    /// Tells of an output that is about to be replaced and is not what this step has left there.
    fn warn_of_others(&mut self, step: Step) {
        let outputs = &self.pipeline.outputs;
        // What cannot be read is not ours either.
        let is_own = self.record.is_own(outputs, step, &mut self.digests).unwrap_or(false);
        if outputs.path(step).exists() && !is_own {
            let name = outputs.name(step);
            self.progress
                .warn(&format!("{name} was made by something else, or changed since; it is replaced"));
        }
    }

    fn status(&mut self, step: Step) -> Result<Status> {
        // Inputs may be large; they are read only where there is something to hold against them.
        if let Some(status) = self.record.status_without(&self.pipeline.outputs, step) {
            return Ok(status);
        }
        let inputs = self.inputs(step)?;
        self.record.status(&self.pipeline.outputs, step, &inputs, &mut self.digests)
    }

    /// Refuses to go on without current outputs of all steps on which `step` depends: a step's output is current
    /// when it fits its inputs, which may themselves be another model's.
    fn require_before(&mut self, step: Step) -> Result<()> {
        for needed in step.needs() {
            if !self.pipeline.outputs.path(*needed).exists() {
                self.require(*needed)?;
            }
        }
        step.depends_on().into_iter().try_for_each(|needed| self.require(needed))
    }

    /// Refuses to go on without a current output of `step`.
    fn require(&mut self, step: Step) -> Result<()> {
        let outputs = &self.pipeline.outputs;
        let (problem, found) = match self.status(step)? {
            Status::Current => return Ok(()),
            Status::Missing => ("is missing", "no such file"),
            Status::Stale => (
                "was made from another model, with other options, or by something else",
                "the output of another run",
            ),
        };
        let report =
            Report::new(format!("{} {problem}", outputs.name(step))).at(outputs.path(step).display());
        let made_by = format!("the output of {step} ({}) for this model and these options", step.title());
        Err(Error::Input(
            report
                .expecting(made_by)
                .finding(found)
                .mending(format!("run {step} again ({})", commands(step))),
        ))
    }

    /// The digest of everything that a step's output depends on.
    fn inputs(&mut self, step: Step) -> Result<String> {
        let p = self.pipeline;
        let mut parts = vec![VERSION.to_owned(), step.number().to_string()];
        match step {
            Step::Infer | Step::Prefill => {
                parts.push(p.source(self.progress)?);
                let Luts { embeddings, layers, lm_head } = p.options.luts();
                let luts = [embeddings, layers, lm_head].map(|lut| (lut.bits(), lut.group()));
                parts.push(format!("{} {luts:?}", p.options.context));
                // What `infer` returns is no matter of the prefill model, nor is the batch of the other.
                parts.push(match step {
                    Step::Prefill => p.options.batch.to_string(),
                    _ => p.options.argmax.to_string(),
                });
            }
            Step::Combine | Step::Compile => return package_inputs(step, &p.outputs, &mut self.digests),
            Step::Describe => {
                parts.push(describe::inputs(p.checkpoint, &p.options, &p.outputs, &mut self.digests)?);
            }
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(digest_parts(&parts))
    }
}

/// The commands that run `step`.
fn commands(step: Step) -> String {
    let convert = format!("convert --restart {0}, or --only {0}", step.number());
    match step {
        Step::Infer => format!("part --part monolithic, or {convert}"),
        Step::Prefill => format!("part --part monolithic_prefill, or {convert}"),
        _ => convert,
    }
}

/// The digest of what step 3 or 4 depends on, which is packages alone.
fn package_inputs(step: Step, outputs: &Outputs, digests: &mut Digests<'_>) -> Result<String> {
    let mut parts = vec![VERSION.to_owned(), step.number().to_string()];
    for needed in step.needs() {
        parts.push(digests.path(&outputs.path(*needed))?.unwrap_or_default());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(digest_parts(&parts))
}

/// Runs step 3 or 4 on the packages in `input`, whatever they were made from, and notes in `output` that it did.
///
/// # Errors
/// Those of `combine_packages` and `compile_package`; `Machine` when another run holds the directory of `output`;
/// `Usage` for another step; `Interrupted`.
pub fn run_alone(step: Step, input: &Outputs, output: &Outputs, progress: &dyn Progress) -> Result<()> {
    let _lock = Lock::acquire(output.dir())?;
    match step {
        Step::Combine => build::combine(input, output, progress)?,
        Step::Compile => build::compile(input, output)?,
        other => return Err(Error::Usage(Report::new(format!("{other} needs a model")))),
    }
    let mut digests = Digests::new(progress);
    let inputs = package_inputs(step, input, &mut digests)?;
    Record::open(output.dir()).note(output, step, inputs, None, &mut digests)
}
