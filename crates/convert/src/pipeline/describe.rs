//! Step 5: the files beside the model, by which chat programs find their way.

use std::fs;
use std::path::Path;

use anelith_checkpoint::{Checkpoint, TokenizerFile, license, tokenizer_files};
use anelith_mil::disk;
use anelith_report::{Report, Reported};
use serde_json::{Map, Value};

use crate::digest::{Digests, digest_parts};
use crate::error::{Error, Result, io};
use crate::head::HeadSplit;
use crate::leftovers::leftovers;
use crate::meta_yaml::{Facts, meta_yaml};
use crate::options::Options;
use crate::sampling::Sampling;
use crate::step::{Outputs, Step};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The largest file beside the weights that is taken over, which is what chat reads.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// What is said of the model besides its options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'p> {
    /// The splits of the LM head.
    pub head: &'p [HeadSplit],
    /// What generation_config.json recommends.
    pub sampling: &'p Sampling,
}

/// Copies tokenizer and config, removes what an earlier model has left of such, and writes `meta.yaml` last: where it is, everything is.
pub(super) fn describe(
    checkpoint: &Checkpoint,
    options: &Options,
    model: Model<'_>,
    outputs: &Outputs,
) -> Result<()> {
    for file in tokenizer_files(&checkpoint.dir)? {
        disk::write_file(&outputs.dir().join(file.name), &copy(&checkpoint.dir, &file)?)?;
    }
    for path in leftovers(checkpoint, outputs.dir()) {
        fs::remove_file(&path).map_err(io("remove", &path))?;
    }
    let text = meta(checkpoint, options, model, outputs)?;
    Ok(disk::write_file(&outputs.path(Step::Describe), text.as_bytes())?)
}

/// What the output directory gets of a file of the model.
pub(super) fn copy(dir: &Path, file: &TokenizerFile) -> Result<Vec<u8>> {
    let contents = disk::read_file(&file.path, MAX_FILE_BYTES)?;
    if file.name == TOKENIZER_CONFIG { with_template(dir, contents) } else { Ok(contents) }
}

/// The text of `meta.yaml`.
pub(super) fn meta(
    checkpoint: &Checkpoint,
    options: &Options,
    model: Model<'_>,
    outputs: &Outputs,
) -> Result<String> {
    let license = license(&checkpoint.dir)?;
    let facts = Facts {
        model_name: checkpoint.model_name(),
        license: license.as_deref(),
        config: &checkpoint.config,
        head: model.head,
        sampling: model.sampling,
        compiled: &outputs.name(Step::Compile),
    };
    Ok(meta_yaml(options, &facts))
}

/// The digest of everything that step 5 reads, and of what it has copied.
pub(super) fn inputs(
    checkpoint: &Checkpoint,
    options: &Options,
    outputs: &Outputs,
    digests: &mut Digests<'_>,
) -> Result<String> {
    let mut parts = vec![
        format!("{} {} {:?} {}", options.context, options.batch, options.luts(), outputs.prefix()),
        options.argmax.to_string(),
        checkpoint.model_name().to_owned(),
        license(&checkpoint.dir)?.unwrap_or_default(),
    ];
    for TokenizerFile { name, path } in tokenizer_files(&checkpoint.dir)? {
        parts.extend([name.to_owned(), digests.file(&path)?.to_string()]);
        parts.push(digests.path(&outputs.dir().join(name))?.unwrap_or_default());
    }
    parts.extend(leftovers(checkpoint, outputs.dir()).iter().map(|path| path.display().to_string()));
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(digest_parts(&parts))
}

/// tokenizer_config.json with the template that the model keeps in a file of its own, which not every consumer reads.
///
/// The template goes in behind the last key, and every other byte stays: numbers may have more digits than a JSON
/// library keeps.
fn with_template(dir: &Path, config: Vec<u8>) -> Result<Vec<u8>> {
    let template = dir.join("chat_template.jinja");
    if !template.is_file() {
        return Ok(config);
    }
    let path = dir.join(TOKENIZER_CONFIG);
    let mut object = parse_object(&path, &config)?;
    let present = object.get("chat_template").cloned();
    if present.as_ref().is_some_and(|t| !t.is_null()) {
        return Ok(config);
    }
    let bytes = disk::read_file(&template, MAX_FILE_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|problem| {
        let report = Report::new("chat_template.jinja is not UTF-8 text").at(template.display());
        let report = report.expecting("UTF-8 text").finding(problem);
        Error::Input(report.mending("fetch the file again from where the model came from"))
    })?;
    if present.is_some() {
        object.insert("chat_template".to_owned(), Value::from(text));
        return Ok(serde_json::to_vec_pretty(&object).expect("an object has string keys"));
    }
    let body = config.trim_ascii_end().strip_suffix(b"}").unwrap_or_default().trim_ascii_end();
    let comma = if object.is_empty() { "" } else { "," };
    let entry = format!("{comma}\n  \"chat_template\": {}\n}}\n", Value::from(text));
    Ok([body, entry.as_bytes()].concat())
}

fn parse_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|problem| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let report = Report::new(format!("{name} is not a JSON object")).at(path.display());
        let report = report.expecting("a JSON object").finding(problem);
        Error::Input(report.mending("download the file again"))
    })
}
