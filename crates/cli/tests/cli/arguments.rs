//! The command line itself: help, and flags and values that cannot be meant.

use tempfile::TempDir;

use crate::anelith::{convert, demo, run};

#[test]
fn every_help_has_an_example_and_the_exit_statuses() {
    let listed = run(["--help"]).status(0).stdout;
    let commands = listed.lines().skip_while(|line| *line != "Commands:").skip(1);
    let words = commands.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("    "));
    let names: Vec<&str> = words.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 14, "{names:?}");
    for command in names.into_iter().filter(|name| *name != "help") {
        let ran = run([command, "--help"])
            .status(0)
            .prints("Example")
            .prints("Exit status:")
            .prints("  130  interrupted");
        let is_example = |line: &&str| line.trim_start().starts_with(&format!("anelith {command} "));
        let examples: Vec<&str> = ran.stdout.lines().filter(is_example).collect();
        // A server reports over HTTP.
        let shows_json = command == "serve"
            || examples.iter().any(|line| line.split_whitespace().any(|word| word == "--json"));
        assert!(shows_json, "no example of {command} has --json: {examples:?}");
    }
    run(["--help"]).status(0).prints("convert").prints("Exit status:");
    run(["--version"]).status(0).prints("anelith ");
}

#[test]
fn usage_errors_name_the_option_and_write_nothing() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    for (flags, words) in [
        (&["--lut", "5"][..], "BITS is 1, 2, 3, 4, 6 or 8"),
        (&["--lut", "4,x"], "GROUP is a number of output channels"),
        (&["--lut", "4,-1"], "GROUP is a number of output channels"),
        (&["--lut", ""], "--lut"),
        (&["--context", "0"], "--context"),
        (&["--context", "many"], "--context"),
        (&["--context", "-1"], "-1"),
        (&["--context", "1025"], "at most 1024"),
        (&["--batch", "0"], "--batch"),
        (&["--batch", "513"], "1 to 512, the context"),
        (&["--batch", "99999999999999999999"], "--batch"),
        (&["--restart", "0"], "--restart"),
        (&["--restart", "7"], "--restart"),
        (&["--only", "0"], "--only"),
        (&["--only", "7"], "--only"),
        (&["--only", "2", "--restart", "2"], "--only"),
        (&["--until", "0"], "--until"),
        (&["--until", "7"], "--until"),
        (&["--until", "x"], "--until"),
        (&["--only", "2", "--until", "2"], "--until"),
        (&["--restart", "4", "--until", "3"], "--until stops before the step that --restart begins with"),
        (&["--threads", "0"], "0 is not in 1..=1024"),
        (&["--threads", "1025"], "1025 is not in 1..=1024"),
        (&["--threads", "99999999999999999999"], "--threads"),
        (&["--threads", "-1"], "-1"),
        (&["--threads", "1.5"], "--threads"),
        (&["--threads", "all"], "--threads"),
        (&["--threads", ""], "--threads"),
        (&["--prefix", ""], "--prefix"),
        (&["--prefix", "../x"], "--prefix"),
        (&["--prefix", ".x"], "--prefix"),
        (&["--context", "64", "--context-length", "64"], "--context"),
        (&["--static-prefill-slice"], "--static-prefill-slice is refused: "),
        (&["--single-cache"], "--single-cache is refused: "),
        (&["--allow-missing-weights"], "--allow-missing-weights is refused: "),
        (&["--lut-embeddings", "5"], "BITS is 1, 2, 3, 4, 6 or 8"),
        (&["--lut-lmhead", "4,x"], "GROUP is a number of output channels"),
        (&["--lut-lmhead", ""], "--lut-lmhead"),
        (&["--dry-run", "--batch", "513"], "1 to 512, the context"),
        (&["--json", "--batch", "513"], "1 to 512, the context"),
        (&["--json=yes"], "--json"),
        (&["--frobnicate"], "--frobnicate"),
        (&["stray"], "stray"),
    ] {
        let ran = convert(&demo(), &output, flags);
        assert_eq!(ran.status, Some(2), "{flags:?}: {}", ran.stderr);
        let is_error = |line: &str| line.starts_with("error: ");
        assert!(ran.stderr.lines().any(is_error), "{flags:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{flags:?}: {}", ran.stdout);
        ran.says(words);
    }
    assert!(!output.exists());
}

#[test]
fn what_is_required_is_asked_for() {
    let demo = demo();
    let demo = demo.to_str().unwrap();
    run(["convert"]).status(2).says("--model").says("--output");
    run(["convert", "--model", demo]).status(2).says("--output");
    run(["part", "--model", demo, "--output", "x"]).status(2).says("--part");
    run(["part", "--part", "half", "--model", demo, "--output", "x"]).status(2).says("monolithic_prefill");
    let phi = ["part", "--part", "monolithic", "--arch", "phi3", "--model", demo, "--output", "x"];
    run(phi).status(2).says("llama, qwen2, qwen3");
    run(["chat"]).status(2).says("--meta");
    run(["frobnicate"]).status(2).says("frobnicate");
    run::<&str>([]).status(2).says("Usage:");
}

#[test]
fn a_hub_id_is_told_from_a_path() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    run(["convert", "--model", "Qwen/Qwen3-0.6B", "--output", out]).status(3).says("offline");
    for path in ["./Qwen/Qwen3-0.6B", "no-such-model", "src/no-such-model"] {
        run(["convert", "--model", path, "--output", out])
            .status(3)
            .says(&format!("error: Model directory does not exist: {path}"));
    }
}

#[test]
fn the_output_may_not_be_the_model() {
    let dir = TempDir::new().unwrap();
    crate::files::copy(&demo(), dir.path());
    let before = crate::files::contents(dir.path());
    convert(dir.path(), dir.path(), &[]).status(2).says("the output directory is the model directory");
    convert(dir.path(), &dir.path().join("../").join(dir.path().file_name().unwrap()), &[]).status(2);
    assert!(crate::files::contents(dir.path()) == before);
}
