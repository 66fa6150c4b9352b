//! A small `config.json` with weights that fit it: the conversion is planned, or refused, and what is planned is
//! valid.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anelith_checkpoint::{Architecture, Checkpoint, Config};
use anelith_convert::{Options, Plan, Silent};
use anelith_mil::validate_model;
use serde_json::{Map, Value, json};

use crate::scratch;

/// Plans the conversion of a checkpoint of zeros with the config `bytes`, unless it is large.
///
/// # Panics
/// When a plan holds a program that is not valid, or that does not encode.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(config) = Config::parse(text, Path::new("config.json")) else { return };
    if !is_small(&config) {
        return;
    }
    let dir = scratch::dir().join("plan");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("config.json"), text).expect("a file");
    write_weights(&dir.join("model.safetensors"), &shapes(&config));
    let checkpoint = Checkpoint::open(&dir).expect("config and weights were accepted or made here");
    let options = options(dir, text.len());
    let Ok(plan) = Plan::new(&checkpoint, &options, &Silent) else { return };
    for model in [&plan.infer, &plan.prefill] {
        validate_model(model).unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
}

/// Options for the model in `dir`; other ones for other numbers.
fn options(dir: PathBuf, number: usize) -> Options {
    let luts = ["none", "4,8", "3,tensor", "8,1"].map(|lut| lut.parse().expect("the grammar of --lut"));
    let lut = |place: usize| luts[number / place % luts.len()];
    Options {
        output: dir.join("out"),
        model: dir,
        context: 16,
        batch: 4,
        lut: lut(1),
        lut_embeddings: Some(lut(4)),
        lut_lmhead: Some(lut(16)),
        argmax: number.is_multiple_of(3),
        prefix: None,
    }
}

fn is_small(config: &Config) -> bool {
    let heads = config.num_attention_heads.saturating_mul(config.head_dim);
    config.num_hidden_layers <= 2
        && [config.hidden_size, config.intermediate_size, heads].iter().all(|n| *n <= 256)
        && config.vocab_size <= 1024
}

/// Names and shapes of the tensors that the config implies.
fn shapes(config: &Config) -> Vec<(String, Vec<usize>)> {
    let (hidden, inner, dim) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let (heads, kv) = (config.num_attention_heads * dim, config.num_key_value_heads * dim);
    let is_qwen2 = config.architecture == Architecture::Qwen2;
    let bias = config.attention_bias || is_qwen2;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![config.vocab_size, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    if !config.tie_word_embeddings {
        shapes.push(("lm_head.weight".to_owned(), vec![config.vocab_size, hidden]));
    }
    for layer in 0..config.num_hidden_layers {
        let mut put = |name: &str, shape: &[usize]| {
            shapes.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        };
        let projections = [
            ("self_attn.q_proj", heads, hidden, bias),
            ("self_attn.k_proj", kv, hidden, bias),
            ("self_attn.v_proj", kv, hidden, bias),
            ("self_attn.o_proj", hidden, heads, config.attention_bias && !is_qwen2),
            ("mlp.gate_proj", inner, hidden, config.mlp_bias),
            ("mlp.up_proj", inner, hidden, config.mlp_bias),
            ("mlp.down_proj", hidden, inner, config.mlp_bias),
        ];
        for (name, rows, columns, biased) in projections {
            put(&format!("{name}.weight"), &[rows, columns]);
            if biased {
                put(&format!("{name}.bias"), &[rows]);
            }
        }
        put("input_layernorm.weight", &[hidden]);
        put("post_attention_layernorm.weight", &[hidden]);
        if config.architecture == Architecture::Qwen3 {
            put("self_attn.q_norm.weight", &[dim]);
            put("self_attn.k_norm.weight", &[dim]);
        }
    }
    shapes
}

/// Writes a safetensors file of zeros; all but the header is a hole.
fn write_weights(path: &Path, shapes: &[(String, Vec<usize>)]) {
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in shapes {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": "F16", "shape": shape, "data_offsets": [start, end]}));
    }
    let header = Value::Object(header).to_string();
    let file = File::create(path).expect("a file");
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).expect("its length");
    file.write_all_at(header.as_bytes(), 8).expect("its header");
    file.set_len((8 + header.len() + end) as u64).expect("its data");
}
