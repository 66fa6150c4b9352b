//! `meta.yaml`, by which chat programs recognise a model.
//!
//! Shell scripts read the file line by line, so it is written from a template: two-space indents, one
//! `key: value` a line, integers bare.

use std::fmt::Write;

use anelith_checkpoint::Config;
use serde_json::Value;

use crate::head::HeadSplit;
use crate::options::{Group, Lut, Options};
use crate::sampling::Sampling;

/// What `meta.yaml` states besides the options.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The model's name: its directory's own.
    pub model_name: &'a str,
    /// The licence that the model's README states.
    pub license: Option<&'a str>,
    /// config.json.
    pub config: &'a Config,
    /// The splits of the LM head.
    pub head: &'a [HeadSplit],
    /// What generation_config.json recommends.
    pub sampling: &'a Sampling,
    /// The file name of the compiled model.
    pub compiled: &'a str,
}

/// The version of the file's form, as the consumers know it.
const FORM_VERSION: &str = "0.3.0";

/// The text of `meta.yaml`.
pub(crate) fn meta_yaml(options: &Options, facts: &Facts<'_>) -> String {
    let (context, batch, name) = (options.context, options.batch, facts.model_name);
    let architecture = facts.config.architecture;
    let license = plain(facts.license.unwrap_or("unknown"));
    let bits = bits_or_none(options.lut);
    let prefix = options.prefix(architecture);
    let sizes: Vec<String> = facts.head.iter().map(|s| s.rows.to_string()).collect();
    let mut yaml = format!(
        "model_info:
  name: {title}
  version: {FORM_VERSION}
  description: |
    Monolithic model running {line} on Apple Neural Engine
    Context length: {context}
    Batch size: {batch}
    Type: Monolithic (single file with embed+FFN+lm_head)
  license: {license}
  author: anelith
  framework: Core ML
  language: Rust
  architecture: {architecture}
  model_type: monolithic
  parameters:
    \"model_type\": monolithic
    context_length: {context}
    batch_size: {batch}
    lut_ffn: {bits}
    lut_bits: {bits}
",
        title = plain(&format!("anemll-{name}-ctx{context}-monolithic")),
        line = one_line(name),
    );
    let mut line = |key: &str, value: &str| writeln!(yaml, "    {key}: {value}").expect("a string takes all");
    if let Some(group) = explicit_group(options.lut) {
        line("lut_per_channel", &group.to_string());
    }
    let luts = options.luts();
    for (key, lut) in [("lut_embeddings", luts.embeddings), ("lut_lmhead", luts.lm_head)] {
        if lut.is_alike(options.lut) {
            continue;
        }
        line(key, &bits_or_none(lut));
        if let Some(group) = explicit_group(lut) {
            line(&format!("{key}_per_channel"), &group.to_string());
        }
    }
    line("model_prefix", &plain(prefix));
    line("monolithic_model", facts.compiled);
    line("split_lm_head", &facts.head.len().to_string());
    if options.argmax {
        line("argmax_in_model", "true");
    }
    line("vocab_size", &facts.config.vocab_size.to_string());
    line("lm_head_chunk_sizes", &format!("[{}]", sizes.join(", ")));
    line("prefill_dynamic_slice", "true");
    yaml.push_str("    functions:\n      - infer\n      - prefill\n");
    yaml.push_str(&recommended_sampling(facts.sampling));
    yaml
}

fn bits_or_none(lut: Lut) -> String {
    lut.bits().map_or("none".to_owned(), |b| b.to_string())
}

/// The group, where the option names one; 0 is one table per tensor.
fn explicit_group(lut: Lut) -> Option<u32> {
    match lut {
        Lut::Bits { group: Some(Group::Channels(n)), .. } => Some(n),
        Lut::Bits { group: Some(Group::Tensor), .. } => Some(0),
        _ => None,
    }
}

fn recommended_sampling(sampling: &Sampling) -> String {
    let values = [
        ("do_sample", sampling.do_sample.map(|b| b.to_string())),
        ("temperature", sampling.temperature.map(real)),
        ("top_k", sampling.top_k.map(|n| n.to_string())),
        ("top_p", sampling.top_p.map(real)),
    ];
    let lines = values.into_iter().filter_map(|(key, value)| Some(format!("      {key}: {}\n", value?)));
    let text: String = lines.collect();
    if text.is_empty() { text } else { format!("    recommended_sampling:\n{text}") }
}

/// A number that YAML 1.1 and 1.2 take for one: the older needs a point, and a sign in the exponent.
fn real(x: f64) -> String {
    let text = format!("{x:?}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    format!("{digits}{point}e{sign}{exponent}")
}

/// A YAML scalar: bare where that cannot be misread, else quoted.
fn plain(text: &str) -> String {
    let bare = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '(' | ')' | '/');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let reserved = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if word && text.chars().all(|c| bare(c) || c == ' ') && !reserved.contains(&text.to_lowercase().as_str())
    {
        return text.trim_end().to_owned();
    }
    Value::from(text).to_string()
}

/// A name as part of a line of prose, in which scripts must not find what looks like a key.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == ':' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_to_every_reader() {
        for (x, expected) in
            [(0.95, "0.95"), (1.0, "1.0"), (1e-30, "1.0e-30"), (1.5e-7, "1.5e-7"), (1e30, "1.0e+30")]
        {
            assert_eq!(real(x), expected);
            assert_eq!(serde_saphyr::from_str::<f64>(expected).expect("a number"), x);
        }
    }
}
