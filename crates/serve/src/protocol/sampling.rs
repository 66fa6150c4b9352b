//! What a request changes of the model's own way to choose the next token.

use std::collections::BTreeMap;

use anelith_chat::Sampling;
use anelith_report::Reported;
use serde_json::Value;

use super::fields::Fields;
use crate::problem::Problem;

/// The settings that a request gives; the others stay the model's.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Changes {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    logit_bias: BTreeMap<u32, f32>,
    seed: Option<u64>,
}

impl Changes {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Changes, Problem> {
        Ok(Changes {
            temperature: fields.number("temperature", 0.0, 2.0)?,
            // The fewest tokens that have no probability together: one.
            top_p: fields.number("top_p", 0.0, 1.0)?.map(|p| p.max(f32::MIN_POSITIVE)),
            top_k: top_k(fields)?,
            min_p: fields.number("min_p", 0.0, 1.0)?,
            repetition_penalty: fields.number("repetition_penalty", 0.01, 100.0)?,
            presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?,
            logit_bias: logit_bias(fields)?,
            seed: seed(fields)?,
        })
    }

    /// How a model that recommends `defaults`, of `vocab_size` tokens, is to be sampled; `chance` is the seed where none is
    /// given.
    ///
    /// # Errors
    /// A bias of a token that there is not; anything but the likeliest token from a model with `has_argmax`, whose logits
    /// nobody sees.
    pub(crate) fn apply(
        &self,
        defaults: &Sampling,
        vocab_size: usize,
        has_argmax: bool,
        chance: u64,
    ) -> Result<Sampling, Problem> {
        if let Some(token) = self.logit_bias.keys().find(|token| **token as usize >= vocab_size) {
            return Err(Problem::value("logit_bias", format!("token ids below {vocab_size}"), token));
        }
        let defaults = if has_argmax { Sampling::default() } else { defaults.clone() };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or(chance),
        };
        if has_argmax && !sampling.takes_any_model() {
            let why = "the model picks the likeliest token itself; convert it without --argmax to sample";
            return Err(Problem::unsupported(self.culprit(), why));
        }
        sampling
            .check()
            .map_err(|error| Problem::of_chat(&error, error.location().unwrap_or("temperature")))?;
        Ok(sampling)
    }

    /// The field by which a model with the argmax built in cannot answer.
    fn culprit(&self) -> &'static str {
        let changes = |value: Option<f32>, nothing: f32| value.is_some_and(|value| value != nothing);
        if changes(self.temperature, 0.0) {
            "temperature"
        } else if changes(self.repetition_penalty, 1.0) {
            "repetition_penalty"
        } else if changes(self.presence_penalty, 0.0) {
            "presence_penalty"
        } else if changes(self.frequency_penalty, 0.0) {
            "frequency_penalty"
        } else {
            "logit_bias"
        }
    }
}

/// `top_k`, where -1 is all, as 0 is.
fn top_k(fields: &Fields<'_>) -> Result<Option<usize>, Problem> {
    if fields.get("top_k").and_then(Value::as_i64) == Some(-1) {
        return Ok(Some(0));
    }
    Ok(fields.integer("top_k", 0, u64::from(u32::MAX))?.map(|k| k as usize))
}

/// `seed`: any whole number of 64 bits.
fn seed(fields: &Fields<'_>) -> Result<Option<u64>, Problem> {
    let Some(value) = fields.get("seed") else { return Ok(None) };
    if !value.is_number() {
        return Err(Problem::wrong_type("seed", "an integer", value));
    }
    let bits = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    bits.map(Some).ok_or_else(|| Problem::value("seed", "an integer of 64 bits", value))
}

/// `logit_bias`: numbers by token ids.
fn logit_bias(fields: &Fields<'_>) -> Result<BTreeMap<u32, f32>, Problem> {
    let Some(biases) = fields.object("logit_bias")? else { return Ok(BTreeMap::new()) };
    let read = |(key, _): (&str, &Value)| {
        let is_plain = key.len() <= 10 && key.bytes().all(|byte| byte.is_ascii_digit());
        let token = key.parse().ok().filter(|_| is_plain).ok_or_else(|| {
            let key: String = key.chars().take(50).collect();
            Problem::value("logit_bias", "token ids as keys", format!("'{key}'"))
        })?;
        let bias = biases.number(key, -100.0, 100.0)?;
        Ok((token, bias.unwrap_or(0.0)))
    };
    biases.entries().map(read).collect()
}
