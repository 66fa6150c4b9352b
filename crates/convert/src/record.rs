//! The record beside the outputs: from which inputs each step made what.
//!
//! A step is reused when its inputs have the digest in the record and its output still has the digest that it
//! was left with. The record is a cache: deleting it makes the next run build everything again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anelith_mil::disk;
use anelith_report::Report;
use serde::{Deserialize, Serialize};

use crate::digest::Digests;
use crate::error::{Error, Result};
use crate::step::{Outputs, Step};
use crate::weights::WeightReport;

/// The record's file name in the output directory.
pub const RECORD_FILE: &str = ".anelith.json";

/// The largest record that is read; a long one takes a thousandth of it.
const MAX_RECORD_BYTES: u64 = 1 << 24;

/// The record of an output directory.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    steps: BTreeMap<String, Made>,
}

/// What the output of a step depends on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// Digest of everything but the model: options, version, earlier outputs.
    #[serde(rename = "inputs")]
    pub(crate) digest: String,
    /// Digest of the model, which takes long to make; where the step reads its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
}

/// What a step made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Made {
    #[serde(flatten)]
    inputs: Inputs,
    /// Digest of the output as it was left.
    output: String,
    /// What palettization did; step 1 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<WeightReport>,
}

/// Whether a step's output can be used as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// There is no output.
    Missing,
    /// The output was made from the same inputs and has not changed since.
    Current,
    /// The output was made from other inputs, by something else, or was changed.
    Stale,
}

impl Record {
    /// The record of `dir`; empty where there is none, or none that can be read.
    pub(crate) fn open(dir: &Path) -> Record {
        let path = dir.join(RECORD_FILE);
        // A pipe would be waited for.
        let bytes = path.is_file().then(|| disk::read_file(&path, MAX_RECORD_BYTES).ok()).flatten();
        let steps = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Record { path, steps }
    }

    fn key(outputs: &Outputs, step: Step) -> String {
        format!("{} {}", step.number(), outputs.name(step))
    }

    /// Whether the output of `step` is there and was made from inputs with this digest, of whatever model.
    ///
    /// # Errors
    /// When the output cannot be read.
    pub(crate) fn status(
        &self,
        outputs: &Outputs,
        step: Step,
        inputs: &str,
        digests: &mut Digests<'_>,
    ) -> Result<Status> {
        let path = outputs.path(step);
        if !path.exists() {
            return Ok(Status::Missing);
        }
        let Some(made) = self.steps.get(&Self::key(outputs, step)) else { return Ok(Status::Stale) };
        if made.inputs.digest != inputs || digests.path(&path)?.as_ref() != Some(&made.output) {
            return Ok(Status::Stale);
        }
        Ok(Status::Current)
    }

    /// Whether the output of `step` was made of the model with the digest `source`, if of any.
    pub(crate) fn is_of(&self, outputs: &Outputs, step: Step, source: Option<&str>) -> bool {
        let made = self.steps.get(&Self::key(outputs, step));
        made.is_some_and(|made| made.inputs.source.as_deref() == source)
    }

    /// Whether `step` has been run here, with whatever inputs.
    pub(crate) fn has(&self, outputs: &Outputs, step: Step) -> bool {
        self.steps.contains_key(&Self::key(outputs, step))
    }

    /// Whether the output of `step` is what the step has left there, from whatever inputs.
    ///
    /// # Errors
    /// When the output cannot be read.
    pub(crate) fn is_own(&self, outputs: &Outputs, step: Step, digests: &mut Digests<'_>) -> Result<bool> {
        let Some(made) = self.steps.get(&Self::key(outputs, step)) else { return Ok(false) };
        Ok(digests.path(&outputs.path(step))?.as_ref() == Some(&made.output))
    }

    /// What palettization did when step 1 made its output.
    pub(crate) fn report(&self, outputs: &Outputs) -> Option<&WeightReport> {
        self.steps.get(&Self::key(outputs, Step::Infer))?.report.as_ref()
    }

    /// Notes what a step has made, and writes the record.
    ///
    /// # Errors
    /// When the output cannot be read or the record cannot be written.
    pub(crate) fn note(
        &mut self,
        outputs: &Outputs,
        step: Step,
        inputs: Inputs,
        report: Option<WeightReport>,
        digests: &mut Digests<'_>,
    ) -> Result<()> {
        let path = outputs.path(step);
        let output = digests.path(&path)?.ok_or_else(|| {
            Error::Machine(Report::new(format!("the output of {step} is gone: {}", path.display())))
        })?;
        self.steps.insert(Self::key(outputs, step), Made { inputs, output, report });
        let mut text = serde_json::to_string_pretty(&self.steps).expect("the record has string keys");
        text.push('\n');
        Ok(disk::write_file(&self.path, text.as_bytes())?)
    }
}
