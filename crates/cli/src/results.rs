//! What commands have done, in the form in which `tables` shows it to people and `document` to programs.

use std::fs;
use std::path::{Path, PathBuf};

use anelith_chat::{End, Sampling};
use anelith_checkpoint::Architecture;
use anelith_convert::{Action, CHAT_STEP, File, Finding, Options, Outputs, Sharing, Step, WeightReport};
use anelith_mil::read_model;
use anelith_report::{Report, Reported, remedy};

use crate::failure::{Failure, Result, Status};

/// What `convert` and `part` have done, or would do.
#[derive(Debug)]
pub(crate) struct Conversion {
    pub(crate) is_dry_run: bool,
    pub(crate) options: Options,
    pub(crate) architecture: Architecture,
    pub(crate) outputs: Outputs,
    pub(crate) sharing: Sharing,
    /// The table of step 0; `None` where that was skipped.
    pub(crate) check: Option<Vec<Finding>>,
    /// Steps 1 to 6.
    pub(crate) steps: Vec<StepResult>,
    /// Bytes of the weight file.
    pub(crate) weight_bytes: u64,
    /// What palettization did to the weights, where that is known.
    pub(crate) weights: Option<WeightReport>,
    /// What step 6 found, where it was run.
    pub(crate) chat: Option<Chat>,
}

/// What became of a step.
#[derive(Debug)]
pub(crate) struct StepResult {
    pub(crate) number: u32,
    /// What it does, in the imperative.
    pub(crate) title: &'static str,
    /// `None` for a step that was not selected.
    pub(crate) action: Option<Action>,
    /// How long it took, where it was run.
    pub(crate) seconds: Option<f64>,
    pub(crate) outputs: Vec<Output>,
}

impl StepResult {
    /// One of steps 1 to 5 that was not selected.
    pub(crate) fn skipped(step: Step) -> StepResult {
        let (number, title) = (step.number(), step.title());
        StepResult { number, title, action: None, seconds: None, outputs: Vec::new() }
    }

    /// What step 6 does.
    pub(crate) const CHAT: &str = "chat with the compiled model";

    /// Step 6, which leaves nothing on the disk.
    pub(crate) fn chat(is_selected: bool, seconds: Option<f64>) -> StepResult {
        let action = is_selected.then_some(Action::Build);
        StepResult { number: CHAT_STEP, title: StepResult::CHAT, action, seconds, outputs: Vec::new() }
    }
}

/// A package, bundle or file that a command writes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) path: PathBuf,
    /// The functions of a package or bundle that is there.
    pub(crate) functions: Vec<String>,
    /// What is inside a package or bundle, by the path within it.
    pub(crate) files: Vec<File>,
    /// Of all of it; `None` where that is not known before it is written.
    pub(crate) bytes: Option<u64>,
}

impl Output {
    /// Looks at what is at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Output> {
        let length = |path: &Path| fs::metadata(path).map(|m| m.len()).map_err(|e| unreadable(path, &e));
        if !path.is_dir() {
            let (functions, files) = (Vec::new(), Vec::new());
            return Ok(Output { path: path.to_owned(), functions, files, bytes: Some(length(path)?) });
        }
        let (model, _) = read_model(path)?;
        let functions = model.program.functions.into_iter().map(|function| function.name).collect();
        let mut files = Vec::new();
        for name in names(path)? {
            files.push(File { bytes: Some(length(&path.join(&name))?), name });
        }
        Ok(Output::of(path.to_owned(), functions, files))
    }

    /// The outputs in `dir` of which a plan has these files.
    pub(crate) fn planned(dir: &Path, files: &[File]) -> Vec<Output> {
        let mut outputs: Vec<Output> = Vec::new();
        for File { name, bytes } in files {
            let Some((package, inside)) = name.split_once('/') else {
                let (functions, files) = (Vec::new(), Vec::new());
                outputs.push(Output { path: dir.join(name), functions, files, bytes: *bytes });
                continue;
            };
            let file = File { name: inside.to_owned(), bytes: *bytes };
            match outputs.last_mut().filter(|output| output.path == dir.join(package)) {
                Some(output) => output.files.push(file),
                None => outputs.push(Output::of(dir.join(package), Vec::new(), vec![file])),
            }
        }
        let whole = |output: Output| match output.files.is_empty() {
            true => output,
            false => Output::of(output.path, output.functions, output.files),
        };
        outputs.into_iter().map(whole).collect()
    }

    fn of(path: PathBuf, functions: Vec<String>, files: Vec<File>) -> Output {
        let bytes = files.iter().map(|file| file.bytes).sum();
        Output { path, functions, files, bytes }
    }
}

