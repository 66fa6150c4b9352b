//! Steps 0 to 5 as one value that can be printed, resumed and run in parts.

mod build;
mod describe;
mod preview;
mod run;

use std::sync::OnceLock;

use anelith_checkpoint::Checkpoint;
use anelith_mil::disk::Sharing;
use anelith_report::{Report, Reported};

use crate::check::{self, Finding};
use crate::digest::{Digests, Stamp, digest_parts, stamp};
use crate::error::{Error, Result};
use crate::links::WEIGHT_STEPS;
use crate::lock::Lock;
use crate::options::Options;
use crate::parts::Plan;
use crate::progress::{Progress, Silent};
use crate::record::{Inputs, Record, Status};
use crate::sampling::Sampling;
use crate::selection::Selection;
use crate::step::{Outputs, Step};
use crate::weights::WeightReport;

use build::Placing;
use run::{Run, package_inputs};

pub use build::{combine_packages, compile_package};
pub use preview::{Action, File, Preview, StepPlan};

/// What a conversion did.
#[derive(Debug)]
pub struct Outcome {
    /// The selected ones of steps 1 to 5 in order, and what became of each; nothing is left to `Recheck`.
    pub steps: Vec<(Step, Action)>,
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
    /// Of the files of the model, when it was opened.
    stamps: Vec<Stamp>,
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
        let (source, stamps, sharing) = (OnceLock::new(), stamps(checkpoint)?, Sharing::default());
        Ok(Pipeline {
            checkpoint,
            options: options.clone(),
            plan,
            sampling,
            outputs,
            source,
            stamps,
            sharing,
        })
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
                self.learn_source(&weights?)
            }
        }
    }

    /// Learns the digest of the weights that were just read.
    ///
    /// # Errors
    /// When it is another one than before, or somebody has written into the model since it was opened.
    fn learn_source(&self, weights: &str) -> Result<String> {
        let config = Digests::new(&Silent).file(&self.checkpoint.dir.join("config.json"))?;
        let source = digest_parts(&[&config.to_string(), weights]);
        let is_known = *self.source.get_or_init(|| source.clone()) == source;
        if is_known && stamps(self.checkpoint)? == self.stamps {
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

    /// Bytes of the weight file.
    pub fn weight_bytes(&self) -> u64 {
        self.plan.weights.layout().file_len()
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
            if let Some(action) = run.step(step, selection)? {
                steps.push((step, action));
            }
        }
        let is_current = run.status(Step::Infer)? == Status::Current;
        let report = run.record.report(&self.outputs).filter(|_| is_current).cloned();
        Ok(Outcome { steps, report, outputs: self.outputs.clone() })
    }
}

/// The stamps of config.json and all weight files.
fn stamps(checkpoint: &Checkpoint) -> Result<Vec<Stamp>> {
    let config = checkpoint.dir.join("config.json");
    [&config].into_iter().chain(checkpoint.tensors.files()).map(|path| stamp(path)).collect()
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
    digests.be_patient();
    let inputs = Inputs { digest: package_inputs(step, input, &mut digests)?, source: None };
    Record::open(output.dir()).note(output, step, inputs, None, &mut digests)
}
