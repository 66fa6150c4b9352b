//! What the documentation names exists: files, and functions in them.

use crate::workspace;
use crate::{Fault, report};

#[test]
fn documents_name_only_what_exists() {
    let sources = workspace::files(|p| p.ends_with(".rs") || p.ends_with(".py"));
    let mut faults = Vec::new();
    for (path, text) in workspace::files(|p| p.ends_with(".md") && !p.starts_with("models/")) {
        for (i, line) in text.lines().enumerate() {
            let spans = line.split('`').skip(1).step_by(2);
            for span in spans.filter(|s| is_path(s)) {
                if let Some(what) = missing(span, &sources) {
                    faults.push(Fault::new(&path, i + 1, what, "name what is there now"));
                }
            }
        }
    }
    report("names in the documentation", &faults);
}

/// A path to a Rust file, perhaps with an item in it: `convert/pipeline.rs::Run`.
fn is_path(span: &str) -> bool {
    let file = span.split("::").next().unwrap_or(span);
    file.ends_with(".rs") && file.contains('/') && !span.contains(' ') && !file.contains("NAME")
}

/// What is wrong with a path. `convert/weights.rs` stands for `crates/convert/src/weights.rs`.
fn missing(span: &str, sources: &[(String, String)]) -> Option<String> {
    let (file, item) = span.split_once("::").unwrap_or((span, ""));
    let (first, rest) = file.split_once('/')?;
    let short = format!("crates/{first}/src/{rest}");
    let Some((_, text)) = sources.iter().find(|(p, _)| p == file || *p == short) else {
        return Some(format!("there is no file `{file}`"));
    };
    let item = item.rsplit("::").next().unwrap_or(item);
    let defines = |kind: &&str| {
        let definition = format!("{kind} {item}");
        text.match_indices(&definition).any(|(at, _)| {
            !text[at + definition.len()..].chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    let kinds = ["fn", "struct", "enum", "trait", "const", "type", "mod"];
    let there = item.is_empty() || kinds.iter().any(defines);
    (!there).then(|| format!("`{file}` defines no `{item}`"))
}

#[test]
fn items_are_looked_up_in_their_file() {
    let sources = [("crates/a/src/b.rs".to_owned(), "pub fn found(x: u8) {}".to_owned())];
    assert_eq!(missing("a/b.rs::found", &sources), None);
    assert_eq!(missing("crates/a/src/b.rs", &sources), None);
    assert!(missing("a/b.rs::foun", &sources).is_some());
    assert!(missing("a/c.rs", &sources).is_some());
}
