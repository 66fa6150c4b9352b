//! Files and functions stay small enough to be read at once.

use crate::source::{self, Source, end_of_item};
use crate::{Exemption, Fault, except, report};

/// Lines of a file that are not tests.
const FILE_CEILING: usize = 600;

/// Lines of tests inside a file of program.
const INLINE_TESTS_CEILING: usize = 200;

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_CEILING: usize = 80;

const LONG_FILES: &[Exemption] = &[];

const LONG_FUNCTIONS: &[Exemption] = &[];

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for source in source::all() {
        let program = source.is_test.iter().filter(|t| !**t).count();
        let tests = source.is_test.len() - program;
        let mut fault = |what: String, mend| {
            found.push((String::new(), Fault::new(&source.path, 0, what, mend)));
        };
        if program > FILE_CEILING {
            fault(format!("{program} lines, at most {FILE_CEILING}"), "split it by what its parts do");
        }
        if program > 0 && tests > INLINE_TESTS_CEILING {
            let what = format!("{tests} lines of tests inside, at most {INLINE_TESTS_CEILING}");
            fault(what, "move them to tests.rs in the module's own directory");
        }
    }
    report("size of files", &except(found, LONG_FILES));
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for source in source::all() {
        for (name, line, length) in functions(&source) {
            if length > FUNCTION_CEILING {
                let what = format!("`{name}` has {length} lines, at most {FUNCTION_CEILING}");
                let mend = "take out what has a name of its own";
                found.push((name, Fault::new(&source.path, line, what, mend)));
            }
        }
    }
    report("size of functions", &except(found, LONG_FUNCTIONS));
}

/// Name, first line and number of lines of each function with a body.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(at) = words.iter().position(|w| *w == "fn") else { continue };
        let only_qualifiers = words[..at].iter().all(|w| {
            w.starts_with("pub") || w.ends_with(')') || matches!(*w, "const" | "unsafe" | "async" | "extern")
        });
        if let Some(name) = words.get(at + 1).filter(|_| only_qualifiers) {
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push((name, i + 1, end_of_item(&lines, i) - i + 1));
        }
    }
    found
}

#[test]
fn a_function_reaches_to_its_own_brace() {
    let text = "pub(crate) const fn a(x: [u8; 2]) -> u8 {\n    if x { 1 } else { 2 }\n}\nfn b();\nlet f: fn(u8) = a;\n";
    let source = Source::new("crates/a/src/b.rs".into(), text.into());
    assert_eq!(functions(&source), [("a".into(), 1, 3), ("b".into(), 4, 1)]);
}
