//! What is left to choose from, and how it is drawn.

use std::collections::BTreeMap;

use super::*;
use crate::fixtures::{directory, ids};

/// Logits of the probabilities 1/2, 1/4, 1/8, 1/16 and 1/16, not in order.
fn logits() -> Vec<f32> {
    [0.125f32, 0.5, 0.0625, 0.25, 0.0625].iter().map(|p| p.ln()).collect()
}

fn hot() -> Sampling {
    Sampling { temperature: 1.0, ..Sampling::default() }
}

fn left(sampling: Sampling) -> Vec<u32> {
    Sampler::new(sampling, &[]).left(&logits()).into_iter().map(|(token, _)| token).collect()
}

#[test]
fn limits_leave_the_likeliest() {
    let all = [1, 3, 0, 2, 4];
    let cases = [
        (hot(), 5),
        (Sampling { top_k: 1, ..hot() }, 1),
        (Sampling { top_k: 3, ..hot() }, 3),
        // Two are the fourth likeliest.
        (Sampling { top_k: 4, ..hot() }, 5),
        (Sampling { top_k: 99, ..hot() }, 5),
        (Sampling { top_p: 0.4, ..hot() }, 1),
        (Sampling { top_p: 0.51, ..hot() }, 2),
        (Sampling { top_p: 0.76, ..hot() }, 3),
        (Sampling { top_p: 1e-9, ..hot() }, 1),
        (Sampling { min_p: 0.2, ..hot() }, 3),
        (Sampling { min_p: 1.0, ..hot() }, 1),
        (Sampling { temperature: 0.01, min_p: 0.01, ..hot() }, 1),
        (Sampling { top_k: 3, top_p: 0.9, ..hot() }, 3),
        (Sampling { top_k: 3, top_p: 0.8, ..hot() }, 2),
    ];
    for (sampling, count) in cases {
        assert_eq!(left(sampling.clone()), all[..count], "{sampling:?}");
    }
}

#[test]
fn as_many_are_sorted_as_are_asked_for() {
    let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5000) as f32 / 500.0).collect();
    let sampler = Sampler::new(Sampling { top_p: 0.99, ..hot() }, &[]);
    let found = sampler.left(&logits);
    let mut slow: Vec<(u32, f64)> =
        (0u32..).zip(&logits).map(|(i, l)| (i, f64::from(l - 9.998).exp())).collect();
    slow.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert!(found.len() > 500, "{}", found.len());
    assert_eq!(found, slow[..found.len()]);
    let total: f64 = slow.iter().map(|(_, w)| w).sum();
    let sum = |n: usize| slow[..n].iter().map(|(_, w)| w).sum::<f64>();
    assert!(sum(found.len()) >= 0.99 * total && sum(found.len() - 1) < 0.99 * total);
}

/// `oracle/record_sampling.py` made the file: what transformers leaves, and with which probabilities.
#[test]
fn as_much_is_left_as_transformers_leaves() {
    let recorded: serde_json::Value = serde_json::from_str(include_str!("transformers.json")).unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 60);
    for case in cases {
        let number = |key: &str| case[key].as_f64().unwrap() as f32;
        let sampling = Sampling {
            temperature: number("temperature"),
            top_k: number("top_k") as usize,
            top_p: number("top_p"),
            min_p: number("min_p"),
            repetition_penalty: number("repetition_penalty"),
            ..Sampling::default()
        };
        let logits: Vec<f32> = serde_json::from_value(case["logits"].clone()).unwrap();
        let sampler = Sampler::new(sampling, &ids(&case["prompt"]));
        let left = sampler.left(&sampler.changed(&logits));
        let expected = case["left"].as_object().unwrap();
        assert_eq!(left.len(), expected.len(), "{case}");
        let total: f64 = left.iter().map(|(_, weight)| weight).sum();
        for (token, weight) in left {
            let probability = expected[&token.to_string()].as_f64().unwrap();
            assert!((weight / total - probability).abs() < 1e-6, "{token}: {case}");
        }
    }
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_likely() {
    let mut sampler = Sampler::new(Sampling { seed: 7, ..hot() }, &[]);
    let mut counts = [0; 5];
    for _ in 0..16_000 {
        counts[sampler.choose(&logits()).unwrap() as usize] += 1;
    }
    for (count, expected) in counts.iter().zip([2000, 8000, 1000, 4000, 1000]) {
        let off: i32 = count - expected;
        assert!(off.abs() < 250, "{counts:?}");
    }
}

