//! What meta.yaml and verify.json say.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anelith_chat::Meta;
use serde_json::{Value, json};

use super::Card;

const META: &str = "model_info:
  name: m
  architecture: qwen3
  parameters:
    context_length: 512
    batch_size: 64
    lut_ffn: 4
    lut_bits: 4
    lut_per_channel: 8
    model_prefix: qwen
    monolithic_model: m.mlmodelc
    split_lm_head: 16
";

fn card(dir: &Path, more: &str) -> Value {
    fs::write(dir.join("meta.yaml"), format!("{META}{more}")).unwrap();
    fs::create_dir_all(dir.join("m.mlmodelc/weights")).unwrap();
    fs::write(dir.join("m.mlmodelc/weights/weight.bin"), "w").unwrap();
    let meta = Meta::open(dir).unwrap();
    Card::new(&meta, "name".to_owned(), "1.0").unwrap().json(None)
}

#[test]
fn tables_are_told_for_each_part() {
    let dir = tempfile::tempdir().unwrap();
    let same = card(dir.path(), "");
    assert_eq!(same["lut"]["embeddings"], json!({"bits": 4, "group": 8}));
    let other =
        card(dir.path(), "    lut_embeddings: none\n    lut_lmhead: 6\n    lut_lmhead_per_channel: 0\n");
    let expected = json!({
        "layers": {"bits": 4, "group": 8},
        "embeddings": {"bits": null, "group": null},
        "lm_head": {"bits": 6, "group": "tensor"},
    });
    assert_eq!(other["lut"], expected);
}

#[test]
fn recommended_sampling_is_told_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let sampling =
        "    recommended_sampling:\n      do_sample: true\n      temperature: 0.6\n      topP: 0.95\n";
    let card = card(dir.path(), sampling);
    assert_eq!(
        (card["sampling"]["temperature"].clone(), card["sampling"]["top_p"].clone()),
        (json!(0.6), json!(0.95))
    );
}

#[test]
fn figures_of_older_weights_are_not_told() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(card(dir.path(), "")["verify"], Value::Null);
    let path = dir.path().join("verify.json");
    fs::write(&path, r#"{"kl_mean": 0.25, "same_top": 0.5, "positions": 9}"#).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    assert_eq!(card(dir.path(), "")["verify"], json!({"kl_mean": 0.25, "same_top": 0.5}));
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(card(dir.path(), "")["verify"], Value::Null);
}
