//! Fields that would change the numbers and are not implemented are refused; those the class ignores are warned of.

use anelith_report::Reported;
use serde_json::Value;

use super::architecture::Architecture;
use super::detect::wrapper;
use super::families;
use super::fields::{Fields, abbreviate};
use crate::error::{Error, Result};

/// Refuses what would change the numbers and is not implemented.
pub(super) fn refuse_fields(fields: &Fields<'_>) -> Result<()> {
    if let Some(key) = wrapper(fields) {
        let what = format!(
            "config.json: `{key}` marks a wrapper of other models (multimodal, for instance), which is not supported"
        );
        return Err(Error::unsupported(what)
            .at(fields.path().display())
            .expecting("the config.json of a text model alone")
            .finding(format!("the field `{key}`"))
            .mending("use a text-only checkpoint"));
    }
    refuse_quantized(fields)?;
    // Unlike the fields below, this one has a class default that null is not.
    if let Some(null @ Value::Null) = fields.object().get("hidden_act") {
        return Err(unsupported_value(fields, "hidden_act", "\"silu\"", null));
    }
    for (key, harmless) in families::REFUSED {
        if let Some(value) = fields.get(key)
            && !harmless.contains(&value.to_string().as_str())
        {
            return Err(unsupported_value(fields, key, &harmless.join(" or "), value));
        }
    }
    Ok(())
}

/// Refuses kinds of attention other than full. Sliding attention passes where the model has a window (`windowed`):
/// which layers it holds for does not matter, as no context may be larger than it.
pub(super) fn refuse_layer_types(fields: &Fields<'_>, windowed: bool) -> Result<()> {
    let key = "layer_types";
    let Some(value) = fields.get(key) else { return Ok(()) };
    let Value::Array(kinds) = value else {
        return Err(fields.wrong(key, "a list of kinds of attention", value));
    };
    let harmless = |kind: &Value| match kind.as_str() {
        Some("full_attention") => true,
        Some("sliding_attention") => windowed,
        _ => false,
    };
    match kinds.iter().find(|kind| !harmless(kind)) {
        None => Ok(()),
        Some(kind) if kind.as_str() == Some("sliding_attention") => {
            Err(unsupported_value(fields, key, "\"full_attention\" where no window is in use", kind))
        }
        Some(kind) => {
            Err(unsupported_value(fields, key, "\"full_attention\" or \"sliding_attention\"", kind))
        }
    }
}

fn unsupported_value(fields: &Fields<'_>, key: &str, expected: &str, value: &Value) -> Error {
    let found = abbreviate(&value.to_string());
    Error::unsupported(format!("config.json: `{key}` {found} is not supported, only {expected}"))
        .at(fields.path().display())
        .expecting(expected)
        .finding(found)
}

fn refuse_quantized(fields: &Fields<'_>) -> Result<()> {
    let keys = ["quantization_config", "compression_config", "quantization"];
    let Some((key, value)) = keys.iter().find_map(|k| Some((*k, fields.get(k)?))) else {
        return Ok(());
    };
    let method = value.get("quant_method").and_then(Value::as_str);
    let method = abbreviate(method.unwrap_or("unknown method"));
    let what = format!("the weights are already quantized (`{method}`, `{key}` in config.json)");
    Err(Error::unsupported(what)
        .at(fields.path().display())
        .expecting("weights in float32, float16 or bfloat16")
        .finding(format!("`{method}`"))
        .mending("use the original, unquantized checkpoint of this model"))
}

/// Adds one line for every field that the class of `architecture` does not read.
pub(super) fn warn_ignored(fields: &Fields<'_>, architecture: Architecture, warnings: &mut Vec<String>) {
    for (key, value) in fields.object() {
        if !value.is_null() && !families::knows(architecture, key) {
            let (class, key) = (architecture.class_name(), abbreviate(key));
            warnings.push(format!("config.json: `{key}` is ignored; {class} does not read it"));
        }
    }
}