#[test]
fn a_seed_says_what_is_drawn() {
    let draw = |seed| -> Vec<u32> {
        let mut sampler = Sampler::new(Sampling { seed, ..hot() }, &[]);
        (0..32).map(|_| sampler.choose(&logits()).unwrap()).collect()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    // On every machine; ChaCha8 is defined.
    assert_eq!(draw(0)[..8], [3, 1, 3, 1, 2, 3, 0, 2]);
}

#[test]
fn penalties_and_biases_change_logits() {
    let greedy = Sampling::default();
    let choose = |sampling: &Sampling, prompt: &[u32]| -> Vec<u32> {
        let mut sampler = Sampler::new(sampling.clone(), prompt);
        (0..3).map(|_| sampler.choose(&[1.0, 0.9, -0.5]).unwrap()).collect()
    };
    assert_eq!(choose(&greedy, &[0]), [0, 0, 0]);
    let repetition = Sampling { repetition_penalty: 2.0, ..greedy.clone() };
    assert_eq!(choose(&repetition, &[0]), [1, 0, 0]);
    assert_eq!(choose(&Sampling { presence_penalty: 0.2, ..greedy.clone() }, &[0]), [0, 1, 0]);
    assert_eq!(choose(&Sampling { frequency_penalty: 2.0, ..greedy.clone() }, &[]), [0, 1, 2]);
    let logit_bias = BTreeMap::from([(2, 100.0), (77, 5.0)]);
    assert_eq!(choose(&Sampling { logit_bias, ..greedy }, &[]), [2, 2, 2]);
}

#[test]
fn nan_and_infinities_are_no_way_to_any_token() {
    let mut sampler = Sampler::new(hot(), &[]);
    assert_eq!(sampler.choose(&[1.0, f32::NAN]).unwrap_err().kind(), Kind::Model);
    assert_eq!(sampler.choose(&[]).unwrap_err().kind(), Kind::Model);
    for _ in 0..8 {
        assert_eq!(sampler.choose(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]).unwrap(), 1);
        assert!(sampler.choose(&[f32::INFINITY, 0.0]).unwrap() == 0);
        assert!(sampler.choose(&[f32::NEG_INFINITY; 2]).unwrap() < 2);
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let cases = [
        (Sampling { temperature: -1.0, ..hot() }, "temperature"),
        (Sampling { temperature: f32::NAN, ..hot() }, "temperature"),
        (Sampling { top_p: 0.0, ..hot() }, "top_p"),
        (Sampling { min_p: 1.5, ..hot() }, "min_p"),
        (Sampling { repetition_penalty: 0.0, ..hot() }, "repetition_penalty"),
        (Sampling { presence_penalty: 3.0, ..hot() }, "presence_penalty"),
        (Sampling { frequency_penalty: -3.0, ..hot() }, "frequency_penalty"),
        (Sampling { logit_bias: BTreeMap::from([(1, 101.0)]), ..hot() }, "logit_bias"),
    ];
    for (sampling, name) in cases {
        let error = sampling.check().unwrap_err();
        assert_eq!((error.kind(), error.location()), (Kind::Prompt, Some(name)));
    }
    hot().check().unwrap();
}

#[test]
fn makers_recommend_in_two_files() {
    let meta = |sampling: &str| {
        format!(
            "model_info:\n  parameters:\n    context_length: 8\n    batch_size: 2\n    monolithic_model: m.mlmodelc\n{sampling}"
        )
    };
    let some =
        "    recommended_sampling:\n      do_sample: true\n      temperature: 0.6\n      top_p: 0.95\n";
    let generation = r#"{"repetition_penalty": 1.1, "min_p": 0.05, "temperature": 9}"#;
    let recommended = |meta: &str, generation: &str| {
        let dir = directory(&[("meta.yaml", meta), ("generation_config.json", generation)]);
        Sampling::recommended(&Meta::open(dir.path()).unwrap())
    };
    let expected = Sampling {
        temperature: 0.6,
        top_k: 50,
        top_p: 0.95,
        min_p: 0.05,
        repetition_penalty: 1.1,
        ..Sampling::default()
    };
    assert_eq!(recommended(&meta(some), generation).unwrap(), expected);
    let penalty = Sampling { repetition_penalty: 1.1, ..Sampling::default() };
    assert_eq!(recommended(&meta(""), generation).unwrap(), penalty);
    let greedy = some.replace("true", "false");
    assert_eq!(recommended(&meta(&greedy), "{}").unwrap(), Sampling::default());
    let error = recommended(&meta(some), r#"{"min_p": 2}"#).unwrap_err();
    assert_eq!(error.location(), Some("min_p"));
    assert!(recommended(&meta(some), r#"{"min_p": "x"}"#).is_err());
}