/// The files below `dir`, by path within it, with `/`.
fn names(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
        let entry = entry.map_err(|e| unreadable(dir, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What a link leads to is not inside.
        match entry.file_type().map_err(|e| unreadable(dir, &e))?.is_dir() {
            true => found.extend(names(&entry.path())?.iter().map(|below| format!("{name}/{below}"))),
            false => found.push(name),
        }
    }
    Ok(found)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let mut report = Report::new(format!("cannot read what was written: {error}")).at(path.display());
    report.mend = remedy(error.kind()).map(str::to_owned);
    Failure::new(Status::Machine, report)
}

/// What `combine` and `compile` have done.
#[derive(Debug)]
pub(crate) struct Packaged {
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) step: Step,
    pub(crate) seconds: f64,
    pub(crate) output: Output,
}

/// What must be downloaded before a model can be converted.
#[derive(Debug)]
pub(crate) struct Download {
    /// Whose hub.
    pub(crate) endpoint: String,
    pub(crate) cache: PathBuf,
    pub(crate) commit: String,
    pub(crate) files: Vec<File>,
}

impl Download {
    pub(crate) fn bytes(&self) -> u64 {
        // A hub may tell any numbers.
        self.files.iter().filter_map(|file| file.bytes).fold(0, u64::saturating_add)
    }
}

/// What step 6 found.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) agreement: Agreement,
    /// What the model was asked.
    pub(crate) question: &'static str,
    /// The answer, or why the question was not asked.
    pub(crate) answer: std::result::Result<Answer, String>,
}

/// How well `prefill` and `infer` agree on the same tokens.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// What came of a prompt.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) prompt_ids: Vec<u32>,
    pub(crate) ids: Vec<u32>,
    /// `None` where there is no tokenizer.
    pub(crate) text: Option<String>,
    /// Why it ended; `None` where it was stopped.
    pub(crate) end: Option<End>,
    /// How many tokens of the prompt did not have to be run.
    pub(crate) reused: usize,
    /// How many earlier questions and answers had to leave the prompt.
    pub(crate) forgotten: usize,
    pub(crate) sampling: Sampling,
    pub(crate) times: Times,
}

/// How long an answer took, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// All tokens of the prompt that had to be run, but the last.
    pub(crate) prefill: f64,
    /// From the question to the first token of the answer, where it has one.
    pub(crate) first_token: Option<f64>,
    /// The last token of the prompt, and the answer.
    pub(crate) decode: f64,
}

impl Answer {
    /// Tokens a second; `None` where there were none, as for all rates.
    pub(crate) fn prefill_rate(&self) -> Option<f64> {
        rate(self.prompt_ids.len().saturating_sub(1 + self.reused), self.times.prefill)
    }

    pub(crate) fn decode_rate(&self) -> Option<f64> {
        rate(self.ids.len(), self.times.decode)
    }
}

fn rate(tokens: usize, seconds: f64) -> Option<f64> {
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_plan_belong_to_the_packages_that_they_are_in() {
        let file = |name: &str, bytes| File { name: name.to_owned(), bytes };
        let plan = [
            file("a.mlpackage/b", Some(2)),
            file("a.mlpackage/a/c", Some(3)),
            file("b.mlmodelc/x", None),
            file("b.mlmodelc/y", Some(1)),
            file("meta.yaml", Some(7)),
        ];
        let outputs = Output::planned(Path::new("out"), &plan);
        let found: Vec<_> = outputs
            .iter()
            .map(|o| (o.path.to_str().unwrap(), o.bytes, o.files.iter().map(|f| f.name.as_str()).collect()))
            .collect::<Vec<(&str, Option<u64>, Vec<&str>)>>();
        assert_eq!(
            found,
            [
                ("out/a.mlpackage", Some(5), vec!["b", "a/c"]),
                ("out/b.mlmodelc", None, vec!["x", "y"]),
                ("out/meta.yaml", Some(7), vec![]),
            ]
        );
    }

    #[test]
    fn a_rate_needs_tokens_and_time() {
        assert_eq!((rate(6, 2.0), rate(0, 2.0), rate(6, 0.0)), (Some(3.0), None, None));
    }
}
