//! What a run would do, found out without writing anything.

use anelith_checkpoint::tokenizer_files;
use anelith_mil::disk::Sharing;
use anelith_mil::{Model, proto, validate_model};

use super::{Pipeline, Run, describe};
use crate::combine::combine;
use crate::error::Result;
use crate::progress::Progress;
use crate::record::Status;
use crate::selection::{Selection, Which};
use crate::step::Step;
use crate::target::{self, Kind};
use crate::weights::WeightReport;

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The selected ones of steps 1 to 5, in order.
    pub steps: Vec<StepPlan>,
    /// What palettization will do to the weights, but for the errors.
    pub weights: WeightReport,
    /// Bytes of the weight file.
    pub weight_bytes: u64,
    /// How the outputs come to it.
    pub sharing: Sharing,
}

/// What becomes of one step.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// The step.
    pub step: Step,
    /// Whether it would be run.
    pub action: Action,
    /// What it writes, or has written.
    pub files: Vec<File>,
}

/// Whether a step is run, or would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is.
    Build,
    /// Its output is used as it is.
    Reuse,
    /// Its output is used, and first gets weights of its own by being copied.
    Separate,
    /// Before the run: its output is used if the steps before it make again what was there, else made anew.
    Recheck,
}

impl Action {
    /// Whether the output may become another one.
    fn makes_anew(self) -> bool {
        matches!(self, Action::Build | Action::Recheck)
    }
}

/// An output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its path within the output directory; of a package or bundle also the files inside.
    pub name: String,
    /// Its size, where that is known before it is written.
    pub bytes: Option<u64>,
}

impl Pipeline<'_> {
    /// Finds out what `run` would do with this selection; writes nothing and takes no lock.
    ///
    /// # Errors
    /// As `run` would: where an earlier output that is needed is missing or stale, where a weight is not finite in
    /// fp16, or where something else stands in the place of an output.
    pub fn preview(&self, selection: Selection, progress: &dyn Progress) -> Result<Preview> {
        let mut run = Run::new(self, progress);
        let mut steps: Vec<StepPlan> = Vec::new();
        for step in Step::ALL {
            let Some(is_reused) = run.is_reused(step, selection)? else { continue };
            let made_anew = |s: &StepPlan| s.action.makes_anew() && step.needs().contains(&s.step);
            // Steps 3 and 4 depend on the packages before them; the others' inputs are known by now.
            let is_open = selection.which == Which::Needed
                && matches!(step, Step::Combine | Step::Compile)
                && steps.iter().any(made_anew)
                && run.record.has(&self.outputs, step);
            let action = match is_reused {
                _ if is_open && run.status(step)? != Status::Missing => Action::Recheck,
                true if run.is_to_separate(step, selection) => Action::Separate,
                true => Action::Reuse,
                false => Action::Build,
            };
            if action.makes_anew() {
                self.check_target(step)?;
            }
            if action != Action::Reuse {
                run.links.replace(&self.outputs, step);
            }
            if step == Step::Infer && action == Action::Build {
                // Reads all that the step would.
                self.source(progress)?;
            }
            steps.push(StepPlan { step, action, files: self.files(step)? });
        }
        let weights = self.plan.weights.planned();
        let weight_bytes = self.plan.weights.layout().file_len();
        Ok(Preview { steps, weights, weight_bytes, sharing: self.sharing })
    }

    /// Refuses what `run` would refuse to replace.
    fn check_target(&self, step: Step) -> Result<()> {
        let path = self.outputs.path(step);
        match step {
            Step::Infer | Step::Prefill | Step::Combine => target::check_output(&path, Kind::Package),
            Step::Compile => target::check_output(&path, Kind::Bundle),
            Step::Describe => Ok(()),
        }
    }

    fn files(&self, step: Step) -> Result<Vec<File>> {
        let plan = &self.plan;
        match step {
            Step::Infer => self.package_files(step, &plan.infer),
            Step::Prefill => self.package_files(step, &plan.prefill),
            Step::Combine => {
                let paths = [Step::Infer, Step::Prefill].map(|step| self.outputs.path(step));
                let both = combine([plan.infer.clone(), plan.prefill.clone()], [&paths[0], &paths[1]])?;
                self.package_files(step, &both)
            }
            Step::Compile => {
                let contents = ["model.mil", "metadata.json", "coremldata.bin", "analytics/coremldata.bin"];
                let mut files: Vec<File> = contents.map(|name| self.inside(step, name, None)).into();
                files.push(self.weights_inside(step, "weights/weight.bin"));
                Ok(files)
            }
            Step::Describe => self.described_files(),
        }
    }

    fn inside(&self, step: Step, name: &str, bytes: Option<u64>) -> File {
        File { name: format!("{}/{name}", self.outputs.name(step)), bytes }
    }

    fn weights_inside(&self, step: Step, name: &str) -> File {
        self.inside(step, name, Some(self.plan.weights.layout().file_len()))
    }

    fn package_files(&self, step: Step, model: &Model) -> Result<Vec<File>> {
        let specification = proto::encode(model, &validate_model(model)?)?;
        let size = specification.len() as u64;
        Ok(vec![
            self.inside(step, "Manifest.json", None),
            self.inside(step, "Data/com.apple.CoreML/model.mlmodel", Some(size)),
            self.weights_inside(step, "Data/com.apple.CoreML/weights/weight.bin"),
        ])
    }

    fn described_files(&self) -> Result<Vec<File>> {
        let mut files = Vec::new();
        for file in tokenizer_files(&self.checkpoint.dir)? {
            let contents = describe::copy(&self.checkpoint.dir, &file)?;
            files.push(File { name: file.name.to_owned(), bytes: Some(contents.len() as u64) });
        }
        let meta = describe::meta(self.checkpoint, &self.options, self.described(), &self.outputs)?;
        let bytes = Some(meta.len() as u64);
        files.push(File { name: self.outputs.name(Step::Describe), bytes });
        Ok(files)
    }
}
