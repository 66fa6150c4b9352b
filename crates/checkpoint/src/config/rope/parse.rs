//! Reads `rope_theta` with `rope_scaling` (the older form) or `rope_parameters` (the newer one) into a [`Rope`].

use std::ops::RangeInclusive;

use anelith_report::Reported;
use serde_json::{Map, Value};

use super::super::families::ROPE_THETA;
use super::super::fields::{Fields, abbreviate};
use super::{Rope, RopeScaling, Yarn};
use crate::error::{Error, Result};

const TYPES: &str = "default, linear, dynamic, llama3, yarn";
const LENGTHS: RangeInclusive<usize> = 1..=i32::MAX as usize;

/// Reads the rotary fields of `document`; what transformers would ignore is added to `warnings`, one line each.
pub(in super::super) fn parse(
    document: &Fields<'_>,
    max_position_embeddings: usize,
    warnings: &mut Vec<String>,
) -> Result<Rope> {
    refuse_partial_rotation(document)?;
    let Some(source) = scaling_object(document)? else {
        return Ok(Rope {
            theta: document.positive_or("rope_theta", ROPE_THETA)?,
            scaling: RopeScaling::Default,
        });
    };
    let fields = Fields::new(source.object, source.prefix, document.path());
    refuse_partial_rotation(&fields)?;
    let theta = theta(document, &fields)?;
    let name = rope_type(&fields, source.newer)?;
    let scaling = scaling(&fields, name, max_position_embeddings)?;
    warn_unread(&fields, name, warnings);
    if let RopeScaling::Yarn(yarn) = &scaling {
        check_yarn(&fields, yarn, theta)?;
        warn_ratio(yarn, max_position_embeddings, warnings);
    }
    Ok(Rope { theta, scaling })
}

struct Source<'a> {
    object: &'a Map<String, Value>,
    prefix: &'static str,
    newer: bool,
}

/// The object that holds the scaling, in whichever form the document has it; both forms must say the same.
fn scaling_object<'a>(document: &Fields<'a>) -> Result<Option<Source<'a>>> {
    let older = document.optional_object("rope_scaling")?;
    let newer = document.optional_object("rope_parameters")?;
    if let (Some(older), Some(newer)) = (older, newer)
        && older != newer
    {
        let [older, newer] = [older, newer].map(|object| Value::Object(object.clone()));
        return Err(conflict(document, ["rope_scaling", "rope_parameters"], [&older, &newer]));
    }
    let source = match (newer, older) {
        (Some(object), _) => Source { object, prefix: "rope_parameters.", newer: true },
        (None, Some(object)) => Source { object, prefix: "rope_scaling.", newer: false },
        (None, None) => return Ok(None),
    };
    if let Some((key, _)) = source.object.iter().find(|(_, value)| value.is_object()) {
        let what = format!(
            "config.json: `{}{key}` sets rotary embeddings per layer type, which anelith does not support",
            source.prefix
        );
        return Err(Error::unsupported(what).at(document.path().display()));
    }
    Ok(Some(source))
}

/// Two fields that must say the same, and what they say.
fn conflict(document: &Fields<'_>, [one, other]: [&str; 2], values: [&Value; 2]) -> Error {
    let [said, otherwise] = values.map(|value| abbreviate(&value.to_string()));
    Error::malformed(format!("config.json: `{one}` and `{other}` disagree"))
        .at(document.path().display())
        .expecting("the same in both, or one of them alone")
        .finding(format!("`{one}` {said}, `{other}` {otherwise}"))
        .mending(format!("keep the one that the model was trained with, `{one}` or `{other}`"))
}

fn refuse_partial_rotation(fields: &Fields<'_>) -> Result<()> {
    let key = "partial_rotary_factor";
    match fields.get(key) {
        Some(value) if value.as_f64() != Some(1.0) => {
            let what = format!("config.json: `{}` {value} is not supported", fields.name(key));
            Err(Error::unsupported(what)
                .at(fields.path().display())
                .expecting("1.0, or no such field")
                .finding(value))
        }
        _ => Ok(()),
    }
}

fn theta(document: &Fields<'_>, fields: &Fields<'_>) -> Result<f64> {
    let nested = fields.optional_positive("rope_theta")?;
    if nested.is_some() && document.get("rope_theta").is_none() {
        return Ok(nested.unwrap_or(ROPE_THETA));
    }
    let outer = document.positive_or("rope_theta", ROPE_THETA)?;
    match nested {
        Some(inner) if inner != outer => {
            let keys = ["rope_theta", &fields.name("rope_theta")];
            Err(conflict(document, keys, [&Value::from(outer), &Value::from(inner)]))
        }
        _ => Ok(outer),
    }
}

/// `rope_type`, or its older spelling `type`; only the newer form may leave it out.
fn rope_type<'a>(fields: &Fields<'a>, newer: bool) -> Result<&'a str> {
    let modern = fields.optional_string("rope_type")?;
    let legacy = fields.optional_string("type")?;
    match (modern, legacy) {
        (Some(a), Some(b)) if a != b => {
            let keys = [fields.name("rope_type"), fields.name("type")];
            Err(conflict(fields, [&keys[0], &keys[1]], [&Value::from(a), &Value::from(b)]))
        }
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) if newer => Ok("default"),
        (None, None) => {
            Err(fields.absent("rope_type", "a rope scaling").expecting(format!("one of {TYPES}")))
        }
    }
}

