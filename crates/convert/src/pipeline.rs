//! Steps 0 to 5 as one value that can be printed, resumed and run in parts.

mod build;
mod describe;
mod preview;

use std::sync::OnceLock;

use anelith_checkpoint::Checkpoint;
use anelith_mil::disk::Sharing;
use anelith_mil::package;
use anelith_report::{Report, Reported};

use crate::check::{self, Finding};
use crate::digest::{Digests, digest_parts};
use crate::error::{Error, Result};
use crate::links::{Links, WEIGHT_STEPS};
use crate::lock::Lock;
use crate::metadata::VERSION;
use crate::options::{Luts, Options};
use crate::parts::Plan;
use crate::progress::Progress;
use crate::record::{Inputs, Record, Status};
use crate::sampling::Sampling;
use crate::selection::{Selection, Which};
use crate::step::{CHAT_STEP, Outputs, Step};
use crate::weights::WeightReport;

use build::Placing;

pub use build::{combine_packages, compile_package};
pub use preview::{Action, File, Preview, StepPlan};

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
    sharing: Sharing,
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
        let (source, sharing) = (OnceLock::new(), Sharing::default());
        Ok(Pipeline { checkpoint, options: options.clone(), plan, sampling, outputs, source, sharing })
    }

    /// The same, with another way for outputs to come to the weights, which changes no byte of them; `Link` unless said.
    ///
    /// With `Copy`, every output that a run makes or reuses has a weight file of its own at the end, those too that an
    /// earlier run has left linked, which are copied. Clones, which are files of their own, stay.
    pub fn with_sharing(self, sharing: Sharing) -> Pipeline<'c> {
        Pipeline { sharing, ..self }
    }

    /// The digest of the model as far as the packages depend on it. Reads all weights, unless they have been read.
    fn source(&self, progress: &dyn Progress) -> Result<String> {
        match self.source.get() {
            Some(known) => Ok(known.clone()),
            None => {
                progress.compare(self.plan.weights.read_bytes());
                let weights = self.plan.weights.source(progress);
                progress.compared();
                self.learn_source(weights?, progress)
            }
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
        let written = || self.written(selection, progress);
        check::findings(self.checkpoint, &self.outputs, &self.plan, self.sharing, written)
    }

    /// What of step 0 can only be tried: that a disk with room for the weights only once can share them. Where there is
    /// room enough, or nothing is to be shared, nothing is tried; else two empty files are, under the lock of the output
    /// directory.
    ///
    /// # Errors
    /// `Machine` when the disk has no room for copies and must copy; those of `check`, and of taking the lock.
    pub fn check_sharing(&self, selection: Selection, progress: &dyn Progress) -> Result<()> {
        match self.sharing {
            Sharing::Link => {
                check::copies_fit(&self.outputs, &self.plan, || self.written(selection, progress))
            }
            Sharing::Copy => Ok(()),
        }
    }

    /// Which of the steps that hold weights will write their output: those that will be run, or may have to be as one
    /// before them is, and those whose output is to be separated from others.
    fn written(&self, selection: Selection, progress: &dyn Progress) -> Result<[bool; 4]> {
        let mut run = Run::new(self, progress);
        let (mut made, mut written) = (Vec::new(), Vec::new());
        for step in WEIGHT_STEPS {
            let Some(is_reused) = run.is_reused(step, selection)? else { continue };
            if !is_reused || step.needs().iter().any(|needed| made.contains(needed)) {
                made.push(step);
            }
            if made.contains(&step) || run.is_to_separate(step, selection) {
                written.push(step);
                run.links.replace(&self.outputs, step);
            }
        }
        Ok(WEIGHT_STEPS.map(|step| written.contains(&step)))
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
    /// Of which names are taken only where the run is but looked ahead to.
    links: Links,
    progress: &'p dyn Progress,
}

impl<'p, 'c> Run<'p, 'c> {
    fn new(pipeline: &'p Pipeline<'c>, progress: &'p dyn Progress) -> Run<'p, 'c> {
        let record = Record::open(pipeline.outputs.dir());
        let (digests, links) = (Digests::new(progress), Links::default());
        Run { pipeline, record, digests, links, progress }
    }

    /// Runs `step` or reuses its output, as the selection says; `None` for a step that is not selected.
    fn step(&mut self, step: Step, selection: Selection) -> Result<Option<bool>> {
        if self.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let Some(is_reused) = self.is_reused(step, selection)? else { return Ok(None) };
        if !is_reused {
            self.execute(step)?;
        } else if self.is_to_separate(step, selection) {
            self.separate(step)?;
        } else {
            self.progress.reuse(step, &self.pipeline.outputs.path(step));
        }
        Ok(Some(!is_reused))
    }

    /// Whether the output of `step`, which is reused, must get weights of its own first. A step that is run alone leaves
    /// those of the others as they are.
    fn is_to_separate(&self, step: Step, selection: Selection) -> bool {
        self.pipeline.sharing == Sharing::Copy
            && !matches!(selection.which, Which::Only(_))
            && self.links.is_linked(&self.pipeline.outputs, step)
    }

    /// Replaces the output of `step` by a copy, which shares its weights with nothing.
    fn separate(&self, step: Step) -> Result<()> {
        let (outputs, progress) = (&self.pipeline.outputs, self.progress);
        progress.begin(step, self.pipeline.plan.weights.layout().file_len());
        let name = outputs.name(step);
        progress.warn(&format!("{name} shares its weight.bin with other files and is copied"));
        build::separate(&outputs.path(step), progress)?;
        progress.end(&outputs.path(step));
        Ok(())
    }

    /// Whether the output of `step` is used as it is; `None` for a step that is not selected.
    fn is_reused(&mut self, step: Step, selection: Selection) -> Result<Option<bool>> {
        let number = step.number();
        let is_reused = match selection.which {
            _ if !selection.reaches(number) => return Ok(None),
            Which::Only(CHAT_STEP) if matches!(step, Step::Compile | Step::Describe) => {
                self.require(step)?;
                self.require_before(step)?;
                true
            }
            Which::Only(only) if number != only => return Ok(None),
            Which::Only(_) => {
                self.require_before(step)?;
                if step == Step::Describe && self.pipeline.outputs.path(Step::Compile).exists() {
                    // meta.yaml would describe a model that is not there.
                    self.require_before(Step::Compile)?;
                    self.require(Step::Compile)?;
                }
                false
            }
            Which::From(first) if number < first => {
                self.require(step)?;
                true
            }
            Which::From(_) => false,
            Which::Needed => self.status(step)? == Status::Current,
        };
        Ok(Some(is_reused))
    }

    fn execute(&mut self, step: Step) -> Result<()> {
        let (p, progress) = (self.pipeline, self.progress);
        let outputs = &p.outputs;
        self.warn_of_others(step);
        let total = match (step, p.sharing) {
            (Step::Infer, _) => p.plan.weights.source_bytes(),
            (Step::Describe, _) | (_, Sharing::Link) => 0,
            (_, Sharing::Copy) => p.plan.weights.layout().file_len(),
        };
        let placing = Placing { sharing: p.sharing, progress };
        let mut report = None;
        progress.begin(step, total);
        match step {
            Step::Infer => {
                let written = build::infer(&p.plan, outputs, progress)?;
                p.learn_source(written.source, progress)?;
                self.digests.learn(&package::weights_path(&outputs.path(step)), written.file)?;
                report = Some(written.report);
            }
            Step::Prefill => build::prefill(&p.plan, outputs, placing)?,
            Step::Combine => build::combine(outputs, outputs, placing)?,
            Step::Compile => build::compile(outputs, outputs, placing)?,
            Step::Describe => describe::describe(p.checkpoint, &p.options, p.described(), outputs)?,
        }
        // Only now: the inputs of step 5 hold what it has copied.
        let inputs = Inputs { digest: self.inputs(step)?, source: self.source(step)? };
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
        let (inputs, outputs) = (self.inputs(step)?, &self.pipeline.outputs);
        let status = self.record.status(outputs, step, &inputs, &mut self.digests)?;
        // All weights are read only where nothing else tells that the output is of no use.
        if status == Status::Current && !self.record.is_of(outputs, step, self.source(step)?.as_deref()) {
            return Ok(Status::Stale);
        }
        Ok(status)
    }

    /// The digest of the model, for a step whose output depends on its weights.
    fn source(&self, step: Step) -> Result<Option<String>> {
        let depends = matches!(step, Step::Infer | Step::Prefill);
        depends.then(|| self.pipeline.source(self.progress)).transpose()
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

    /// The digest of everything that a step's output depends on, but for the model.
    fn inputs(&mut self, step: Step) -> Result<String> {
        let p = self.pipeline;
        let mut parts = vec![VERSION.to_owned(), step.number().to_string()];
        match step {
            Step::Infer | Step::Prefill => {
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
pub fn run_alone(
    step: Step,
    input: &Outputs,
    output: &Outputs,
    sharing: Sharing,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = Lock::acquire(output.dir())?;
    let placing = Placing { sharing, progress };
    match step {
        Step::Combine => build::combine(input, output, placing)?,
        Step::Compile => build::compile(input, output, placing)?,
        other => return Err(Error::Usage(Report::new(format!("{other} needs a model")))),
    }
    let mut digests = Digests::new(progress);
    let inputs = Inputs { digest: package_inputs(step, input, &mut digests)?, source: None };
    Record::open(output.dir()).note(output, step, inputs, None, &mut digests)
}
