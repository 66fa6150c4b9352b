//! Runs that are stopped midway: by Ctrl-C, which cleans up, and by kill, which cannot.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use tempfile::TempDir;

use crate::anelith::{arguments, command, convert, converted, run};
use crate::checkpoint::Model;
use crate::files::{assert_same, contents};

/// Step 1 on a model that keeps it busy for seconds, to be interrupted.
struct Slow {
    model: Model,
    output: TempDir,
}

impl Slow {
    fn new() -> Slow {
        Slow { model: Model::demo().with_vocabulary(1 << 14), output: TempDir::new().unwrap() }
    }

    fn arguments(&self) -> Vec<&std::ffi::OsStr> {
        arguments(&["convert"], self.model.path(), self.output.path(), &["--only", "1", "--lut", "8"])
    }

    /// A process that has begun to write.
    fn start(&self) -> (Child, BufReader<ChildStderr>) {
        let mut command = command(self.arguments());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("step 1") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the run ended before step 1");
        }
        (child, stderr)
    }
}

fn signal(name: &str, child: &Child) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn names(dir: &Path) -> Vec<String> {
    contents(dir).into_keys().collect()
}

#[test]
fn an_interrupted_run_cleans_up() {
    let slow = Slow::new();
    for name in ["-INT", "-TERM"] {
        let (mut child, mut stderr) = slow.start();
        signal(name, &child);
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
        assert!(rest.contains("error: interrupted"), "{rest}");
        assert_eq!(names(slow.output.path()), [""; 0]);
    }
}

#[test]
fn a_killed_run_is_taken_up_by_the_same_command() {
    let slow = Slow::new();
    let (mut child, _stderr) = slow.start();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!slow.output.path().join("qwen_monolithic.mlpackage").exists());
    run(slow.arguments()).status(0);
    let killed: Vec<String> = names(slow.output.path());
    assert!(!killed.iter().any(|name| name.contains(".partial")), "{killed:?}");
    let undisturbed = TempDir::new().unwrap();
    convert(slow.model.path(), undisturbed.path(), &["--only", "1", "--lut", "8"]).status(0);
    assert_same(undisturbed.path(), slow.output.path());
}

/// The piece of work of a table for a whole tensor is the longest that there is.
#[test]
fn an_interrupted_run_ends_in_the_midst_of_a_piece() {
    let model = Model::demo().with_vocabulary(1 << 15);
    let output = TempDir::new().unwrap();
    let whole = ["--only", "1", "--lut", "8,tensor"];
    let mut child = command(arguments(&["convert"], model.path(), output.path(), &whole));
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("step 1") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the run ended before step 1");
    }
    signal("-TERM", &child);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert_eq!(rest.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{rest}");
    assert_eq!(names(output.path()), [""; 0]);
}

#[test]
fn ctrl_c_between_questions_from_a_pipe_ends_the_chat() {
    let mut command = command(["chat", "--meta", converted().to_str().unwrap(), "--full"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // An answer shows that the model is loaded and the next question awaited.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Who are you?\n").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut answer = String::new();
    stdout.read_line(&mut answer).unwrap();
    signal("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{answer}");
    // Until here: the end of either would end the chat as well.
    drop((stdin, stdout));
}
