//! A model that is to be converted: what it is, and what each palettization would make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anelith_chat::{Session, SessionOptions};
use anelith_checkpoint::Checkpoint;
use anelith_convert::{Lut, Options, Pipeline, Progress, Selection};
use serde_json::{Value, json};

use crate::args::DoctorArgs;
use crate::failure::Result;
use crate::hub;

use super::{Row, Section};

/// The palettizations that are compared, the default last.
const LUTS: [(&str, Lut); 4] =
    [("lut none", Lut::None), ("lut 8", of(8)), ("lut 6", of(6)), (DEFAULT, of(4))];

const DEFAULT: &str = "lut 4";

const fn of(bits: u32) -> Lut {
    Lut::Bits { bits, group: None }
}

/// Looks at the model as step 0 of `convert` does, and adds what there is to say up to an error.
///
/// # Errors
/// Those with which `convert` would refuse it.
pub(super) fn examine(args: &DoctorArgs, sections: &mut Vec<Section>) -> Result<()> {
    let named = args.model.clone().unwrap_or_default();
    let (checkpoint, dir) = hub::cached(&named, args.revision.as_deref())?;
    sections.push(describe(&checkpoint, &dir)?);
    sections.push(conversions(&checkpoint, &dir, args)?);
    Ok(())
}

fn describe(checkpoint: &Checkpoint, dir: &Path) -> Result<Section> {
    let config = &checkpoint.config;
    let bytes = checkpoint.tensors.files().iter().filter_map(|f| Some(fs::metadata(f).ok()?.len())).sum();
    let session = Session::open(dir, SessionOptions::default())?;
    let (template, has_template) = match session.has_template() {
        true => ("there", true),
        false => ("none", false),
    };
    let rows = vec![
        Row::text("directory", dir.display().to_string()),
        Row::text("name", checkpoint.model_name()),
        Row::text("architecture", config.architecture.to_string()),
        Row::new("layers", config.num_hidden_layers, config.num_hidden_layers.to_string()),
        Row::new("hidden size", config.hidden_size, config.hidden_size.to_string()),
        Row::new("vocabulary", config.vocab_size, config.vocab_size.to_string()),
        Row::new("positions", config.max_positions(), config.max_positions().to_string()),
        Row::text("dtype", dtype(checkpoint)),
        Row::bytes("weights", Some(bytes)),
        Row::text("tokenizer", "there"),
        Row::new("chat template", has_template, template),
    ];
    let warnings = config.warnings.iter().chain(checkpoint.tensors.warnings()).cloned().collect();
    Ok(Section { name: "model", rows, warnings })
}

/// The element type of the embedding, which in all checkpoints seen so far is that of all matrices.
fn dtype(checkpoint: &Checkpoint) -> String {
    const NAME: &str = "model.embed_tokens.weight";
    let shape = checkpoint.tensors.find(NAME).map(|(_, shape)| shape.to_vec());
    let tensor = shape.and_then(|shape| checkpoint.tensors.get(NAME, &shape).ok());
    tensor.map_or("unknown".into(), |tensor| format!("{:?}", tensor.dtype()).to_lowercase())
}

/// The size of the weight file with each palettization, and what step 0 says with the default one.
fn conversions(checkpoint: &Checkpoint, dir: &Path, args: &DoctorArgs) -> Result<Section> {
    let (mut rows, notes) = (Vec::new(), Notes::default());
    for (key, lut) in LUTS {
        let options = options(dir, lut, args);
        let progress = Notes::default();
        let pipeline = Pipeline::new(checkpoint, &options, &progress)?;
        let bytes = pipeline.preview(Selection::needed(), &progress)?.weight_bytes;
        rows.push(Row::bytes(key, Some(bytes)));
        if key == DEFAULT {
            for finding in pipeline.check(Selection::needed(), &notes)? {
                if let Some(warning) = finding.warning {
                    notes.warn(&format!("{}: {warning}", finding.subject));
                }
                if ["disk", "memory"].contains(&finding.subject) {
                    rows.push(Row::text(finding.subject, finding.found));
                }
            }
        }
    }
    rows.insert(
        0,
        Row::new("options", asked(args), format!("context {}, batch {}", args.context, args.batch)),
    );
    Ok(Section { name: "conversion", rows, warnings: notes.taken() })
}

fn asked(args: &DoctorArgs) -> Value {
    json!({ "context": args.context, "batch": args.batch, "output": args.output.display().to_string() })
}

fn options(dir: &Path, lut: Lut, args: &DoctorArgs) -> Options {
    Options {
        model: PathBuf::from(dir),
        output: args.output.clone(),
        context: args.context,
        batch: args.batch,
        lut,
        lut_embeddings: None,
        lut_lmhead: None,
        argmax: false,
        prefix: None,
    }
}

/// Keeps the warnings of a plan.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn taken(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Notes {
    fn warn(&self, message: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }
}
