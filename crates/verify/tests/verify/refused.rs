//! What cannot be verified is refused, in words.

use anelith_report::Reported;
use anelith_verify::{Error, Scope, Verification};
use serde_json::json;

use crate::model::{Model, Pair, TOKENS, VOCAB, ids};
use crate::npz;

/// Whether the input was at fault, and all that the error says.
fn refusal(result: anelith_verify::Result<Verification>) -> (bool, String) {
    match result.unwrap_err() {
        Error::Input(report) | Error::Usage(report) => (true, format!("{report} {:?}", report.report())),
        error => (false, error.to_string()),
    }
}

#[test]
fn tokens_that_the_model_does_not_have() {
    let pair = Pair::whole("llama", "none");
    let with = |bytes: Vec<u8>| refusal(pair.verify_npz(&bytes, Scope::F32));
    let zeros = |dtype, shape| npz::file(&[npz::array("input_ids", dtype, shape, [[0; 4]; 4].into_iter())]);
    let cases: [(Vec<u8>, &str); 10] = [
        (npz::file(&[npz::ids(&[1, 2, VOCAB as i32])]), "no token 96"),
        (npz::file(&[npz::ids(&[1, -2, 3])]), "negative"),
        (npz::file(&[npz::ids(&[1])]), "too short"),
        (npz::file(&[npz::logits(&[0.0; VOCAB], VOCAB)]), "no array `input_ids`"),
        (npz::file(&[npz::ids(&ids()), npz::logits(&[0.0; 8 * TOKENS], 8)]), "another vocabulary"),
        (npz::file(&[npz::ids(&ids()), npz::logits(&[0.0; VOCAB], VOCAB)]), "does not belong to `input_ids`"),
        (zeros("'<i2'", "2,"), "elements <i4 or <i8"),
        (zeros("[('a', '<i4'), ('b', '<i4')]", "2,"), "elements <i4 or <i8"),
        (zeros("'<i4'", "2x,"), "elements <i4 or <i8"),
        (zeros("'<i4'", "1, 2"), "1 axes"),
    ];
    for (bytes, words) in cases {
        let (is_input, text) = with(bytes);
        assert!(is_input && text.contains(words), "{words}: {text}");
    }
}

#[test]
fn an_archive_that_is_cut_or_changed_is_no_panic() {
    let pair = Pair::whole("llama", "none");
    for whole in [npz::file(&[npz::ids(&ids())]), npz::compressed(&[npz::ids(&ids())])] {
        for len in 0..whole.len() {
            let (is_input, text) = refusal(pair.verify_npz(&whole[..len], Scope::F32));
            assert!(is_input && text.contains(".npz"), "{len}: {text}");
        }
        for at in 0..whole.len() {
            for value in [0, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                let path = pair.path().join("changed.npz");
                std::fs::write(&path, &changed).unwrap();
                // Whatever it is now, it is read or refused.
                let _ = anelith_verify::Tokens::of_npz(&path, 100);
            }
        }
    }
}

#[test]
fn an_archive_that_promises_more_than_it_holds() {
    let pair = Pair::whole("llama", "none");
    let array = npz::array("input_ids", "'<i4'", "700000000,", [[0; 4]; 8].into_iter());
    for whole in [npz::file(std::slice::from_ref(&array)), npz::compressed(&[array])] {
        let (is_input, text) = refusal(pair.verify_npz(&whole, Scope::F32));
        assert!(is_input && text.contains("ends too early"), "{text}");
        // The directory may lie as well: 3 GiB.
        let mut lie = whole.clone();
        let entry = lie.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        lie[entry + 24..entry + 28].copy_from_slice(&(3u32 << 30).to_le_bytes());
        let (is_input, text) = refusal(pair.verify_npz(&lie, Scope::F32));
        assert!(is_input && text.contains("no whole .npz file"), "{text}");
    }
    let mut other = npz::file(&[npz::ids(&ids())]);
    let entry = other.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    other[entry + 10] = 12;
    assert!(refusal(pair.verify_npz(&other, Scope::F32)).1.contains("packed by method 12"));
}

#[test]
fn a_meta_yaml_of_another_conversion() {
    let pair = Pair::whole("llama", "none");
    let path = pair.output().join("meta.yaml");
    let meta = std::fs::read_to_string(&path).unwrap();
    for (key, is, other) in [("context_length", 32, 64), ("batch_size", 8, 4)] {
        let (right, wrong) = (format!("{key}: {is}"), format!("{key}: {other}"));
        assert!(meta.contains(&right));
        std::fs::write(&path, meta.replace(&right, &wrong)).unwrap();
        let (is_input, text) = refusal(pair.verify(Scope::F32));
        assert!(is_input && text.contains("do not belong together") && text.contains(key), "{key}: {text}");
    }
    std::fs::write(&path, meta.replace("combined.mlmodelc", "prefill.mlpackage")).unwrap();
    let (is_input, text) = refusal(pair.verify(Scope::F32));
    assert!(is_input && text.contains("no function `infer`"), "{text}");
}

#[test]
fn a_package_of_another_model() {
    let whole = Model::new("llama");
    let fewer = {
        let mut fewer = whole.clone().with("num_hidden_layers", json!(2));
        fewer.tensors.retain(|name, _| !name.starts_with("model.layers.2."));
        fewer
    };
    let smaller = {
        let mut smaller = whole.clone().with("vocab_size", json!(64));
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            let (shape, values) = smaller.tensors.get_mut(name).unwrap();
            shape[0] = 64;
            values.truncate(64 * shape[1]);
        }
        smaller
    };
    for (converted, words) in [(fewer, "keys and values in the cache"), (smaller, "96 logits (vocab_size)")] {
        let (is_input, text) = refusal(Pair::new(&whole, &converted, "none").verify(Scope::F32));
        assert!(is_input && text.contains("not the same model") && text.contains(words), "{words}: {text}");
    }
}
