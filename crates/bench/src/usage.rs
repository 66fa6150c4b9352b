//! What a process takes: time, processor time, memory at its peak.
//!
//! The kernel tells of finished children only, and of memory only the largest among all of them. So every process to be
//! measured is the one child of a fresh process of this program, `measure`, whose own memory is a few MB.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a process took.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// From its start to its end, in seconds.
    pub(crate) wall: f64,
    /// Of all its threads, in the kernel too, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that was resident at once in bytes, pages of mapped files included.
    pub(crate) peak: u64,
}

/// Runs a program to its end through `measure`. What it says goes to `log`, and to the error if it fails.
pub(crate) fn run(program: &Path, arguments: &[&OsStr], log: &Path) -> Result<Usage> {
    let own = std::env::current_exe()
        .map_err(|source| Error::Io { what: "cannot find this program".into(), source })?;
    let output = Command::new(&own)
        .args(["measure".as_ref(), "--log".as_ref(), log.as_os_str(), "--".as_ref(), program.as_os_str()])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io("run", &own))?;
    if !output.status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n");
        let arguments: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        return Err(Error::Failed(format!("{} {} failed:\n{last}", program.display(), arguments.join(" "))));
    }
    let usage = serde_json::from_slice(&output.stdout);
    usage.map_err(|e| Error::Failed(format!("`measure` did not tell what it measured: {e}")))
}

/// In the fresh process: runs the command and tells what it took.
pub(crate) fn measure(command: &[std::ffi::OsString], log: &Path) -> Result<Usage> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Usage("`measure` needs a command".into()));
    };
    let out = File::create(log).map_err(Error::io("create", log))?;
    let err = out.try_clone().map_err(Error::io("open", log))?;
    let start = Instant::now();
    let mut child = Command::new(program);
    let status = child.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).status();
    let wall = start.elapsed().as_secs_f64();
    let status = status.map_err(Error::io("run", Path::new(program)))?;
    if !status.success() {
        return Err(Error::Failed(format!("{}: {status}", Path::new(program).display())));
    }
    let (cpu, peak) = children()?;
    Ok(Usage { wall, cpu: cpu.as_secs_f64(), peak })
}

/// Processor time and peak memory of the finished children of this process.
#[cfg(unix)]
fn children() -> Result<(Duration, u64)> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    let failed =
        |e| Error::Io { what: "cannot ask what a process took".into(), source: std::io::Error::from(e) };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(failed)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    let peak = u64::try_from(usage.max_rss()).unwrap_or(0) * unit;
    Ok((Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)), peak))
}

#[cfg(not(unix))]
fn children() -> Result<(Duration, u64)> {
    Err(Error::Usage("what a process takes can be measured on Unix only".into()))
}
