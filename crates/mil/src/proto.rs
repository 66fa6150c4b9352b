//! Protobuf: models to and from the bytes of `model.mlmodel`.
//!
//! The messages stay in this module. Decoding is strict: what the IR cannot hold is an error that names it,
//! so a model that decodes is the whole model. Encoding is stable: the same model gives the same bytes.
//!
//! What is the same in every spelling of a file is normalised: the order of maps, the wrapper of immediate
//! elements, an argument with exactly one binding (always `Argument::One`), and metadata that is present but
//! empty.

mod description;
mod fault;
mod messages;
mod program;
mod schema;
mod types;
mod value;

use prost::Message;

use crate::error::{Error, Result};
use crate::model::{Description, Metadata, Model, check_specification_version};
use crate::validate::ProgramInfo;

use fault::{At, Decoded, Fault};
use messages as pb;
use schema::Schema;

/// The bytes of `model.mlmodel` for `model`, which `info`, from `validate_model`, proves valid.
///
/// # Errors
/// `Invalid` when a literal does not fit its type; `Unsupported` or `Malformed` when the description is not
/// one that a model can have (unknown version, no such default function, element type of a feature).
pub fn encode(model: &Model, info: &ProgramInfo) -> Result<Vec<u8>> {
    // The proof is all that is asked for: encoding needs nothing that validation learnt.
    let _ = info;
    check_specification_version(model.specification_version, "model")?;
    description::check(&model.description)
        .map_err(|problem| Error::malformed("model description", problem))?;
    let mut description = description::encode(&model.description);
    if model.description.metadata == Metadata::default() {
        description.metadata = None;
    }
    let program = program::encode(&model.program)?;
    let message = pb::Model {
        specification_version: model.specification_version,
        description: Some(description),
        is_updatable: false,
        ml_program: Some(program),
    };
    Ok(message.encode_to_vec())
}

/// The model in `bytes`, the contents of the `model.mlmodel` that errors call `what`.
///
/// The program is complete but not validated: names are resolved and literals fit their types, no more.
///
/// # Errors
/// `Malformed` when the bytes break the format, a variable is used before its definition or defined twice;
/// `Unsupported` for anything the IR cannot hold: other kinds of models, nested blocks, unknown fields.
pub fn decode(bytes: &[u8], what: &str) -> Result<Model> {
    let message: pb::Model = schema::check_kind(bytes)
        .and_then(|()| parse(bytes, &schema::MODEL))
        .map_err(|fault| fault.into_error(what))?;
    check_specification_version(message.specification_version, what)?;
    let decode = || -> Decoded<Model> {
        if message.is_updatable {
            return Err(Fault::unsupported("an updatable model (`isUpdatable`)"));
        }
        let description = message.description.unwrap_or_default();
        let program = message
            .ml_program
            .ok_or_else(|| Fault::unsupported("a model of no kind, expected an `mlProgram`"))?;
        Ok(Model {
            specification_version: message.specification_version,
            description: description::decode(description).at(|| "description".to_owned())?,
            program: program::decode(program)?,
        })
    };
    decode().map_err(|fault| fault.into_error(what))
}

/// The serialized `ModelDescription`, as compiled models embed it: with the metadata field always present.
///
/// Without a default function the first interface stands at the top level. Element types that features cannot
/// have are written as 0, which no reader takes; `encode` refuses them.
pub fn encode_description(description: &Description) -> Vec<u8> {
    description::encode(description).encode_to_vec()
}

/// The inverse of `encode_description`; errors call the bytes `what`.
///
/// # Errors
/// As for `decode`.
pub fn decode_description(bytes: &[u8], what: &str) -> Result<Description> {
    let decoded = parse(bytes, &schema::DESCRIPTION).and_then(description::decode);
    decoded.map_err(|fault| fault.into_error(what))
}

fn parse<M: Message + Default>(bytes: &[u8], schema: &'static Schema) -> Decoded<M> {
    // The walk comes first: it takes no memory, and refuses what would take too much.
    schema::check(bytes, schema)?;
    M::decode(bytes).map_err(|error| Fault::malformed(error.to_string()))
}
