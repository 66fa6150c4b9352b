//! llama.cpp on the same weights, through node.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::disk;
use crate::error::{Error, Result};
use crate::place::{self, Place};
use crate::run::runtime::cases::{THREADS, Workload};
use crate::usage;

/// What the peer is made of; any of it may be absent.
#[derive(Clone, Debug, Args)]
pub(crate) struct PeerArgs {
    /// The script that times llama.cpp [../shared/bench/llama_cpp.mjs]
    #[arg(long, value_name = "FILE")]
    llama_cpp: Option<PathBuf>,
    /// Where node-llama-cpp is installed [target/bench-node of the repository]
    #[arg(long, value_name = "DIR")]
    node: Option<PathBuf>,
    /// A Python with numpy and gguf [target/bench-venv/bin/python of the repository]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

impl PeerArgs {
    /// Makes the peer ready for a checkpoint, or says why there is none.
    pub(crate) fn prepare(&self, place: &Place, model: &Path) -> Result<std::result::Result<Peer, String>> {
        let or =
            |path: &Option<PathBuf>, usual: &str| path.clone().unwrap_or_else(|| place::root().join(usual));
        let script = or(&self.llama_cpp, "../shared/bench/llama_cpp.mjs");
        if !script.exists() {
            return Ok(Err("the script `llama_cpp.mjs` is absent".into()));
        }
        if !answers(Path::new("node")) {
            return Ok(Err("node is absent".into()));
        }
        let node = or(&self.node, "target/bench-node");
        let package = node.join("node_modules/node-llama-cpp/package.json");
        let Some(version) = fs::read_to_string(package).ok().and_then(|text| version(&text)) else {
            return Ok(Err("node-llama-cpp is not installed".into()));
        };
        let gguf = place.file("qwen3-x1.q4_0.gguf")?;
        let maker = place::root().join("bench/make_gguf.py");
        if !is_newer(&gguf, &[&model.join("model.safetensors"), &maker]) {
            // Not resolved: in a virtual environment the name decides what can be imported.
            let python = or(&self.python, "target/bench-venv/bin/python");
            if !answers(&python) {
                return Ok(Err("a Python with numpy and gguf, which makes its file, is absent".into()));
            }
            make_gguf(&python, &maker, model, &gguf, &place.file("gguf.log")?)?;
        }
        disk::warm(&gguf)?;
        // Beside the modules that it imports; as a new file, for what is copied may be read-only.
        let own = node.join("llama_cpp.mjs");
        let bytes = fs::read(&script).map_err(Error::io("read", &script))?;
        fs::write(&own, bytes).map_err(Error::io("write", &own))?;
        Ok(Ok(Peer { script: own, gguf, version, log: place.file("llama_cpp.log")? }))
    }
}

/// Whether a program is there and runs.
fn answers(program: &Path) -> bool {
    let silent = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    silent.is_ok_and(|status| status.success())
}

/// The version in a package.json.
fn version(text: &str) -> Option<String> {
    let package: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(package.get("version")?.as_str()?.to_owned())
}

/// Whether a file is there and no older than those it was made from.
fn is_newer(made: &Path, from: &[&Path]) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    let Some(made) = modified(made) else { return false };
    from.iter().all(|path| modified(path).is_some_and(|from| from <= made))
}

/// The file appears when it is whole.
fn make_gguf(python: &Path, maker: &Path, model: &Path, gguf: &Path, log: &Path) -> Result<()> {
    let partial = gguf.with_extension("partial");
    let arguments = [maker, model, model, &partial].map(Path::as_os_str);
    usage::run(python, &[&arguments[..], &[OsStr::new("Q4_0")]].concat(), log)?;
    fs::rename(&partial, gguf).map_err(Error::io("rename", &partial))
}

/// llama.cpp with a file that it can run.
#[derive(Debug)]
pub(crate) struct Peer {
    script: PathBuf,
    gguf: PathBuf,
    /// Of node-llama-cpp.
    pub(crate) version: String,
    log: PathBuf,
}

impl Peer {
    /// Runs one process.
    pub(crate) fn run(&self, workload: Workload) -> Result<Timed> {
        let numbers = [workload.prompt, workload.generate, THREADS, workload.repeats].map(|n| n.to_string());
        let mut arguments = vec![self.script.as_os_str(), self.gguf.as_os_str()];
        arguments.extend(numbers.iter().map(OsStr::new));
        let usage = usage::run(Path::new("node"), &arguments, &self.log)?;
        let text = fs::read_to_string(&self.log).map_err(Error::io("read", &self.log))?;
        let timed = parse(&text, usage.peak);
        timed.ok_or_else(|| Error::Failed(format!("what the script printed is not understood:\n{text}")))
    }
}

/// What llama.cpp took.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Timed {
    /// Seconds from the start of the script to the first token after a prompt of 8.
    pub(crate) first_token: f64,
    /// Tokens a second, of each repeat.
    pub(crate) prefill: Vec<f64>,
    /// Tokens a second, of each repeat.
    pub(crate) decode: Vec<f64>,
    /// The most memory that was resident at once.
    pub(crate) peak: u64,
}

/// `None` unless the lines have a first token and at least one repeat.
fn parse(text: &str, peak: u64) -> Option<Timed> {
    let after = |beginning: &str| -> Vec<f64> {
        let rests = text.lines().filter_map(|line| line.strip_prefix(beginning)?.split_whitespace().next());
        rests.filter_map(|number| number.parse().ok()).collect()
    };
    let milliseconds = *after("start to first token, prompt 8, ms ").first()?;
    let (prefill, decode) = (after("prefill tok/s "), after("decode tok/s "));
    let is_whole = !prefill.is_empty() && prefill.len() == decode.len();
    is_whole.then_some(Timed { first_token: milliseconds / 1e3, prefill, decode, peak })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_script_are_read() {
        let text = "[node-llama-cpp] a warning\nstart to first token, prompt 8, ms 3891\nprefill tok/s 109.4\n\
                    decode tok/s 24.07 64\nprefill tok/s 110.0\ndecode tok/s 23.90 64\n";
        let timed = parse(text, 7).expect("two repeats");
        let wanted =
            Timed { first_token: 3.891, prefill: vec![109.4, 110.0], decode: vec![24.07, 23.9], peak: 7 };
        assert_eq!(timed, wanted);
        assert_eq!(parse("start to first token, prompt 8, ms 3891\n", 7), None);
        assert_eq!(parse("prefill tok/s 109.4\ndecode tok/s 24.07 64\n", 7), None);
        assert_eq!(parse("start to first token, prompt 8, ms 3891\nprefill tok/s 109.4\n", 7), None);
    }

    #[test]
    fn what_is_older_than_its_source_is_made_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let [source, made] = ["source", "made"].map(|name| dir.path().join(name));
        fs::write(&source, "a").expect("a file");
        assert!(!is_newer(&made, &[&source]));
        fs::write(&made, "b").expect("a file");
        assert!(is_newer(&made, &[&source]));
        let later = fs::metadata(&made).and_then(|m| m.modified()).expect("a time")
            + std::time::Duration::from_secs(1);
        let file = fs::File::options().write(true).open(&source).expect("the file");
        file.set_modified(later).expect("a time can be set");
        assert!(!is_newer(&made, &[&source]));
        assert_eq!(version(r#"{"version": "3.22.1"}"#).as_deref(), Some("3.22.1"));
    }
}
