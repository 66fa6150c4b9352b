//! Running the binary, and the demo model that most tests convert.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The answer that the demo model was trained to give to "Who are you?".
pub(crate) const ANSWER: &str = "I am Pebble, a tiny language model that lives in a single file.";

/// The model directory of the repository's demo.
pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-qwen3")
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Demands an exit status; the whole output stands in the failure.
    #[track_caller]
    pub(crate) fn status(self, expected: i32) -> Ran {
        assert_eq!(self.status, Some(expected), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Demands words on standard error.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Ran {
        assert!(self.stderr.contains(words), "`{words}` is not in:\n{}", self.stderr);
        self
    }

    /// Demands words on standard output.
    #[track_caller]
    pub(crate) fn prints(self, words: &str) -> Ran {
        assert!(self.stdout.contains(words), "`{words}` is not in:\n{}", self.stdout);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("anelith writes UTF-8");
        Ran { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// The binary with arguments, yet to be run. It reaches no hub, and finds nothing in the cache of whoever runs the test.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anelith"));
    command.args(arguments).stdin(Stdio::null());
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", "no-such-cache");
    for name in ["HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    command(arguments).output().expect("the binary runs").into()
}

/// Runs with `input` on standard input.
pub(crate) fn run_with_input<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
    let mut command = command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child.stdin.take().expect("it is piped").write_all(input).expect("the binary reads its input");
    child.wait_with_output().expect("the binary ends").into()
}

/// `COMMAND --model MODEL --output OUTPUT` and more.
pub(crate) fn arguments<'a>(
    words: &[&'a str],
    model: &'a Path,
    output: &'a Path,
    more: &[&'a str],
) -> Vec<&'a OsStr> {
    let places = ["--model".as_ref(), model.as_os_str(), "--output".as_ref(), output.as_os_str()];
    let words = words.iter().copied().map(OsStr::new);
    words.chain(places).chain(more.iter().copied().map(OsStr::new)).collect()
}

pub(crate) fn convert(model: &Path, output: &Path, more: &[&str]) -> Ran {
    run(arguments(&["convert"], model, output, more))
}

/// The demo, converted once for all tests that only read it.
pub(crate) fn converted() -> &'static Path {
    static CONVERTED: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = CONVERTED.get_or_init(|| {
        let dir = TempDir::new().expect("there is room for a directory");
        let path = dir.path().join("converted");
        convert(&demo(), &path, &[]).status(0);
        (dir, path)
    });
    path
}
