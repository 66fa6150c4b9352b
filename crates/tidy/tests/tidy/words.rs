//! Words that must not occur: `unsafe` outside its places, printing below the command line, notes to self.

use crate::source::{self, Source};
use crate::workspace;
use crate::{Exemption, Fault, except, report};

/// Where `unsafe` may stand.
const UNSAFE: &[Exemption] = &[Exemption {
    path: "crates/mil/src/blob/map.rs",
    item: "",
    reason: "the one place that maps a file into memory",
}];

#[test]
fn unsafe_has_an_address() {
    let mut found = Vec::new();
    let allowed_by_rule = |s: &Source| s.path.starts_with("crates/runtime/src/kernels");
    for source in source::all().iter().filter(|s| !allowed_by_rule(s)) {
        for (i, line) in source.code.lines().enumerate() {
            if words(line).any(|w| matches!(w, "unsafe" | "unsafe_code")) {
                let mend = "find the safe way; only kernels and the mapping of files do without";
                found.push((String::new(), Fault::new(&source.path, i + 1, "`unsafe`", mend)));
            }
        }
    }
    report("unsafe", &except(found, UNSAFE));
}

#[test]
fn only_the_command_prints() {
    let mut faults = Vec::new();
    for source in source::all() {
        for (line, code) in source.program_lines() {
            let printing = ["println!", "eprintln!", "print!", "eprint!"].iter().find(|m| calls(code, m));
            if let Some(macro_name) = printing.filter(|_| !source.path.starts_with("crates/cli/")) {
                let mend = "return it, or tell it to a `Progress`; only `cli` prints";
                faults.push(Fault::new(&source.path, line, format!("a library calls `{macro_name}`"), mend));
            }
        }
    }
    report("printing", &faults);
}

#[test]
fn nothing_is_left_for_later() {
    let macros = ["todo!", "unimplemented!", "dbg!"];
    let notes = ["TODO", "FIXME", "XXX", "HACK"];
    let mut faults = Vec::new();
    for source in source::all() {
        for (i, code) in source.code.lines().enumerate() {
            let name = macros.iter().find(|m| calls(code, m)).copied();
            let ignored = code.contains("#[ignore").then_some("#[ignore]");
            if let Some(name) = name.or(ignored) {
                faults.push(Fault::new(&source.path, i + 1, format!("`{name}`"), "finish it or take it out"));
            }
        }
        for (i, comment) in source.comments.lines().enumerate() {
            if let Some(note) = words(comment).find(|w| notes.contains(w)) {
                let mend = "do it now, or open an issue and take the note out";
                faults.push(Fault::new(&source.path, i + 1, format!("a note to self: `{note}`"), mend));
            }
        }
    }
    report("unfinished work", &faults);
}

/// Beginnings of absolute paths that lead to somebody's machine.
const MACHINES: [&str; 7] = ["home", "root", "Users", "opt", "mnt", "srv", "work"];

#[test]
fn no_path_leads_to_a_workplace() {
    let written = |path: &str| {
        let known = ["rs", "md", "toml", "py", "sh", "swift", "yml", "yaml"];
        let plain = !path.rsplit('/').next().unwrap_or(path).contains('.');
        plain || known.iter().any(|e| path.ends_with(&format!(".{e}")))
    };
    let mut faults = Vec::new();
    for (path, text) in workspace::files(written) {
        for (i, line) in text.lines().enumerate() {
            if let Some(found) = machine_path(line) {
                let what = format!("an absolute path: {found}");
                faults.push(Fault::new(&path, i + 1, what, "make it relative to the repository"));
            }
        }
    }
    report("absolute paths", &faults);
}

/// An absolute path into somebody's machine: one that begins where no word ends.
fn machine_path(line: &str) -> Option<String> {
    line.match_indices('/').find_map(|(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| {
            c.is_alphanumeric() || matches!(c, '.' | '/' | '_' | '-' | '~' | '}' | ')' | '*')
        }) {
            return None;
        }
        let rest = &line[at + 1..];
        let name = rest.split('/').next()?;
        (MACHINES.contains(&name) && rest.len() > name.len()).then(|| format!("/{name}/..."))
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty())
}

/// Whether `code` calls the macro, and not one whose name only ends the same.
fn calls(code: &str, macro_name: &str) -> bool {
    code.match_indices(macro_name)
        .any(|(at, _)| !code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_'))
}

#[test]
fn a_relative_path_is_no_workplace() {
    assert_eq!(machine_path("see ../home/x, a/srv/y and https://a.b/opt/c"), None);
    assert!(machine_path(&format!("open(\"/{}/me/x\")", MACHINES[0])).is_some());
    assert!(!calls("eprintln!()", "println!") && calls("std::println!()", "println!"));
}
