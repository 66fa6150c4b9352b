//! Step 0: what can be said before work begins.
//!
//! The checks that protect the numbers (config, tensors, quantized weights) are part of opening the checkpoint
//! and planning, and cannot be skipped. Those here look at disk, memory, sizes and the tokenizer files.

use std::fs;
use std::path::{Path, PathBuf};

use anelith_checkpoint::{Checkpoint, tokenizer_files};
use anelith_mil::{disk, package};
use anelith_report::{Report, Reported};

use crate::error::{Error, Result, io};
use crate::leftovers::leftovers;
use crate::lock::LOCK_FILE;
use crate::options::Options;
use crate::parts::Plan;
use crate::record::{RECORD_FILE, Record};
use crate::step::{Outputs, Step};
use crate::target::resolved;

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
    if resolved(&options.model)? != resolved(&options.output)? {
        return Ok(());
    }
    let report = Report::new("the output directory is the model directory").at("--output");
    let report = report.expecting("a directory of its own").finding(options.output.display());
    Err(Error::Usage(report.mending("choose another directory for --output")))
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
        // The lock stays where a run has stopped before it could leave a record.
        n == RECORD_FILE
            || n == LOCK_FILE
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
    let outputs = Outputs::new(&options.output, options.prefix(config.architecture));
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
        free_space(&options.output, &weight_files(&outputs), plan)?,
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

/// Where the outputs hold the weights.
fn weight_files(outputs: &Outputs) -> [PathBuf; 4] {
    [Step::Infer, Step::Prefill, Step::Combine, Step::Compile].map(|step| match step {
        Step::Compile => outputs.path(step).join("weights/weight.bin"),
        _ => package::weights_path(&outputs.path(step)),
    })
}

/// Room for the weights that are not there yet, once where the outputs can share them, and for everything else.
fn free_space(output: &Path, weight_files: &[PathBuf; 4], plan: &Plan<'_>) -> Result<Finding> {
    let weights = plan.weights.layout().file_len();
    let is_there = |path: &&PathBuf| fs::metadata(path).is_ok_and(|m| m.len() == weights);
    let lacking = weight_files.len() as u64 - weight_files.iter().filter(is_there).count() as u64;
    let existing = output.ancestors().find(|p| p.exists() && !p.as_os_str().is_empty());
    let place = existing.unwrap_or(Path::new("."));
    let available = fs4::available_space(place).map_err(io("find the free space of", place))?;
    let (needed, must_copy) = room(weights, lacking, available, || disk::can_share(place));
    let found = format!("{} free", megabytes(available));
    if available >= needed {
        return Ok(Finding { subject: "disk", found, warning: None });
    }
    let why = if must_copy { ", as this disk can share no files" } else { "" };
    let report = Report::new("the disk has no room for the outputs").at(place.display());
    let report = report.expecting(format!("{} free{why}", megabytes(needed))).finding(found);
    Err(Error::Machine(report.mending("free some space, or choose another --output")))
}

/// How many bytes `lacking` files of `weights` bytes need where `available` are free, and whether that is because they
/// cannot share their bytes. Whether they can is asked only where the answer makes a difference.
fn room(weights: u64, lacking: u64, available: u64, can_share: impl FnOnce() -> Option<bool>) -> (u64, bool) {
    let total = |files: u64| weights.saturating_mul(files).saturating_add(64 << 20);
    let (once, copied) = (total(lacking.min(1)), total(lacking));
    let must_copy = (once..copied).contains(&available) && can_share() == Some(false);
    (if must_copy { copied } else { once }, must_copy)
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
    fn weights_count_as_often_as_the_disk_must_hold_them() {
        const MB: u64 = 1 << 20;
        let asked = |available, can_share| room(100 * MB, 4, available, || can_share);
        assert_eq!(asked(200 * MB, Some(true)), (164 * MB, false));
        assert_eq!(asked(200 * MB, None), (164 * MB, false));
        assert_eq!(asked(200 * MB, Some(false)), (464 * MB, true));
        for (lacking, available) in [(4, 500 * MB), (4, 100 * MB), (1, 150 * MB), (0, 0)] {
            room(100 * MB, lacking, available, || {
                panic!("{lacking} files, {available} bytes: nothing to ask")
            });
        }
        assert_eq!(room(100 * MB, 0, 0, || None), (64 * MB, false), "all are there");
    }

    #[test]
    fn available_memory_is_read_in_kilobytes() {
        let meminfo = "MemTotal:  16 kB\nMemFree:  1 kB\nMemAvailable:    8123456 kB\n";
        assert_eq!(available_memory(meminfo), Some(8_123_456 * 1024));
        for other in ["", "MemAvailable: 12 MB", "MemAvailable: 99999999999999999999 kB"] {
            assert_eq!(available_memory(other), None, "{other}");
        }
    }
}
