//! Which fields each message may have, and a walk over encoded bytes that finds all others.
//!
//! Protobuf readers drop the fields they do not know, so a model with an unknown field would be read as a
//! different model without a word. Comparing lengths after encoding again does not settle it: other writers
//! may spell the same message longer. So this walk reads only tags and lengths and looks each field up in a
//! table. The table also names the fields that exist in the format and have no place in the IR. Map keys that
//! occur twice are found on the way: a protobuf reader would keep the last and drop the rest.

use std::collections::BTreeSet;

use prost::encoding::{WireType, decode_key, decode_varint};

use super::fault::{Decoded, Fault};

/// The deepest nesting that is walked; prost itself stops at 100.
const MAX_DEPTH: usize = 100;
/// The most messages that a file may hold. An empty one takes two bytes there and a hundred times as many in
/// memory; programs of thousands of ops hold some hundred thousand.
const MAX_MESSAGES: usize = 1 << 23;

/// A message and its fields by number.
#[derive(Debug)]
pub(super) struct Schema {
    name: &'static str,
    fields: &'static [(u32, Field)],
}

#[derive(Debug)]
enum Field {
    /// A number, text or bytes.
    Scalar,
    Message(&'static Schema),
    /// From text to messages.
    Map(&'static Schema),
    /// In the format, but not in the IR.
    Refused(&'static str),
}

use Field::{Map, Message, Refused, Scalar};

macro_rules! schemas {
    ($($(#[$doc:meta])* $ident:ident = $name:literal { $($number:literal $field:expr),* $(,)? })*) => {
        $($(#[$doc])* pub(super) static $ident: Schema = Schema { name: $name, fields: &[$(($number, $field)),*] };)*
    };
}

schemas! {
    MODEL = "Model" {
        1 Scalar, 2 Message(&DESCRIPTION), 10 Scalar, 502 Message(&PROGRAM),
    }
    DESCRIPTION = "ModelDescription" {
        1 Message(&FEATURE), 10 Message(&FEATURE), 11 Refused("`predictedFeatureName`"),
        12 Refused("`predictedProbabilitiesName`"), 13 Message(&FEATURE), 20 Message(&FUNCTION_DESCRIPTION),
        21 Scalar, 50 Refused("`trainingInput`"), 100 Message(&METADATA),
    }
    FUNCTION_DESCRIPTION = "FunctionDescription" {
        1 Scalar, 2 Message(&FEATURE), 3 Message(&FEATURE), 4 Refused("`predictedFeatureName`"),
        5 Refused("`predictedProbabilitiesName`"), 6 Message(&FEATURE),
    }
    FEATURE = "FeatureDescription" { 1 Scalar, 2 Scalar, 3 Message(&FEATURE_TYPE) }
    METADATA = "Metadata" { 1 Scalar, 2 Scalar, 3 Scalar, 4 Scalar, 100 Message(&USER_DEFINED) }
    USER_DEFINED = "Metadata.userDefined entry" { 1 Scalar, 2 Scalar }
    FEATURE_TYPE = "FeatureType" {
        1 Refused("an int64 feature"), 2 Refused("a double feature"), 3 Refused("a string feature"),
        4 Refused("an image feature"), 5 Message(&ARRAY), 6 Refused("a dictionary feature"),
        7 Refused("a sequence feature"), 8 Message(&STATE_FEATURE), 1000 Scalar,
    }
    STATE_FEATURE = "StateFeatureType" { 1 Message(&ARRAY) }
    ARRAY = "ArrayFeatureType" {
        1 Scalar, 2 Scalar, 21 Message(&ENUMERATED_SHAPES), 31 Message(&SHAPE_RANGE),
        41 Refused("a default value"), 51 Refused("a default value"), 61 Refused("a default value"),
    }
    ENUMERATED_SHAPES = "EnumeratedShapes" { 1 Message(&SHAPE) }
    SHAPE = "Shape" { 1 Scalar }
    SHAPE_RANGE = "ShapeRange" { 1 Message(&SIZE_RANGE) }
    SIZE_RANGE = "SizeRange" { 1 Scalar, 2 Scalar }

    PROGRAM = "Program" { 1 Scalar, 2 Map(&FUNCTION), 3 Refused("a documentation string"), 4 Map(&VALUE) }
    FUNCTION = "Function" { 1 Message(&NAMED), 2 Scalar, 3 Map(&BLOCK), 4 Map(&VALUE) }
    BLOCK = "Block" {
        1 Refused("block inputs"), 2 Scalar, 3 Message(&OPERATION), 4 Refused("block attributes"),
    }
    OPERATION = "Operation" {
        1 Scalar, 2 Map(&ARGUMENT), 3 Message(&NAMED), 4 Refused("nested blocks (control flow)"), 5 Map(&VALUE),
    }
    ARGUMENT = "Argument" { 1 Message(&BINDING) }
    BINDING = "Binding" { 1 Scalar, 2 Message(&VALUE) }
    NAMED = "NamedValueType" { 1 Scalar, 2 Message(&TYPE) }
    TYPE = "ValueType" {
        1 Message(&TENSOR_TYPE), 2 Message(&LIST_TYPE), 3 Message(&TUPLE_TYPE), 4 Message(&DICTIONARY_TYPE),
        5 Message(&STATE_TYPE),
    }
    TENSOR_TYPE = "TensorType" {
        1 Scalar, 2 Scalar, 3 Message(&DIMENSION), 4 Refused("attributes of a tensor type"),
    }
    LIST_TYPE = "ListType" { 1 Message(&TYPE), 2 Message(&DIMENSION) }
    TUPLE_TYPE = "TupleType" { 1 Message(&TYPE) }
    DICTIONARY_TYPE = "DictionaryType" { 1 Message(&TYPE), 2 Message(&TYPE) }
    STATE_TYPE = "StateType" { 1 Message(&TYPE) }
    DIMENSION = "Dimension" { 1 Message(&CONSTANT_DIMENSION), 2 Message(&UNKNOWN_DIMENSION) }
    CONSTANT_DIMENSION = "ConstantDimension" { 1 Scalar }
    UNKNOWN_DIMENSION = "UnknownDimension" { 1 Scalar }
    VALUE = "Value" {
        1 Refused("a documentation string"), 2 Message(&TYPE), 3 Message(&IMMEDIATE), 5 Message(&BLOB_FILE),
    }
    BLOB_FILE = "BlobFileValue" { 1 Scalar, 2 Scalar }
    IMMEDIATE = "ImmediateValue" {
        1 Message(&TENSOR_VALUE), 2 Message(&VALUES), 3 Message(&VALUES), 4 Message(&DICTIONARY_VALUE),
    }
    TENSOR_VALUE = "TensorValue" {
        1 Message(&ELEMENTS), 2 Message(&ELEMENTS), 3 Message(&ELEMENTS), 4 Message(&ELEMENTS),
        5 Message(&ELEMENTS), 6 Message(&ELEMENTS), 7 Message(&ELEMENTS),
    }
    ELEMENTS = "TensorValue elements" { 1 Scalar }
    VALUES = "ListValue or TupleValue" { 1 Message(&VALUE) }
    DICTIONARY_VALUE = "DictionaryValue" { 1 Message(&PAIR) }
    PAIR = "KeyValuePair" { 1 Message(&VALUE), 2 Message(&VALUE) }
}

/// The kinds of models that are no ML programs, by the field of `Model` that holds them.
const OTHER_KINDS: [(u32, &str); 36] = [
    (200, "pipelineClassifier"),
    (201, "pipelineRegressor"),
    (202, "pipeline"),
    (300, "glmRegressor"),
    (301, "supportVectorRegressor"),
    (302, "treeEnsembleRegressor"),
    (303, "neuralNetworkRegressor"),
    (304, "bayesianProbitRegressor"),
    (400, "glmClassifier"),
    (401, "supportVectorClassifier"),
    (402, "treeEnsembleClassifier"),
    (403, "neuralNetworkClassifier"),
    (404, "kNearestNeighborsClassifier"),
    (500, "neuralNetwork"),
    (501, "itemSimilarityRecommender"),
    (555, "customModel"),
    (556, "linkedModel"),
    (560, "classConfidenceThresholding"),
    (600, "oneHotEncoder"),
    (601, "imputer"),
    (602, "featureVectorizer"),
    (603, "dictVectorizer"),
    (604, "scaler"),
    (606, "categoricalMapping"),
    (607, "normalizer"),
    (609, "arrayFeatureExtractor"),
    (610, "nonMaximumSuppression"),
    (900, "identity"),
    (2000, "textClassifier"),
    (2001, "wordTagger"),
    (2002, "visionFeaturePrint"),
    (2003, "soundAnalysisPreprocessing"),
    (2004, "gazetteer"),
    (2005, "wordEmbedding"),
    (2006, "audioFeaturePrint"),
    (3000, "serializedModel"),
];

/// Refuses an encoded `Model` that is no ML program, by what it is: what its other fields hold means nothing then.
pub(super) fn check_kind(mut model: &[u8]) -> Decoded<()> {
    while !model.is_empty() {
        let (number, _) = next_field(&mut model)?;
        if let Some((_, kind)) = OTHER_KINDS.iter().find(|(n, _)| *n == number) {
            return Err(Fault::unsupported(format!("the model is a `{kind}`, expected an `mlProgram`")));
        }
    }
    Ok(())
}

/// Walks an encoded message of type `schema`.
///
/// # Errors
/// The first field that the table lacks or refuses, the first map key that occurs twice; more messages than
/// memory should hold.
pub(super) fn check(bytes: &[u8], schema: &'static Schema) -> Decoded<()> {
    walk(bytes, schema, 0, &mut 0)
}

/// Walks a message, of which `messages` others come before in the file.
fn walk(bytes: &[u8], schema: &'static Schema, depth: usize, messages: &mut usize) -> Decoded<()> {
    if depth > MAX_DEPTH {
        return Err(Fault::malformed(format!("messages are nested more than {MAX_DEPTH} deep")));
    }
    *messages += 1;
    if *messages > MAX_MESSAGES {
        return Err(Fault::unsupported(format!("more than {MAX_MESSAGES} messages")));
    }
    let mut keys = BTreeSet::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, payload) = next_field(&mut rest)?;
        let field = schema.fields.iter().find(|(n, _)| *n == number).map(|(_, field)| field);
        match (field, payload) {
            (Some(Scalar), _) => {}
            (Some(Message(inner)), Some(payload)) => walk(payload, inner, depth + 1, messages)?,
            (Some(Map(inner)), Some(entry)) => {
                let key = walk_entry(entry, inner, depth + 1, messages)?;
                if !keys.insert((number, key)) {
                    let key = String::from_utf8_lossy(key);
                    return Err(Fault::malformed(format!("`{}` has two entries for `{key}`", schema.name)));
                }
            }
            (Some(Message(_) | Map(_)), None) => {
                return Err(Fault::malformed(format!(
                    "field {number} of `{}` is not a message",
                    schema.name
                )));
            }
            (Some(Refused(what)), _) => {
                return Err(Fault::unsupported(format!("{what} (field {number} of `{}`)", schema.name)));
            }
            (None, _) => {
                return Err(Fault::unsupported(format!("field {number} of `{}` is unknown", schema.name)));
            }
        }
    }
    Ok(())
}

/// Walks a map entry; the answer is its key.
fn walk_entry<'a>(
    entry: &'a [u8],
    value: &'static Schema,
    depth: usize,
    messages: &mut usize,
) -> Decoded<&'a [u8]> {
    let mut key: &[u8] = &[];
    let mut rest = entry;
    while !rest.is_empty() {
        match next_field(&mut rest)? {
            (1, Some(payload)) => key = payload,
            (2, Some(payload)) => walk(payload, value, depth, messages)?,
            (number, _) => {
                let name = value.name;
                return Err(Fault::unsupported(format!(
                    "field {number} of a map entry of `{name}` is unknown"
                )));
            }
        }
    }
    Ok(key)
}

/// The number of the next field, and its contents if they have a length.
fn next_field<'a>(rest: &mut &'a [u8]) -> Decoded<(u32, Option<&'a [u8]>)> {
    let broken = |error: prost::DecodeError| Fault::malformed(error.to_string());
    let (number, wire_type) = decode_key(rest).map_err(broken)?;
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(rest).map_err(broken)?;
            return Ok((number, None));
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => decode_varint(rest).map_err(broken)?,
        WireType::StartGroup | WireType::EndGroup => {
            return Err(Fault::malformed(format!("field {number} is a group, which proto3 does not have")));
        }
    };
    let taken = usize::try_from(length).ok().and_then(|n| rest.split_at_checked(n));
    let (payload, after) = taken
        .ok_or_else(|| Fault::malformed(format!("field {number} reaches beyond the end of its message")))?;
    *rest = after;
    Ok((number, (wire_type == WireType::LengthDelimited).then_some(payload)))
}
