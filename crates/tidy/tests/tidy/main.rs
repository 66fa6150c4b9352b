//! Reads the whole workspace as text and holds it against the rules that CONTRIBUTING.md states.
//!
//! A failure is one line for each fault: the place, the rule that it breaks, and what to do.

mod documents;
mod layers;
mod size;
mod source;
mod words;
mod workspace;

use source::Source;

/// One place that breaks a rule.
struct Fault {
    path: String,
    /// Counted from one; 0 stands for the file as a whole.
    line: usize,
    /// The rule and how it is broken.
    what: String,
    /// What to do about it.
    mend: &'static str,
}

impl Fault {
    fn new(path: &str, line: usize, what: impl Into<String>, mend: &'static str) -> Fault {
        Fault { path: path.to_owned(), line, what: what.into(), mend }
    }
}

/// An exception to a rule.
struct Exemption {
    /// The beginning of the path.
    path: &'static str,
    /// What inside the file: a function, a word; empty for the file.
    item: &'static str,
    reason: &'static str,
}

/// Fails with a line for each fault, unless there is none.
fn report(rule: &str, faults: &[Fault]) {
    let lines: Vec<String> =
        faults.iter().map(|f| format!("{}:{}: {}; {}", f.path, f.line, f.what, f.mend)).collect();
    assert!(faults.is_empty(), "{rule}: {} faults\n{}", faults.len(), lines.join("\n"));
}

/// The faults that no exemption covers, and one for each exemption that covers nothing.
fn except(found: Vec<(String, Fault)>, exemptions: &[Exemption]) -> Vec<Fault> {
    let covers = |e: &Exemption, item: &str, fault: &Fault| fault.path.starts_with(e.path) && e.item == item;
    let mut stale: Vec<Fault> = exemptions
        .iter()
        .filter(|e| !found.iter().any(|(item, fault)| covers(e, item, fault)))
        .map(|e| {
            let what = format!("an exemption covers nothing: `{}` ({})", e.item, e.reason);
            Fault::new(e.path, 0, what, "remove it from the list")
        })
        .collect();
    let open = |(item, fault): (String, Fault)| {
        let covered = exemptions.iter().any(|e| covers(e, &item, &fault));
        (!covered).then_some(fault)
    };
    stale.extend(found.into_iter().filter_map(open));
    stale
}

#[test]
fn every_rust_file_says_what_it_is() {
    let silent = source::all().into_iter().filter(|s| !s.text.starts_with("//! "));
    let mend = "begin it with `//! ` and what the file is";
    let faults: Vec<Fault> =
        silent.map(|s| Fault::new(&s.path, 1, "the file does not say what it is", mend)).collect();
    report("file documentation", &faults);
}

#[test]
fn no_module_is_a_drawer() {
    let drawer = |s: &Source| {
        s.path
            .split(['/', '.'])
            .any(|p| matches!(p, "util" | "utils" | "helper" | "helpers" | "common" | "misc"))
    };
    let mend = "name it by what it holds";
    let faults: Vec<Fault> = source::all()
        .iter()
        .filter(|s| drawer(s))
        .map(|s| Fault::new(&s.path, 0, "the name says nothing about the content", mend))
        .collect();
    report("module names", &faults);
}