fn scaling(fields: &Fields<'_>, name: &str, max_position_embeddings: usize) -> Result<RopeScaling> {
    let why = format!("rope type `{name}`");
    let original = fields.optional_integer("original_max_position_embeddings", LENGTHS)?;
    match name {
        "default" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear {
            factor: factor(fields, &why)?,
            original_max_position_embeddings: original.unwrap_or(max_position_embeddings),
        }),
        "dynamic" => Ok(RopeScaling::Dynamic { factor: factor(fields, &why)? }),
        "llama3" => llama3(fields, &why, original),
        "yarn" => yarn(fields, &why, original, max_position_embeddings),
        _ => Err(unknown(fields, name)),
    }
}

fn unknown(fields: &Fields<'_>, name: &str) -> Error {
    Error::unsupported(format!("unknown rope type `{name}` in config.json; supported: {TYPES}"))
        .at(fields.path().display())
        .expecting(format!("one of {TYPES}"))
        .finding(format!("`{name}`"))
}

fn factor(fields: &Fields<'_>, why: &str) -> Result<f64> {
    let factor = fields.required_positive("factor", why)?;
    at_least_one(fields, "factor", factor)
}

fn at_least_one(fields: &Fields<'_>, key: &str, value: f64) -> Result<f64> {
    if value >= 1.0 {
        return Ok(value);
    }
    Err(fields.wrong(key, "a number of at least 1", &Value::from(value)))
}

fn llama3(fields: &Fields<'_>, why: &str, original: Option<usize>) -> Result<RopeScaling> {
    let low_freq_factor = fields.required_positive("low_freq_factor", why)?;
    let high_freq_factor = fields.required_positive("high_freq_factor", why)?;
    if high_freq_factor <= low_freq_factor {
        let expected = format!("more than `low_freq_factor` ({low_freq_factor})");
        let found = Value::from(high_freq_factor);
        return Err(fields.wrong("high_freq_factor", &expected, &found));
    }
    let length = "original_max_position_embeddings";
    Ok(RopeScaling::Llama3 {
        factor: factor(fields, why)?,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings: original.ok_or_else(|| fields.absent(length, why))?,
    })
}

fn yarn(
    fields: &Fields<'_>,
    why: &str,
    original: Option<usize>,
    max_position_embeddings: usize,
) -> Result<RopeScaling> {
    let factor = match (fields.optional_positive("factor")?, original) {
        (Some(factor), _) => at_least_one(fields, "factor", factor)?,
        (None, Some(original)) => {
            let ratio = max_position_embeddings as f64 / original as f64;
            at_least_one(fields, "factor", ratio)?
        }
        (None, None) => return Err(fields.absent("factor", why)),
    };
    Ok(RopeScaling::Yarn(Yarn {
        factor,
        original_max_position_embeddings: original.unwrap_or(max_position_embeddings),
        attention_factor: fields.optional_positive("attention_factor")?,
        beta_fast: non_zero(fields, "beta_fast", 32.0)?,
        beta_slow: non_zero(fields, "beta_slow", 1.0)?,
        mscale: weight(fields, "mscale")?,
        mscale_all_dim: weight(fields, "mscale_all_dim")?,
    }))
}

/// A number for which 0, null and an absent key all mean the default.
fn non_zero(fields: &Fields<'_>, key: &str, default: f64) -> Result<f64> {
    Ok(weight(fields, key)?.unwrap_or(default))
}

/// A number above 0; `None` when 0, null or absent.
fn weight(fields: &Fields<'_>, key: &str) -> Result<Option<f64>> {
    match fields.get(key) {
        Some(value) if value.as_f64() == Some(0.0) => Ok(None),
        _ => fields.optional_positive(key),
    }
}

fn check_yarn(fields: &Fields<'_>, yarn: &Yarn, theta: f64) -> Result<()> {
    if yarn.beta_fast <= yarn.beta_slow {
        let expected = format!("more than `beta_slow` ({})", yarn.beta_slow);
        return Err(fields.wrong("beta_fast", &expected, &Value::from(yarn.beta_fast)));
    }
    if theta <= 1.0 {
        let expected = "more than 1 (rope type `yarn`)";
        return Err(fields.wrong("rope_theta", expected, &Value::from(theta)));
    }
    Ok(())
}

/// transformers 4.52.4 lets the ratio of the lengths win over an explicit factor, later versions the factor.
fn warn_ratio(yarn: &Yarn, max_position_embeddings: usize, warnings: &mut Vec<String>) {
    let original = yarn.original_max_position_embeddings;
    let ratio = max_position_embeddings as f64 / original as f64;
    if original != max_position_embeddings && ratio != yarn.factor {
        warnings.push(format!(
            "config.json: the yarn factor {} is used, not the ratio {ratio} of max_position_embeddings {max_position_embeddings} \
             to the original length {original}",
            yarn.factor
        ));
    }
}

fn warn_unread(fields: &Fields<'_>, name: &str, warnings: &mut Vec<String>) {
    let read: &[&str] = match name {
        "linear" => &["factor", "original_max_position_embeddings"],
        "dynamic" => &["factor"],
        "llama3" => &["factor", "high_freq_factor", "low_freq_factor", "original_max_position_embeddings"],
        "yarn" => &[
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "factor",
            "mscale",
            "mscale_all_dim",
            "original_max_position_embeddings",
        ],
        _ => &[],
    };
    let always = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
    for (key, value) in fields.object() {
        let known = read.contains(&key.as_str()) || always.contains(&key.as_str());
        if !known && !value.is_null() {
            warnings.push(format!(
                "config.json: `{}` is ignored; rope type `{name}` does not read it",
                fields.name(key)
            ));
        }
    }
}
