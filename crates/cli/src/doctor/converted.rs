//! A converted model: whether its parts are there, and whether it keeps the rules of the Neural Engine.

use std::path::Path;

use anelith_chat::{Meta, Session, SessionOptions};
use anelith_lint::{Options, Severity};
use anelith_mil::blob::WeightStore;
use anelith_mil::read_model;
use serde_json::json;

use crate::failure::Result;

use super::{Row, Section};

/// Looks at the model that `meta` describes.
///
/// # Errors
/// Where a part of it is missing or not what it should be.
pub(super) fn examine(meta: &Path) -> Result<Section> {
    let meta = Meta::open(meta)?;
    let path = meta.model_path()?;
    let (model, root) = read_model(&path)?;
    let weights = WeightStore::open(&root, &model.program)?;
    let bytes = weights.files().map(|(_, file)| file.byte_len()).sum();
    let functions: Vec<&str> = model.program.functions.iter().map(|f| f.name.as_str()).collect();
    let findings = anelith_lint::lint(&model, Some(&weights), &Options::default());
    let count = |severity| findings.iter().filter(|f| f.rule.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let session = Session::open(meta.dir(), SessionOptions::default())?;
    let template = if session.has_template() { "there" } else { "none" };
    let rows = vec![
        Row::text("name", meta.name.clone()),
        Row::text("model", path.display().to_string()),
        Row::new("functions", json!(functions), functions.join(", ")),
        Row::new("context", meta.context_length, meta.context_length.to_string()),
        Row::new("batch", meta.batch_size, meta.batch_size.to_string()),
        Row::bytes("weights", Some(bytes)),
        Row::text("tokenizer", "there"),
        Row::new("chat template", session.has_template(), template),
        Row::new(
            "lint",
            json!({ "errors": errors, "warnings": warnings }),
            format!("{errors} errors, {warnings} warnings"),
        ),
    ];
    let warnings = match errors + warnings {
        0 => Vec::new(),
        _ => vec![format!("anelith lint {} says what it has found", path.display())],
    };
    Ok(Section { name: "converted model", rows, warnings })
}
