//! `meta.yaml` as we write it, as upstream writes it, and broken in every way that matters.

use anelith_report::Reported;

use super::Meta;
use crate::fixtures::directory;
use crate::{Error, Kind};

const OURS: &str = r#"model_info:
  name: anemll-demo-ctx512-monolithic
  version: 0.3.0
  description: |
    Monolithic model
    Context length: 512
  license: unknown
  author: anelith
  framework: Core ML
  language: Rust
  architecture: qwen3
  model_type: monolithic
  parameters:
    "model_type": monolithic
    context_length: 512
    batch_size: 64
    lut_ffn: 4
    lut_bits: none
    lut_per_channel: 8
    model_prefix: qwen
    monolithic_model: qwen_monolithic_combined.mlmodelc
    split_lm_head: 2
    argmax_in_model: true
    vocab_size: 1024
    lm_head_chunk_sizes: [520, 504]
    prefill_dynamic_slice: true
    functions:
      - infer
      - prefill
    recommended_sampling:
      do_sample: true
      temperature: 0.6
      top_p: 0.95
      topK: 20
"#;

const UPSTREAM: &str = r#"model_info:
  name: anemll-Llama-3.2-1B-ctx1024-monolithic
  version: 0.3.5
  architecture: llama
  model_type: monolithic
  parameters:
    context_length: 1024
    batch_size: 64
    lut_bits: 6
    model_prefix: llama
    monolithic_model: llama_monolithic_full_lut6.mlmodelc

# =============================================================================
# Conversion Parameters (for troubleshooting)
# Generated: 2026-01-01 00:00:00
# command_line: "--context 1024"
"#;

fn open(text: &str) -> Result<Meta, Error> {
    Meta::open(directory(&[("meta.yaml", text)]).path())
}

#[test]
fn our_file_gives_every_field() {
    let dir = directory(&[("meta.yaml", OURS)]);
    let meta = Meta::open(&dir.path().join("meta.yaml")).unwrap();
    assert_eq!(meta.dir(), dir.path());
    assert_eq!(meta.name, "anemll-demo-ctx512-monolithic");
    assert_eq!(meta.architecture.as_deref(), Some("qwen3"));
    assert_eq!((meta.context_length, meta.batch_size), (512, 64));
    assert_eq!(meta.model_prefix.as_deref(), Some("qwen"));
    assert_eq!((meta.split_lm_head, meta.argmax_in_model), (2, true));
    assert_eq!(meta.vocab_size, Some(1024));
    assert_eq!(meta.lm_head_chunk_sizes, [520, 504]);
    assert_eq!(meta.functions, ["infer", "prefill"]);
    let sampling = meta.recommended_sampling.unwrap();
    assert_eq!(sampling.do_sample, Some(true));
    assert_eq!((sampling.temperature, sampling.top_p), (Some(0.6), Some(0.95)));
    assert_eq!(sampling.top_k, Some(20), "the camel-case spelling counts too");
}

#[test]
fn upstream_leaves_out_what_has_a_default() {
    let meta = open(UPSTREAM).unwrap();
    assert_eq!(meta.split_lm_head, 8);
    assert_eq!(meta.functions, ["infer", "prefill"]);
    assert!(!meta.argmax_in_model && meta.lm_head_chunk_sizes.is_empty());
    assert_eq!((meta.vocab_size, meta.recommended_sampling), (None, None));
    let qwen = open(&UPSTREAM.replace("model_prefix: llama", "model_prefix: qwen25"));
    assert_eq!(qwen.unwrap().split_lm_head, 16);
}

