//! Step 0: what can be said before work begins.
//!
//! The checks that protect the numbers (config, tensors, quantized weights) are part of opening the checkpoint
//! and planning, and cannot be skipped. Those here look at disk, memory, sizes and the tokenizer files.

use std::fs;
use std::path::{Path, PathBuf};

use anelith_checkpoint::{Checkpoint, TokenizerFile, tokenizer_files};
use anelith_mil::disk::{self, Sharing};
use anelith_report::{Report, Reported};

use crate::error::{Error, Result, io};
use crate::leftovers::leftovers;
use crate::links::{Links, WEIGHT_STEPS, weight_file};
use crate::lock::{LOCK_FILE, Lock};
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
///
/// `written` says which of `WEIGHT_STEPS` will write their output.
pub(crate) fn findings(
    checkpoint: &Checkpoint,
    outputs: &Outputs,
    plan: &Plan<'_>,
    sharing: Sharing,
    written: impl FnOnce() -> Result<[bool; 4]>,
) -> Result<Vec<Finding>> {
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
        free_space(outputs, plan, sharing, written)?,
        memory(plan, &files)?,
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

/// The disk of the outputs, and what they take there.
struct Disk<'p> {
    place: &'p Path,
    available: u64,
    room: Room,
}

impl<'p> Disk<'p> {
    /// `written` says which of `WEIGHT_STEPS` will write their output; it is asked only where the answer makes a
    /// difference.
    fn of(
        outputs: &'p Outputs,
        weights: u64,
        sharing: Sharing,
        written: impl FnOnce() -> Result<[bool; 4]>,
    ) -> Result<Self> {
        let existing = outputs.dir().ancestors().find(|p| p.exists() && !p.as_os_str().is_empty());
        let place = existing.unwrap_or(Path::new("."));
        let available = fs4::available_space(place).map_err(io("find the free space of", place))?;
        let room = |written| Room::of(weights, replaceable(outputs, weights, sharing, written), written);
        let most = room([true; 4]);
        let room = if available < most.copied { room(written()?) } else { most };
        Ok(Disk { place, available, room })
    }

    fn refusal(&self, needed: u64, why: &str) -> Error {
        let report = Report::new("the disk has no room for the outputs").at(self.place.display());
        let report = report.expecting(format!("{} free{why}", megabytes(needed)));
        let report = report.finding(format!("{} free", megabytes(self.available)));
        Error::Machine(report.mending("free some space, or choose another --output"))
    }
}

/// Which outputs hold as many bytes as the new `weights`, which come free when that one is replaced. Of a file under
/// several names no byte comes free until the last of them is taken away.
fn replaceable(outputs: &Outputs, weights: u64, sharing: Sharing, written: [bool; 4]) -> [bool; 4] {
    let mut links = Links::default();
    let is_there = |path: PathBuf| fs::metadata(path).is_ok_and(|m| m.len() >= weights);
    let mut there = [false; 4];
    for ((there, step), is_written) in there.iter_mut().zip(WEIGHT_STEPS).zip(written) {
        let keeps_its_bytes = sharing == Sharing::Copy && links.is_linked(outputs, step);
        *there = is_there(weight_file(outputs, step)) && !keeps_its_bytes;
        if is_written {
            links.replace(outputs, step);
        }
    }
    there
}

/// Room for the weights of the steps that will be run, and for everything else.
fn free_space(
    outputs: &Outputs,
    plan: &Plan<'_>,
    sharing: Sharing,
    written: impl FnOnce() -> Result<[bool; 4]>,
) -> Result<Finding> {
    let disk = Disk::of(outputs, plan.weights.layout().file_len(), sharing, written)?;
    if sharing == Sharing::Copy && disk.available < disk.room.copied {
        return Err(
            disk.refusal(disk.room.copied, ", as --no-link keeps the outputs from sharing the weights")
        );
    }
    if disk.available < disk.room.once {
        return Err(disk.refusal(disk.room.once, ""));
    }
    let copied = megabytes(disk.room.copied);
    let warning = format!("enough where files can share their bytes; otherwise {copied} are needed");
    let warning = (disk.available < disk.room.copied).then_some(warning);
    Ok(Finding { subject: "disk", found: format!("{} free", megabytes(disk.available)), warning })
}

/// Refuses a disk that has room for the weights only once and cannot share their bytes, which is tried, under the lock
/// of the output directory, where it makes a difference.
pub(crate) fn copies_fit(
    outputs: &Outputs,
    plan: &Plan<'_>,
    written: impl FnOnce() -> Result<[bool; 4]>,
) -> Result<()> {
    let disk = Disk::of(outputs, plan.weights.layout().file_len(), Sharing::Link, written)?;
    if disk.available >= disk.room.copied {
        return Ok(());
    }
    let _lock = Lock::acquire(outputs.dir())?;
    match disk::can_share(outputs.dir()) {
        Some(false) => Err(disk.refusal(disk.room.copied, ", as this disk can share no files")),
        _ => Ok(()),
    }
}

