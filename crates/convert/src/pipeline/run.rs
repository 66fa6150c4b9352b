//! One run over the steps: which of them are built, which reused, and what each depends on.

use std::fs;
use std::path::Path;

use anelith_mil::disk::Sharing;
use anelith_mil::package;
use anelith_report::{Report, Reported};

use super::build::{self, Placing};
use super::{Action, Pipeline, describe};
use crate::digest::{Digests, digest_parts};
use crate::error::{Error, Result};
use crate::links::{Links, WEIGHT_STEPS, weight_file};
use crate::metadata::VERSION;
use crate::options::Luts;
use crate::progress::Progress;
use crate::record::{Inputs, Record, Status};
use crate::selection::{Selection, Which};
use crate::step::{CHAT_STEP, Outputs, Step};
use crate::weights::Written;

/// One run over the steps.
pub(super) struct Run<'p, 'c> {
    pipeline: &'p Pipeline<'c>,
    pub(super) record: Record,
    digests: Digests<'p>,
    /// Of which names are taken only where the run is but looked ahead to.
    pub(super) links: Links,
    progress: &'p dyn Progress,
}

impl<'p, 'c> Run<'p, 'c> {
    pub(super) fn new(pipeline: &'p Pipeline<'c>, progress: &'p dyn Progress) -> Run<'p, 'c> {
        let record = Record::open(pipeline.outputs.dir());
        let (digests, links) = (Digests::new(progress), Links::default());
        Run { pipeline, record, digests, links, progress }
    }

    /// Runs `step` or reuses its output, as the selection says; `None` for a step that is not selected.
    pub(super) fn step(&mut self, step: Step, selection: Selection) -> Result<Option<Action>> {
        if self.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let Some(is_reused) = self.is_reused(step, selection)? else { return Ok(None) };
        Ok(Some(if !is_reused {
            self.execute(step)?;
            Action::Build
        } else if self.is_to_separate(step, selection) {
            self.separate(step)?;
            Action::Separate
        } else {
            self.progress.reuse(step, &self.pipeline.outputs.path(step));
            Action::Reuse
        }))
    }

    /// Whether the output of `step`, which is reused, must get weights of its own first. A step that is run alone leaves
    /// those of the others as they are.
    pub(super) fn is_to_separate(&self, step: Step, selection: Selection) -> bool {
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
    pub(super) fn is_reused(&mut self, step: Step, selection: Selection) -> Result<Option<bool>> {
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
                let digests = &mut self.digests;
                let accept = |written: &Written, file: &Path| {
                    p.learn_source(&written.source)?;
                    share_again(outputs, (written, file), placing, digests)
                };
                let written = build::infer(&p.plan, outputs, progress, accept)?;
                self.digests.learn(&package::weights_path(&outputs.path(step)), written.file)?;
                report = Some(written.report);
            }
            Step::Prefill => build::prefill(&p.plan, outputs, placing)?,
            Step::Combine => build::combine(outputs, outputs, placing)?,
            Step::Compile => build::compile(outputs, outputs, placing)?,
            Step::Describe => describe::describe(p.checkpoint, &p.options, p.described(), outputs)?,
        }
        self.digests.be_patient();
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

    pub(super) fn status(&mut self, step: Step) -> Result<Status> {
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

/// Takes the weights that an output of an earlier run already has in place of equal new ones in `file`: where files are
/// shared, an output that is made again does not take its space twice.
fn share_again(
    outputs: &Outputs,
    (written, file): (&Written, &Path),
    placing: Placing<'_>,
    digests: &mut Digests<'_>,
) -> Result<()> {
    if placing.sharing == Sharing::Copy {
        return Ok(());
    }
    let length = |path: &Path| fs::metadata(path).map(|metadata| metadata.len()).ok();
    for known in WEIGHT_STEPS.map(|step| weight_file(outputs, step)) {
        // What cannot be read is of no use.
        let is_equal = length(&known) == length(file) && digests.file(&known).ok() == Some(written.file);
        if is_equal {
            return placing.place(&known, file);
        }
    }
    Ok(())
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
pub(super) fn package_inputs(step: Step, outputs: &Outputs, digests: &mut Digests<'_>) -> Result<String> {
    let mut parts = vec![VERSION.to_owned(), step.number().to_string()];
    for needed in step.needs() {
        parts.push(digests.path(&outputs.path(*needed))?.unwrap_or_default());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(digest_parts(&parts))
}