#[test]
fn the_model_is_the_exact_path_else_a_sibling() {
    // (monolithic_model, directories there, the one that is found)
    let cases: [(&str, &[&str], Option<&str>); 6] = [
        ("m.mlmodelc", &["m.mlmodelc", "m.mlpackage"], Some("m.mlmodelc")),
        ("m.mlpackage", &["m.mlmodelc", "m.mlpackage"], Some("m.mlpackage")),
        ("m.mlmodelc", &["m.mlpackage"], Some("m.mlpackage")),
        ("v1.5", &["v1.5.mlmodelc"], Some("v1.5.mlmodelc")),
        ("sub/m.mlmodelc", &["sub/m.mlpackage"], Some("sub/m.mlpackage")),
        ("m.mlmodelc", &["n.mlmodelc"], None),
    ];
    for (name, there, found) in cases {
        let text = UPSTREAM.replace("llama_monolithic_full_lut6.mlmodelc", name);
        let dir = directory(&[("meta.yaml", &text)]);
        for name in there {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let path = Meta::open(dir.path()).unwrap().model_path();
        match found {
            Some(found) => assert_eq!(path.unwrap(), dir.path().join(found), "{name} {there:?}"),
            None => {
                let error = path.unwrap_err();
                assert!(error.location().unwrap().ends_with("key `monolithic_model`"));
                assert!(error.expected().unwrap().contains("m.mlmodelc"), "{error:?}");
            }
        }
    }
}

#[test]
fn what_is_missing_or_impossible_is_named() {
    // (what to replace in our file, by what, kind, the key or place named)
    let cases = [
        ("model_info:", "other:", Kind::Malformed, "`model_info`"),
        ("  parameters:", "  others:", Kind::Malformed, "`model_info.parameters`"),
        ("    context_length: 512\n", "", Kind::Malformed, "`context_length`"),
        ("    batch_size: 64\n", "", Kind::Malformed, "`batch_size`"),
        (
            "    monolithic_model: qwen_monolithic_combined.mlmodelc\n",
            "",
            Kind::Malformed,
            "`monolithic_model`",
        ),
        (
            "    monolithic_model: qwen_monolithic_combined.mlmodelc\n",
            "    num_chunks: 2\n",
            Kind::Unsupported,
            "meta.yaml",
        ),
        ("context_length: 512\n    b", "context_length: 0\n    b", Kind::Malformed, "`context_length`"),
        ("context_length: 512\n    b", "context_length: many\n    b", Kind::Malformed, "meta.yaml"),
        ("batch_size: 64", "batch_size: 513", Kind::Malformed, "`batch_size`"),
        ("batch_size: 64", "batch_size: 0", Kind::Malformed, "`batch_size`"),
        ("split_lm_head: 2", "split_lm_head: 0", Kind::Malformed, "`split_lm_head`"),
        ("split_lm_head: 2", "split_lm_head: 3", Kind::Malformed, "`lm_head_chunk_sizes`"),
        ("[520, 504]", "[520, 505]", Kind::Malformed, "`lm_head_chunk_sizes`"),
        ("[520, 504]", "[18446744073709551615, 1025]", Kind::Malformed, "`lm_head_chunk_sizes`"),
        ("[520, 504]", "[520, 504", Kind::Malformed, "meta.yaml"),
    ];
    for (from, to, kind, place) in cases {
        assert!(OURS.contains(from), "{from}");
        let error = open(&OURS.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.kind(), kind, "{to}: {error}");
        assert!(error.location().unwrap().contains("meta.yaml"), "{error:?}");
        assert!(error.location().unwrap().ends_with(place), "{to}: {error:?}");
        assert!(error.mend().is_some(), "{error:?}");
    }
    let absent = Meta::open(directory(&[]).path()).unwrap_err();
    assert_eq!(absent.found(), Some("no such file"));
}

#[test]
fn chunk_sizes_are_stated_or_even() {
    let meta = |lines: &str| {
        let text =
            UPSTREAM.replace("    lut_bits: 6\n", &format!("    lut_bits: 6\n    split_lm_head: 3\n{lines}"));
        open(&text).unwrap().chunk_sizes()
    };
    assert_eq!(meta(""), None);
    assert_eq!(meta("    vocab_size: 11\n"), Some(vec![4, 4, 3]));
    assert_eq!(meta("    vocab_size: 11\n    lm_head_chunk_sizes: [2, 8, 1]\n"), Some(vec![2, 8, 1]));
}