/// How many bytes the outputs take while they are made.
#[derive(PartialEq, Eq, Debug)]
struct Room {
    /// Where they share the weights.
    once: u64,
    /// Where each has its own.
    copied: u64,
}

impl Room {
    /// For outputs that are `there` or not with as many bytes as the new `weights`, and will be `written` or not: what is
    /// written stands beside the old one until it takes its place.
    fn of(weights: u64, there: [bool; 4], written: [bool; 4]) -> Room {
        let outputs = || there.into_iter().zip(written);
        let missing = outputs().filter(|(there, written)| *written && !there).count() as u64;
        let replaced = u64::from(outputs().any(|(there, written)| written && there));
        // Programs and tokenizer; those of a small model are small, and those that are there take nothing.
        let rest = weights.saturating_add(16 << 20).min(64 << 20);
        let total =
            |files: u64| weights.saturating_mul(files).saturating_add(if files == 0 { 0 } else { rest });
        Room { once: total((missing + replaced).min(1)), copied: total(missing + replaced) }
    }
}

/// What reading a tokenizer takes for each byte of its files.
const BYTES_PER_TOKENIZER_BYTE: u64 = 14;

/// What an op takes while programs are combined, when each is in memory in several forms.
const BYTES_PER_OP: u64 = 16 << 10;

/// Memory for the pieces of the weights that are in work, for the programs, and for everything else.
fn memory(plan: &Plan<'_>, tokenizer: &[TokenizerFile]) -> Result<Finding> {
    let functions = [&plan.infer, &plan.prefill].into_iter().flat_map(|model| &model.program.functions);
    let ops: u64 = functions.map(|function| function.ops.len() as u64).sum();
    // The tokenizer is done with before the weights begin, and these before the programs are combined.
    let tokenizer: u64 = tokenizer.iter().filter_map(|file| Some(fs::metadata(&file.path).ok()?.len())).sum();
    let stages = [tokenizer * BYTES_PER_TOKENIZER_BYTE, plan.weights.working_bytes(), ops * BYTES_PER_OP];
    let needed = stages.into_iter().max().unwrap_or(0) + (32 << 20);
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(available) = available_memory(&text) else {
        let found = format!("{} needed, unknown how much is free", megabytes(needed));
        return Ok(Finding { subject: "memory", found, warning: None });
    };
    if available < needed {
        let report = Report::new("the machine has no memory for the conversion").at("/proc/meminfo");
        let report = report.expecting(format!("{} available", megabytes(needed)));
        let report = report.finding(format!("{} available", megabytes(available)));
        return Err(Error::Machine(report.mending("end other programs, or give --threads a smaller number")));
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
        const NONE: [bool; 4] = [false; 4];
        const ALL: [bool; 4] = [true; 4];
        for (there, written, once, copied, why) in [
            (NONE, ALL, 164, 464, "a first run"),
            (ALL, ALL, 164, 164, "the new one stands beside the old one, each in its turn"),
            ([true, true, false, false], ALL, 164, 364, "two are new, and one old one stands beside them"),
            (ALL, NONE, 0, 0, "all are reused"),
            ([true, true, true, false], [false, false, false, true], 164, 164, "the last one is missing"),
        ] {
            let expected = Room { once: once * MB, copied: copied * MB };
            assert_eq!(Room::of(100 * MB, there, written), expected, "{why}");
        }
        assert_eq!(Room::of(MB, NONE, ALL), Room { once: 18 * MB, copied: 21 * MB }, "a small model");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_under_several_names_come_free_with_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(dir.path(), "a");
        let files = WEIGHT_STEPS.map(|step| weight_file(&outputs, step));
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        fs::write(&files[0], [0; 10]).unwrap();
        files[1..].iter().for_each(|file| fs::hard_link(&files[0], file).unwrap());
        let there = |weights, sharing, written| replaceable(&outputs, weights, sharing, written);
        const ALL: [bool; 4] = [true; 4];
        assert_eq!(there(10, Sharing::Copy, ALL), [false, false, false, true]);
        assert_eq!(there(10, Sharing::Copy, [true, true, true, false]), [false, false, false, true]);
        assert_eq!(there(10, Sharing::Copy, [false, false, false, true]), [false; 4]);
        assert_eq!(there(11, Sharing::Copy, ALL), [false; 4], "too few");
        assert_eq!(there(10, Sharing::Link, ALL), ALL);
        disk::copy_file(&files[1], &files[1], &|_| true).unwrap();
        fs::remove_file(&files[2]).unwrap();
        assert_eq!(there(10, Sharing::Copy, ALL), [false, true, false, true]);
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
