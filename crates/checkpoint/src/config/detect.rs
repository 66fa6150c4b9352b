//! Which family a `config.json` describes; whatever is not supported is refused by its own name.

use anelith_report::Reported;
use serde_json::Value;

use super::architecture::{Architecture, supported};
use super::families;
use super::fields::{Fields, abbreviate};
use crate::error::{Error, Result};

/// The family, from `model_type`, else from the first of `architectures`.
pub(super) fn architecture(fields: &Fields<'_>, warnings: &mut Vec<String>) -> Result<Architecture> {
    let class = first_class(fields)?;
    let found = match (fields.optional_string("model_type")?, class) {
        (Some(name), _) => name.parse().map_err(|_| unknown(fields, name))?,
        (None, Some(class)) => Architecture::from_class_name(class).ok_or_else(|| unknown(fields, class))?,
        (None, None) => return Err(unnamed(fields)),
    };
    if let Some(class) = class
        && class != found.class_name()
    {
        warnings.push(format!(
            "config.json: `architectures` names `{}`; converted as `{}`",
            abbreviate(class),
            found.class_name()
        ));
    }
    Ok(found)
}

fn first_class<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>> {
    let key = "architectures";
    match fields.get(key) {
        None => Ok(None),
        Some(Value::Array(list)) => match list.first() {
            None => Ok(None),
            Some(Value::String(class)) => Ok(Some(class)),
            Some(other) => Err(fields.wrong(key, "a list of class names", other)),
        },
        Some(other) => Err(fields.wrong(key, "a list of class names", other)),
    }
}

fn unknown(fields: &Fields<'_>, name: &str) -> Error {
    let supported = supported();
    let name = abbreviate(name);
    let what = format!("Unknown architecture `{name}` in config.json; supported: {supported}");
    let error = Error::unsupported(what)
        .at(fields.path().display())
        .expecting(format!("one of {supported}"))
        .finding(format!("`{name}`"));
    match wrapper(fields) {
        Some(key) => error.mending(format!(
            "`{key}` marks a wrapper of other models, which anelith does not convert; use a text-only checkpoint"
        )),
        None => error.mending("use a checkpoint of a supported family"),
    }
}

fn unnamed(fields: &Fields<'_>) -> Error {
    Error::malformed("config.json names no architecture: it has neither `model_type` nor `architectures`")
        .at(fields.path().display())
        .expecting(format!("`model_type`: one of {}", supported()))
        .finding("neither")
        .mending("add `model_type` to config.json, or download it again")
}

/// The field that marks a multimodal or otherwise composite model, if there is one.
pub(super) fn wrapper<'a>(fields: &Fields<'_>) -> Option<&'a str> {
    families::WRAPPERS.iter().copied().find(|key| fields.get(key).is_some())
}
