//! Names of weights, without what converters add to them.

use std::cmp::Reverse;

use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

/// What converters append to the name of a parameter when they change how it is stored.
const SUFFIXES: [&str; 11] = [
    "palettized",
    "quantized",
    "sparsified",
    "pcs",
    "promoted",
    "to",
    "fp16",
    "fp32",
    "cast",
    "weight",
    "weights",
];

/// How many names an error lists.
const LISTED: usize = 8;

/// The words of `name`, in lower case, without leading `model` and trailing words that only say how it is stored:
/// `model_model_layers_3_mlp_up_proj_weight_to_fp16_palettized` and `layers.3.mlp.up_proj` have the same.
pub fn words(name: &str) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    let all: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let start = all.iter().take_while(|w| **w == "model").count();
    let end = all.len() - all.iter().rev().take_while(|w| SUFFIXES.contains(w)).count();
    let kept = if start < end { &all[start..end] } else { &all[..] };
    kept.iter().map(|w| (*w).to_owned()).collect()
}

/// The number of the decoder layer that the name speaks of.
pub fn layer(words: &[String]) -> Option<u64> {
    let is_list = |word: &str| matches!(word, "layers" | "layer" | "blocks" | "block" | "h");
    words.windows(2).find(|pair| is_list(&pair[0])).and_then(|pair| pair[1].parse().ok())
}

/// The part of a language model that the name speaks of, if it does.
pub fn component(words: &[String]) -> Option<&'static str> {
    let any = |test: &dyn Fn(&str) -> bool| words.iter().any(|w| test(w));
    let pair = |a: &str, b: &str| words.windows(2).any(|p| p[0] == a && p[1].starts_with(b));
    if any(&|w| w.contains("norm") || w == "ln") {
        Some("norms")
    } else if pair("lm", "head") || any(&|w| w.starts_with("lmhead")) {
        Some("LM head")
    } else if any(&|w| matches!(w, "embed" | "emb" | "embeddings" | "embedding" | "wte")) {
        Some("embeddings")
    } else if any(&|w| matches!(w, "rotary" | "rope" | "cos" | "sin")) {
        Some("rotary tables")
    } else if any(&|w| w.contains("attn") || w.contains("attention"))
        || ["q", "k", "v", "o", "qkv"].iter().any(|w| pair(w, "proj"))
    {
        Some("attention")
    } else if any(&|w| matches!(w, "mlp" | "ffn" | "feed" | "gate" | "up" | "down")) {
        Some("MLP")
    } else {
        None
    }
}

/// The place in `names` of the one that `query` means: the one of the same words, else the only one that contains
/// them next to each other.
///
/// # Errors
/// `Usage` when there is none or when there are several, with those that come near.
pub fn find(query: &str, names: &[&str]) -> Result<usize> {
    if let Some(exact) = names.iter().position(|name| *name == query) {
        return Ok(exact);
    }
    let wanted = words(query);
    let named: Vec<Vec<String>> = names.iter().map(|name| words(name)).collect();
    let same: Vec<usize> = (0..names.len()).filter(|i| named[*i] == wanted).collect();
    let contains =
        |i: &usize| !wanted.is_empty() && named[*i].windows(wanted.len()).any(|w| *w == wanted[..]);
    let fitting = if same.is_empty() { (0..names.len()).filter(contains).collect() } else { same };
    match fitting[..] {
        [one] => Ok(one),
        [] => {
            let report = Report::new(format!("no weight is called `{query}`")).at("--weight");
            let near = near(&wanted, &named);
            Err(Error::usage(match near.is_empty() {
                true => report.finding("no weights at all"),
                false => {
                    report.finding(format!("near: {}", listed(&near, names))).mending("name one of them")
                }
            }))
        }
        ref several => {
            let report = Report::new(format!("`{query}` means several weights")).at("--weight");
            Err(Error::usage(report.finding(listed(several, names)).mending("name one of them")))
        }
    }
}

fn listed(places: &[usize], names: &[&str]) -> String {
    let shown: Vec<&str> = places.iter().take(LISTED).map(|i| names[*i]).collect();
    match places.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}

/// The names that share most words with `wanted`, then those of the least distance.
fn near(wanted: &[String], named: &[Vec<String>]) -> Vec<usize> {
    let text = wanted.join(" ");
    let shared = |i: usize| named[i].iter().filter(|w| wanted.contains(w)).count();
    let mut ranked: Vec<_> =
        (0..named.len()).map(|i| (Reverse(shared(i)), distance(&text, &named[i].join(" ")), i)).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(.., i)| i).take(LISTED).collect()
}

/// How many characters must be put in, taken out or replaced to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(256).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(256).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_makers_have_the_same_words() {
        for name in [
            "layers.3.self_attn.q_proj",
            "model.layers.3.self_attn.q_proj.weight",
            "model_layers_3_self_attn_q_proj_weight_palettized",
            "model_model_layers_3_self_attn_q_proj_weight_to_fp16_palettized_pcs",
        ] {
            assert_eq!(words(name).join(" "), "layers 3 self attn q proj", "{name}");
        }
        assert_eq!(words("model.weight").join(" "), "model weight", "something must be left");
    }

    #[test]
    fn layers_and_components_are_told() {
        let of = |name: &str| (layer(&words(name)), component(&words(name)));
        assert_eq!(of("model_layers_3_self_attn_q_proj"), (Some(3), Some("attention")));
        assert_eq!(of("model_layers_3_self_attn_q_norm"), (Some(3), Some("norms")));
        assert_eq!(of("model_layers_12_mlp_up_proj"), (Some(12), Some("MLP")));
        assert_eq!(of("lm_head16_3_weight"), (None, Some("LM head")));
        assert_eq!(of("model_embed_tokens_weight"), (None, Some("embeddings")));
        assert_eq!(of("rotary_cos"), (None, Some("rotary tables")));
        assert_eq!(of("const_7"), (None, None));
    }

    #[test]
    fn a_weight_is_found_or_what_comes_near() {
        let names = ["layers_1_q_proj_weight", "layers_1_q_proj_bias", "layers_2_q_proj_weight", "norm"];
        assert_eq!(find("layers.1.q_proj", &names).unwrap(), 0);
        assert_eq!(find("bias", &names).unwrap(), 1);
        assert_eq!(find("2.q_proj", &names).unwrap(), 2);
        let said = |query: &str| match find(query, &names) {
            Err(Error::Usage(report)) => format!("{report} {}", report.found.clone().unwrap_or_default()),
            other => panic!("{other:?}"),
        };
        assert!(said("q_proj").contains("several weights layers_1_q_proj_weight, layers_1_q_proj_bias,"));
        assert!(
            said("layers.2.k_proj").contains("near: layers_2_q_proj_weight"),
            "{}",
            said("layers.2.k_proj")
        );
        assert!(find("", &names).is_err());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
