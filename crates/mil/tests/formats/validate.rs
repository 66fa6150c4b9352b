//! The programs of `tests/invalid` break a rule each; those of `tests/valid` break none.
//!
//! `// error: TEXT` stands on the line before the offending one, in a function of its own.

use std::path::{Path, PathBuf};

use anelith_mil::text::{Dialect, parse, print};
use anelith_mil::{Error, Invalid, Program, validate};

use crate::shared;

fn programs(folder: &str) -> Vec<(PathBuf, String, Program)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a text");
        let program = parse(&text, &path.display().to_string()).unwrap_or_else(|e| panic!("{e}"));
        (path, text, program)
    };
    shared::entries(&folder).into_iter().map(read).collect()
}

/// An expected error: the function, what is on the offending line, and a part of the message.
#[derive(Debug)]
struct Expected<'a> {
    function: &'a str,
    line: &'a str,
    problem: &'a str,
}

fn expectations(text: &str) -> Vec<Expected<'_>> {
    let mut function = "";
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (i, line) in lines.iter().enumerate() {
        if let Some(rest) = line.strip_prefix("func ") {
            function = rest.split('<').next().expect("a name");
        }
        if let Some(problem) = line.strip_prefix("// error: ") {
            found.push(Expected { function, line: lines.get(i + 1).expect("an offending line"), problem });
        }
    }
    found
}

impl Expected<'_> {
    /// Whether `broken` is this error: in this function, at the op or the returns of the offending line.
    fn is(&self, broken: &Invalid) -> bool {
        let name = self.line.split("name = string(\"").nth(1).and_then(|rest| rest.split('"').next());
        let place = name.map_or("output".to_owned(), |name| format!("op `{name}`"));
        broken.function == self.function
            && broken.at.starts_with(&place)
            && broken.to_string().contains(self.problem)
    }
}

#[test]
fn each_broken_rule_is_found_where_it_is_broken() {
    for (path, text, program) in programs("invalid") {
        let expected = expectations(&text);
        assert_eq!(expected.len(), program.functions.len(), "{}: an error a function", path.display());
        let found = validate(&program).expect_err("a broken rule");
        for expected in expected {
            let is_found = found.iter().any(|broken| expected.is(broken));
            assert!(is_found, "{}: {expected:#?}\nfound {}", path.display(), Error::from(found));
        }
        assert_eq!(found.len(), program.functions.len(), "{}: {}", path.display(), Error::from(found));
    }
}

#[test]
fn what_breaks_no_rule_is_valid() {
    for (path, _, program) in programs("valid") {
        validate(&program).unwrap_or_else(|e| panic!("{}: {}", path.display(), Error::from(e)));
    }
}

#[test]
fn printed_programs_parse_to_themselves() {
    for (path, _, program) in programs("valid").into_iter().chain(programs("invalid")) {
        // Once printed, the order of inputs is that of their names.
        let program = parse(&print(&program, Dialect::V1_3), "printed").unwrap_or_else(|e| panic!("{e}"));
        for dialect in [Dialect::V1_0, Dialect::V1_3] {
            let again = parse(&print(&program, dialect), "printed").unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(again, program, "{}", path.display());
        }
    }
}
