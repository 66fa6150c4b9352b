//! Ids, text, stop ids and streams against what transformers recorded.

use std::collections::BTreeSet;

use anelith_report::Reported;

use crate::fixtures::{Files, directory, ids, json, shared, word_tokenizer};
use crate::{Kind, Tokenizer};

const RECORDED: [&str; 4] = ["qwen3", "deepseek-r1-distill-llama", "smollm2", "tinyllama"];

#[test]
fn plain_text_has_the_recorded_ids() {
    for name in RECORDED {
        let Some(dir) = shared(&format!("data/tokenizers/{name}")) else {
            return;
        };
        let tokenizer = Tokenizer::open(&dir).unwrap();
        for case in json(&dir.join("golden.json"))["plain"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let encode = |special| tokenizer.encode(text, special).unwrap();
            assert_eq!(encode(false), ids(&case["ids"]), "{name}: {text:?}");
            assert_eq!(encode(true), ids(&case["ids_special"]), "{name}: {text:?} special");
        }
    }
}

#[test]
fn a_post_processor_frames_the_text_of_classes_that_keep_it() {
    let Some(dir) = shared("data/stories260K") else {
        return;
    };
    let tokenizer = Tokenizer::open(&dir).unwrap();
    for case in json(&dir.join("reference.json"))["prompts"].as_array().unwrap() {
        let (text, ids) = (case["prompt"].as_str().unwrap(), ids(&case["input_ids"]));
        assert_eq!(tokenizer.encode(text, true).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn a_stream_tells_the_same_text_in_whole_characters() {
    for name in RECORDED {
        let Some(dir) = shared(&format!("data/tokenizers/{name}")) else {
            return;
        };
        let tokenizer = Tokenizer::open(&dir).unwrap();
        let golden = json(&dir.join("golden.json"));
        let cases = golden["plain"].as_array().unwrap().iter();
        for case in cases.chain(golden["chat"].as_array().unwrap()) {
            let ids = ids(&case["ids"]);
            let mut stream = tokenizer.decode_stream();
            let pieces: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
            assert!(!pieces.concat().contains('\u{fffd}'), "{name}: {pieces:?}");
            let told = pieces.concat() + &stream.finish().unwrap();
            assert_eq!(told, tokenizer.decode(&ids).unwrap(), "{name}");
        }
    }
}

#[test]
fn a_stream_holds_a_character_back_until_it_is_whole() {
    let Some(dir) = shared("data/tokenizers/tinyllama") else {
        return;
    };
    let tokenizer = Tokenizer::open(&dir).unwrap();
    let ids = tokenizer.encode("\u{1f5fc}\u{1f5fc}", false).unwrap();
    let bytes: Vec<u32> = ids.into_iter().filter(|&id| (3..259).contains(&id)).collect();
    assert_eq!(bytes.len(), 8, "each tower is four byte tokens");
    let mut stream = tokenizer.decode_stream();
    let pieces: Vec<_> = bytes[..6].iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(pieces, ["", "", "", "\u{1f5fc}", "", ""]);
    let rest = stream.finish().unwrap();
    assert!(!rest.is_empty() && rest.chars().all(|c| c == '\u{fffd}'), "{rest:?}");
    assert_eq!(stream.finish().unwrap(), "", "a finished stream starts over");
}

#[test]
fn stop_ids_are_the_union_of_all_sources() {
    let cases: [(&str, &[u32]); 4] = [
        ("qwen3", &[151_643, 151_645]),
        ("deepseek-r1-distill-llama", &[128_001, 128_009]),
        ("smollm2", &[0, 2]),
        ("tinyllama", &[2]),
    ];
    for (name, expected) in cases {
        let Some(dir) = shared(&format!("data/tokenizers/{name}")) else {
            return;
        };
        let tokenizer = Tokenizer::open(&dir).unwrap();
        let expected: BTreeSet<u32> = expected.iter().copied().collect();
        assert!(tokenizer.stop_ids().is_superset(&expected), "{name}: {:?}", tokenizer.stop_ids());
        for &id in tokenizer.stop_ids() {
            assert_eq!(tokenizer.decode(&[id]).unwrap(), "", "{name}: {id} is a special token");
        }
    }
}

#[test]
fn the_class_decides_about_bos_and_eos() {
    // (tokenizer_config.json, config.json, ids of "a" with special tokens)
    let cases: [(&str, &str, &[u32]); 8] = [
        (r#"{"tokenizer_class": "LlamaTokenizer"}"#, "{}", &[0, 3]),
        (r#"{"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": false}"#, "{}", &[3]),
        (r#"{"tokenizer_class": "LlamaTokenizer", "add_eos_token": true}"#, "{}", &[0, 3, 1]),
        (r#"{"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": true}"#, "{}", &[3]),
        (r#"{"tokenizer_class": "Qwen2Tokenizer"}"#, r#"{"model_type": "llama"}"#, &[3]),
        ("{}", r#"{"model_type": "llama"}"#, &[0, 3]),
        ("{}", r#"{"model_type": "qwen3"}"#, &[3]),
        (r#"{"bos_token": {"content": "b"}}"#, r#"{"model_type": "llama"}"#, &[4, 3]),
    ];
    for (tokenizer_config, config, expected) in cases {
        let dir = directory(&[
            ("tokenizer.json", &word_tokenizer(&["a", "b"])),
            ("tokenizer_config.json", tokenizer_config),
            ("config.json", config),
        ]);
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        assert_eq!(tokenizer.encode("a", true).unwrap(), expected, "{tokenizer_config} {config}");
        assert_eq!(tokenizer.encode("a", false).unwrap(), [3], "{tokenizer_config} {config}");
    }
}

#[test]
fn the_special_tokens_map_counts_only_without_an_added_tokens_decoder() {
    let map = r#"{"bos_token": "b"}"#;
    let cases = [(r#"{"bos_token": "a"}"#, "b"), (r#"{"bos_token": "a", "added_tokens_decoder": {}}"#, "a")];
    for (config, expected) in cases {
        let dir = directory(&[
            ("tokenizer.json", &word_tokenizer(&["a", "b"])),
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", map),
        ]);
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        assert_eq!(tokenizer.named_tokens()["bos_token"], expected, "{config}");
    }
}

#[test]
fn tokens_declared_only_in_the_config_are_added() {
    let dir = directory(&[
        ("tokenizer.json", &word_tokenizer(&["a"])),
        (
            "tokenizer_config.json",
            r#"{"added_tokens_decoder": {"4": {"content": "<|im_end|>", "special": true}},
                "eos_token": "a"}"#,
        ),
    ]);
    let tokenizer = Tokenizer::open(dir.path()).unwrap();
    assert_eq!(tokenizer.encode("a<|im_end|>", false).unwrap(), [3, 4]);
    assert_eq!(tokenizer.stop_ids(), &BTreeSet::from([1, 3, 4]));
}

#[test]
fn bad_files_are_errors_that_name_them() {
    let tokenizer = word_tokenizer(&["a"]);
    // (files, kind, part of the location)
    let cases: [(Files<'_>, Kind, &str); 8] = [
        (&[], Kind::Malformed, "tokenizer.json"),
        (&[("tokenizer.model", "")], Kind::Unsupported, "tokenizer.json"),
        (&[("tokenizer.json", "{}")], Kind::Malformed, "tokenizer.json"),
        (
            &[("tokenizer.json", &tokenizer), ("config.json", "{\"rope_theta\": NaN}")],
            Kind::Malformed,
            "config.json",
        ),
        (
            &[("tokenizer.json", &tokenizer), ("generation_config.json", r#"{"eos_token_id": [-1]}"#)],
            Kind::Malformed,
            "generation_config.json, key `eos_token_id`",
        ),
        (
            &[("tokenizer.json", &tokenizer), ("tokenizer_config.json", r#"{"add_bos_token": 1}"#)],
            Kind::Malformed,
            "tokenizer_config.json, key `add_bos_token`",
        ),
        (
            &[
                ("tokenizer.json", &tokenizer),
                (
                    "tokenizer_config.json",
                    r#"{"added_tokens_decoder": {"9": {"content": "x", "special": 1}}}"#,
                ),
            ],
            Kind::Malformed,
            "tokenizer_config.json, key `added_tokens_decoder`",
        ),
        (
            &[
                ("tokenizer.json", &tokenizer),
                ("tokenizer_config.json", r#"{"tokenizer_class": "LlamaTokenizer", "bos_token": null}"#),
            ],
            Kind::Malformed,
            "tokenizer_config.json",
        ),
    ];
    for (files, kind, location) in cases {
        let error = Tokenizer::open(directory(files).path()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.location().unwrap().ends_with(location), "{:?}", error.location());
        assert!(error.found().is_some(), "{error}");
    }
}

/// The library looks the token up without asking whether it is there.
#[test]
fn a_template_of_tokens_that_are_not_listed_is_refused() {
    let mut json: serde_json::Value = serde_json::from_str(&word_tokenizer(&["a"])).unwrap();
    json["post_processor"] = serde_json::json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<gone>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {}});
    let tokenizer = Tokenizer::open(directory(&[("tokenizer.json", &json.to_string())]).path());
    let error = tokenizer.and_then(|t| t.encode("a", true)).unwrap_err();
    assert_eq!(error.kind(), Kind::Malformed);
}

/// A decoder that is cut off panics in the library.
#[test]
fn a_tokenizer_that_is_cut_off_is_refused() {
    let text = word_tokenizer(&["a"]);
    for end in (0..text.len()).step_by(7) {
        let error = Tokenizer::open(directory(&[("tokenizer.json", &text[..end])]).path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Malformed, "{end}");
    }
}
