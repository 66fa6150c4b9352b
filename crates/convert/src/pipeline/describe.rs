//! Step 5: the files beside the model, by which chat programs find their way.

use std::fs;
use std::path::Path;

use anelith_checkpoint::{Checkpoint, TokenizerFile, license, tokenizer_files};
use anelith_mil::disk;
use serde_json::{Map, Value};

use crate::digest::{Digests, digest_parts};
use crate::error::{Error, Report, Result, io};
use crate::head::HeadSplit;
use crate::meta_yaml::{Facts, meta_yaml};
use crate::options::Options;
use crate::step::{Outputs, Step};

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Copies tokenizer and config, and writes `meta.yaml` last: where it is, everything is.
pub(super) fn describe(
    checkpoint: &Checkpoint,
    options: &Options,
    head: &[HeadSplit],
    outputs: &Outputs,
) -> Result<()> {
    for TokenizerFile { name, path } in tokenizer_files(&checkpoint.dir)? {
        let contents = fs::read(&path).map_err(io("read", &path))?;
        let contents =
            if name == TOKENIZER_CONFIG { with_template(&checkpoint.dir, contents)? } else { contents };
        disk::write_file(&outputs.dir().join(name), &contents)?;
    }
    let generation = json_object(&checkpoint.dir.join("generation_config.json"))?;
    let license = license(&checkpoint.dir)?;
    let facts = Facts {
        model_name: checkpoint.model_name(),
        license: license.as_deref(),
        config: &checkpoint.config,
        head,
        generation: generation.as_ref(),
        compiled: &outputs.name(Step::Compile),
    };
    Ok(disk::write_file(&outputs.path(Step::Describe), meta_yaml(options, &facts).as_bytes())?)
}

/// The digest of everything that step 5 reads, and of what it has copied.
pub(super) fn inputs(
    checkpoint: &Checkpoint,
    options: &Options,
    outputs: &Outputs,
    digests: &mut Digests,
) -> Result<String> {
    let mut parts = vec![
        format!("{} {} {:?} {}", options.context, options.batch, options.lut, outputs.prefix()),
        checkpoint.model_name().to_owned(),
        license(&checkpoint.dir)?.unwrap_or_default(),
    ];
    for TokenizerFile { name, path } in tokenizer_files(&checkpoint.dir)? {
        parts.extend([name.to_owned(), digests.file(&path)?]);
        parts.push(digests.path(&outputs.dir().join(name))?.unwrap_or_default());
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(digest_parts(&parts))
}

/// tokenizer_config.json with the template that the model keeps in a file of its own, which not every consumer reads.
fn with_template(dir: &Path, config: Vec<u8>) -> Result<Vec<u8>> {
    let template = dir.join("chat_template.jinja");
    if !template.is_file() {
        return Ok(config);
    }
    let path = dir.join(TOKENIZER_CONFIG);
    let mut object = parse_object(&path, &config)?;
    if object.contains_key("chat_template") {
        return Ok(config);
    }
    let text = fs::read_to_string(&template).map_err(io("read", &template))?;
    object.insert("chat_template".to_owned(), Value::String(text));
    let mut pretty = serde_json::to_vec_pretty(&object).expect("an object has string keys");
    pretty.push(b'\n');
    Ok(pretty)
}

fn json_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(io("read", path))?;
    parse_object(path, &bytes).map(Some)
}

fn parse_object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes).map_err(|problem| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let report = Report::new(format!("{name} is not a JSON object")).at(path.display());
        Error::Input(report.found(problem))
    })
}
