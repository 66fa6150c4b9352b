//! The steps of a conversion and the files they leave.

use std::fmt;
use std::path::{Path, PathBuf};

/// The number of the step that chats with what the others made; it is not this library's.
pub const CHAT_STEP: u32 = 6;

/// The file that step 5 writes last.
pub(crate) const META_FILE: &str = "meta.yaml";

/// A step that writes files; step 0 checks and step 6 chats, neither of which does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// 1: the inference package, and with it the weights.
    Infer,
    /// 2: the prefill package.
    Prefill,
    /// 3: both in one.
    Combine,
    /// 4: the compiled bundle.
    Compile,
    /// 5: tokenizer, configuration and `meta.yaml`.
    Describe,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Step; 5] = [Step::Infer, Step::Prefill, Step::Combine, Step::Compile, Step::Describe];

    /// The number by which users know it, 1 to 5.
    pub fn number(self) -> u32 {
        self as u32 + 1
    }

    /// The step of this number.
    pub fn from_number(number: u32) -> Option<Step> {
        Step::ALL.into_iter().find(|s| s.number() == number)
    }

    /// What the step does, in the imperative.
    pub fn title(self) -> &'static str {
        match self {
            Step::Infer => "convert the inference model",
            Step::Prefill => "convert the prefill model",
            Step::Combine => "combine both into one model",
            Step::Compile => "compile the combined model",
            Step::Describe => "copy tokenizer and config, write meta.yaml",
        }
    }

    /// The steps whose outputs this one reads.
    pub fn needs(self) -> &'static [Step] {
        match self {
            Step::Infer | Step::Describe => &[],
            Step::Prefill => &[Step::Infer],
            Step::Combine => &[Step::Infer, Step::Prefill],
            Step::Compile => &[Step::Combine],
        }
    }

    /// The steps whose outputs this one depends on, directly or through others, in order.
    pub(crate) fn depends_on(self) -> Vec<Step> {
        let mut all: Vec<Step> = self.needs().to_vec();
        all.extend(self.needs().iter().flat_map(|needed| needed.depends_on()));
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.number())
    }
}

/// The names of the outputs.
#[derive(Clone, Debug)]
pub struct Outputs {
    dir: PathBuf,
    prefix: String,
}

impl Outputs {
    /// The outputs in `dir` under `prefix`.
    pub fn new(dir: &Path, prefix: &str) -> Outputs {
        Outputs { dir: dir.to_path_buf(), prefix: prefix.to_owned() }
    }

    /// The output directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The prefix of file names.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The package of a step that writes one, or its bundle; for step 5, `meta.yaml`.
    pub fn path(&self, step: Step) -> PathBuf {
        self.dir.join(self.name(step))
    }

    /// The file name of a step's output.
    pub fn name(&self, step: Step) -> String {
        let p = &self.prefix;
        match step {
            Step::Infer => format!("{p}_monolithic.mlpackage"),
            Step::Prefill => format!("{p}_monolithic_prefill.mlpackage"),
            Step::Combine => format!("{p}_monolithic_combined.mlpackage"),
            Step::Compile => format!("{p}_monolithic_combined.mlmodelc"),
            Step::Describe => META_FILE.to_owned(),
        }
    }
}
