//! `doctor`: what step 0 sees of this machine and of a model, without a conversion.

use serde_json::{Map, Value, json};

use crate::args::DoctorArgs;
use crate::failure::{Failure, Result};
use crate::plain::plain;
use crate::terminal::report;

mod converted;
mod machine;
mod model;

/// What was looked at, in lines under a name.
struct Section {
    name: &'static str,
    rows: Vec<Row>,
    /// What the user should know, if anything.
    warnings: Vec<String>,
}

/// One thing that was found out.
struct Row {
    key: &'static str,
    /// For programs.
    value: Value,
    /// For people.
    shown: String,
}

impl Row {
    fn new(key: &'static str, value: impl Into<Value>, shown: impl Into<String>) -> Row {
        Row { key, value: value.into(), shown: shown.into() }
    }

    /// A row that reads alike for programs and people.
    fn text(key: &'static str, text: impl Into<String>) -> Row {
        let text = text.into();
        Row { key, value: Value::from(text.clone()), shown: text }
    }

    fn bytes(key: &'static str, bytes: Option<u64>) -> Row {
        Row::new(key, bytes, bytes.map_or("unknown".into(), megabytes))
    }
}

/// Says what there is, and fails as `convert` would where it would.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<()> {
    let mut sections = vec![machine::system(&args.output), machine::hub(args.online)];
    let mut refused: Vec<Failure> = Vec::new();
    if args.model.is_some() {
        refused.extend(model::examine(args, &mut sections).err());
    }
    if let Some(meta) = &args.meta {
        match converted::examine(meta) {
            Ok(found) => sections.push(found),
            Err(failure) => refused.push(failure),
        }
    }
    report(&match args.json {
        true => format!("{:#}\n", document(&sections, &refused)),
        false => sections.iter().map(text).collect::<Vec<_>>().join("\n"),
    })?;
    // The last line is the first reason.
    refused.into_iter().next().map_or(Ok(()), Err)
}

fn document(sections: &[Section], refused: &[Failure]) -> Value {
    let mut all = Map::new();
    for section in sections {
        let mut rows: Map<String, Value> =
            section.rows.iter().map(|row| (row.key.replace(' ', "_"), row.value.clone())).collect();
        if !section.warnings.is_empty() {
            rows.insert("warnings".into(), json!(section.warnings));
        }
        all.insert(section.name.replace(' ', "_"), Value::Object(rows));
    }
    let reasons: Vec<String> = refused.iter().map(|failure| failure.text().trim_end().to_owned()).collect();
    all.insert("refused".into(), json!(reasons));
    Value::Object(all)
}

fn text(section: &Section) -> String {
    let width = section.rows.iter().map(|row| row.key.chars().count()).max().unwrap_or(0);
    let mut text = format!("{}\n", section.name);
    for Row { key, shown, .. } in &section.rows {
        text += format!("  {key:width$}  {}", plain(shown)).trim_end();
        text.push('\n');
    }
    for warning in &section.warnings {
        text += &format!("  warning: {}\n", plain(warning));
    }
    text
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
