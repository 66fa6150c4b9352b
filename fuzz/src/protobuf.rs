//! `model.mlmodel`: a model that decodes and is valid encodes, decodes again as the same, and has a text.

use anelith_mil::{Model, proto, validate_model};

/// Reads `bytes` as a serialized model.
///
/// # Panics
/// When a valid model cannot be encoded, comes back as another, or has no text that reads as itself.
pub fn check(bytes: &[u8]) {
    let Ok(model) = proto::decode(bytes, "model.mlmodel") else { return };
    let info = match validate_model(&model) {
        Ok(info) => info,
        Err(error) => {
            // The report quotes ops, whatever they are.
            drop(error.to_string());
            return;
        }
    };
    let encoded =
        proto::encode(&model, &info).unwrap_or_else(|e| panic!("a valid model does not encode: {e}"));
    let again = proto::decode(&encoded, "encoded").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(model, again, "the model changes when it is encoded and decoded");
    check_description(&model);
    super::mil_text::check_text(&model.program);
}

fn check_description(model: &Model) {
    let bytes = proto::encode_description(&model.description);
    let again = proto::decode_description(&bytes, "description").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(model.description, again, "the description changes when it is encoded and decoded");
}
