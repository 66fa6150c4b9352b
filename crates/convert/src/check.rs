//! Step 0: what can be said before work begins.
//!
//! The checks that protect the numbers (config, tensors, quantized weights) are part of opening the checkpoint
//! and planning, and cannot be skipped. Those here look at disk, memory, sizes and the tokenizer files.

use std::fs;
use std::path::{Path, PathBuf};

use anelith_checkpoint::{Checkpoint, tokenizer_files};
use anelith_report::{Report, Reported};

use crate::error::{Error, Result, io};
use crate::leftovers::leftovers;
use crate::options::Options;
use crate::parts::Plan;
use crate::record::{RECORD_FILE, Record};
use crate::step::{Outputs, Step};

/// One line of the table of step 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// What was found.
    pub found: String,
    /// What the user should know, if anything.
    pub warning: Option<String>,
}

/// Weight files beyond this do not load on iPhones.
const IPHONE_LIMIT: u64 = 1_000_000_000;

/// Weight files beyond this do not load on the Neural Engine.
const NEURAL_ENGINE_LIMIT: u64 = 1 << 31;

/// Refuses an output directory that is the model directory.
pub(crate) fn output_is_not_model(options: &Options) -> Result<()> {
    let canonical = |path: &Path| path.canonicalize().ok();
    let (model, output) = (canonical(&options.model), canonical(&options.output));
    if model.is_none() || model != output {
        return Ok(());
    }
    let report = Report::new("the output directory is the model directory").at("--output");
    Err(Error::Usage(
        report.finding(options.output.display()).mending("choose another directory for --output"),
    ))
}

/// Refuses an output directory in which another model lies: files would be replaced that no conversion has made.
pub(crate) fn output_is_ours(checkpoint: &Checkpoint, outputs: &Outputs) -> Result<()> {
    let Some(foreign) = foreign_file(checkpoint, outputs)? else { return Ok(()) };
    let report = Report::new("the output directory holds files of another model").at("--output");
    let report = report.expecting("an empty directory, or an earlier conversion").finding(foreign.display());
    Err(Error::Usage(report.mending("choose another directory for --output")))
}

/// The first file in the output directory that is of a model and that no conversion has made.
fn foreign_file(checkpoint: &Checkpoint, outputs: &Outputs) -> Result<Option<PathBuf>> {
    let dir = outputs.dir();
    if !dir.is_dir() {
        return Ok(None);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io("read", dir))? {
        names.push(entry.map_err(io("read", dir))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let made_here = |n: &String| {
        n == RECORD_FILE
            || n == &outputs.name(Step::Describe)
            || n.contains("_monolithic") && (n.ends_with(".mlpackage") || n.ends_with(".mlmodelc"))
    };
    let is_ours = names.iter().any(made_here);
    let is_model = |n: &&String| {
        n.ends_with(".safetensors") || !is_ours && ["config.json", "tokenizer.json"].contains(&n.as_str())
    };
    if let Some(name) = names.iter().find(is_model) {
        return Ok(Some(dir.join(name)));
    }
    // Step 5 removes what an earlier one has copied; of other files nobody knows whose they are.
    let is_described = Record::open(dir).has(outputs, Step::Describe);
    Ok(leftovers(checkpoint, dir).into_iter().find(|_| !is_described))
}

/// The table of step 0.
pub(crate) fn findings(checkpoint: &Checkpoint, options: &Options, plan: &Plan<'_>) -> Result<Vec<Finding>> {
    let config = &checkpoint.config;
    let files = tokenizer_files(&checkpoint.dir)?;
    let names: Vec<&str> = files.iter().map(|f| f.name).collect();
    let finding = |subject, found| Finding { subject, found, warning: None };
    Ok(vec![
        finding("architecture", config.architecture.to_string()),
        finding(
            "model",
            format!(
                "{} layers, hidden {}, vocabulary {}, {} tensors",
                config.num_hidden_layers,
                config.hidden_size,
                config.vocab_size,
                checkpoint.tensors.names().count()
            ),
        ),
        finding("tokenizer", names.join(", ")),
        weights(plan),
        disk(options, plan)?,
        memory(plan)?,
    ])
}

fn weights(plan: &Plan<'_>) -> Finding {
    let bytes = plan.weights.layout().file_len();
    let warning = if bytes > NEURAL_ENGINE_LIMIT {
        Some("beyond 2 GiB, the limit of the Neural Engine; use fewer bits")
    } else if bytes > IPHONE_LIMIT {
        Some("beyond 1 GB, which iPhones do not load; use fewer bits for iOS")
    } else {
        None
    };
    Finding { subject: "weight.bin", found: megabytes(bytes), warning: warning.map(str::to_owned) }
}

/// Room for the weights once, as the outputs share them, and for everything else.
fn disk(options: &Options, plan: &Plan<'_>) -> Result<Finding> {
    let needed = plan.weights.layout().file_len() + (64 << 20);
    let existing = options.output.ancestors().find(|p| p.exists() && !p.as_os_str().is_empty());
    let place = existing.unwrap_or(Path::new("."));
    let available = fs4::available_space(place).map_err(io("find the free space of", place))?;
    if available < needed {
        let report = Report::new("the disk has no room for the outputs").at(place.display());
        let report = report.expecting(format!("{} free", megabytes(needed)));
        let report = report.finding(format!("{} free", megabytes(available)));
        return Err(Error::Machine(report.mending("free some space, or choose another --output")));
    }
    Ok(Finding { subject: "disk", found: format!("{} free", megabytes(available)), warning: None })
}

/// Memory for the piece of the weights that is in work, and for everything else.
fn memory(plan: &Plan<'_>) -> Result<Finding> {
    let needed = plan.weights.working_bytes() + (128 << 20);
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(available) = available_memory(&text) else {
        let found = format!("{} needed, unknown how much is free", megabytes(needed));
        return Ok(Finding { subject: "memory", found, warning: None });
    };
    if available < needed {
        let report = Report::new("the machine has no memory for the conversion").at("/proc/meminfo");
        let report = report.expecting(format!("{} available", megabytes(needed)));
        let report = report.finding(format!("{} available", megabytes(available)));
        return Err(Error::Machine(report.mending("end other programs, or give --lut a group of channels")));
    }
    let found = format!("{} needed, {} available", megabytes(needed), megabytes(available));
    Ok(Finding { subject: "memory", found, warning: None })
}

/// What Linux says it can give to programs, in bytes; `None` for the text of another system.
fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_kilobytes() {
        let meminfo = "MemTotal:  16 kB\nMemFree:  1 kB\nMemAvailable:    8123456 kB\n";
        assert_eq!(available_memory(meminfo), Some(8_123_456 * 1024));
        for other in ["", "MemAvailable: 12 MB", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(available_memory(other), None, "{other}");
        }
    }
}
