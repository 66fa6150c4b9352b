//! Results as JSON for programs; `docs/json.md` says what the keys mean.
//!
//! What a clock says stands under keys that end in `seconds` or `per_second`. Free disk and memory are in what step 0
//! found; all else is the same in every run that does the same.

use anelith_chat::End;
use anelith_convert::{Action, Component, ComponentReport, File, Finding, Group, Lut, Step, WeightReport};
use serde_json::{Value, json};

use crate::failure::Result;
use crate::results::{Answer, Chat, Conversion, Download, Output, Packaged, StepResult};
use crate::terminal::{report, warnings};

/// Prints a document on one line, with all that was warned of.
pub(crate) fn show(mut document: Value) -> Result<()> {
    document["warnings"] = json!(warnings());
    report(&format!("{document}\n"))
}

pub(crate) fn conversion(done: &Conversion) -> Value {
    let Conversion { options, outputs, .. } = done;
    let luts = options.luts();
    let output = |step: Step| {
        let result = done.steps.iter().find(|result| result.number == step.number());
        result.filter(|result| result.action.is_some()).map(|_| outputs.path(step).display().to_string())
    };
    json!({
        "dry_run": done.is_dry_run,
        "model": options.model.display().to_string(),
        "output": outputs.dir().display().to_string(),
        "architecture": done.architecture.to_string(),
        "prefix": outputs.prefix(),
        "context": options.context,
        "batch": options.batch,
        "argmax": options.argmax,
        "lut": {
            "embeddings": lut(luts.embeddings),
            "layers": lut(luts.layers),
            "lm_head": lut(luts.lm_head),
        },
        "package": output(Step::Combine),
        "bundle": output(Step::Compile),
        "meta": output(Step::Describe),
        "check": done.check.as_ref().map(|found| found.iter().map(finding).collect::<Vec<_>>()),
        "steps": done.steps.iter().map(step).collect::<Vec<_>>(),
        "weight_bytes": done.weight_bytes,
        "weights": done.weights.as_ref().map(weights),
        "chat": done.chat.as_ref().map(chat),
    })
}

fn lut(lut: Lut) -> Value {
    let group = lut.group().map(|group| match group {
        Group::Channels(channels) => json!(channels),
        Group::Tensor => json!("tensor"),
    });
    json!({ "bits": lut.bits(), "group": group })
}

fn finding(finding: &Finding) -> Value {
    json!({ "subject": finding.subject, "found": finding.found, "warning": finding.warning })
}

fn step(step: &StepResult) -> Value {
    let action = match step.action {
        Some(Action::Build) => "run",
        Some(Action::Reuse) => "reuse",
        Some(Action::Separate) => "copy",
        Some(Action::Recheck) => "recheck",
        None => "skip",
    };
    json!({
        "step": step.number,
        "title": step.title,
        "action": action,
        "seconds": step.seconds,
        "outputs": step.outputs.iter().map(output).collect::<Vec<_>>(),
    })
}

fn output(output: &Output) -> Value {
    // Neither a plan nor a directory has them in an order of names.
    let mut files: Vec<&File> = output.files.iter().collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    json!({
        "path": output.path.display().to_string(),
        "bytes": output.bytes,
        "functions": output.functions,
        "files": files.into_iter().map(file).collect::<Vec<_>>(),
    })
}

fn file(file: &File) -> Value {
    json!({ "path": file.name, "bytes": file.bytes })
}

fn weights(report: &WeightReport) -> Value {
    let component = |c: &ComponentReport| {
        json!({
            "component": name(c.component),
            "bits": c.bits,
            "group": if c.per_tensor && c.bits.is_some() { json!("tensor") } else { json!(c.group) },
            "bytes_before": c.bytes_before,
            "bytes_after": c.bytes_after,
            "error_db": c.decibels,
        })
    };
    json!({
        "components": report.components.iter().map(component).collect::<Vec<_>>(),
        "regrouped": report.regrouped.iter().map(|r| json!({
            "tensor": r.name,
            "rows": r.rows,
            "group": r.used,
            "wanted": r.wanted,
        })).collect::<Vec<_>>(),
        "small": report.small.iter().map(|small| json!({
            "component": name(small.component),
            "tensors": small.tensors,
        })).collect::<Vec<_>>(),
    })
}

fn name(component: Component) -> &'static str {
    match component {
        Component::Embeddings => "embeddings",
        Component::Layers => "layers",
        Component::LmHead => "lm_head",
        Component::Other => "other",
    }
}

fn chat(chat: &Chat) -> Value {
    let agreement = json!({ "expected": chat.agreement.expected, "found": chat.agreement.found });
    let mut value = match &chat.answer {
        Ok(given) => answer(Some(chat.question), given),
        Err(_) => json!({ "prompt": chat.question }),
    };
    value["not_asked"] = json!(chat.answer.as_ref().err());
    value["prefill_and_infer"] = agreement;
    value
}

/// An answer to `prompt`, or to ids alone.
pub(crate) fn answer(prompt: Option<&str>, answer: &Answer) -> Value {
    let stop = answer.end.map(|end| match end {
        End::Stop => "stop_token",
        End::MaxTokens => "max_tokens",
        End::ContextFull => "context_full",
    });
    json!({
        "prompt": prompt,
        "prompt_ids": answer.prompt_ids,
        "answer": answer.text,
        "ids": answer.ids,
        "stop": stop,
        "prompt_tokens": answer.prompt_ids.len(),
        "reused_tokens": answer.reused,
        "tokens": answer.ids.len(),
        "sampling": answer.sampling.json(),
        "seed": (!answer.sampling.is_greedy()).then_some(answer.sampling.seed),
        "prefill_seconds": answer.times.prefill,
        "first_token_seconds": answer.times.first_token,
        "decode_seconds": answer.times.decode,
        "prefill_tokens_per_second": answer.prefill_rate(),
        "decode_tokens_per_second": answer.decode_rate(),
    })
}

pub(crate) fn packaged(done: Packaged) -> Value {
    let (action, seconds) = (Some(Action::Build), Some(done.seconds));
    let result = StepResult { action, seconds, outputs: vec![done.output], ..StepResult::skipped(done.step) };
    let mut value = step(&result);
    value["inputs"] = done.inputs.iter().map(|path| path.display().to_string()).collect();
    value
}

pub(crate) fn download(download: &Download) -> Value {
    json!({
        "dry_run": true,
        "download": {
            "endpoint": download.endpoint,
            "cache": download.cache.display().to_string(),
            "commit": download.commit,
            "bytes": download.bytes(),
            "files": download.files.iter().map(file).collect::<Vec<_>>(),
        },
    })
}
