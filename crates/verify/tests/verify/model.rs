//! Small checkpoints made on the spot, whole or with something changed, and what they are converted to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anelith_chat::Meta;
use anelith_checkpoint::Checkpoint;
use anelith_convert as convert;
use anelith_verify::{Result, Scope, Silent, Tokens, Verification, verify};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::npz;

pub(crate) const LAYERS: usize = 3;
pub(crate) const VOCAB: usize = 96;
const HIDDEN: usize = 64;
const INNER: usize = 96;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;

/// Tokens of the text that models are verified with.
pub(crate) const TOKENS: usize = 24;

/// A checkpoint that is yet to be written.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) config: Map<String, Value>,
    /// Shapes and values by name.
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Model {
    /// A model of the family `model_type`, with the same weights every time.
    pub(crate) fn new(model_type: &str) -> Model {
        let class = match model_type {
            "llama" => "LlamaForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            _ => "Qwen3ForCausalLM",
        };
        let config = json!({
            "architectures": [class], "model_type": model_type, "hidden_act": "silu", "hidden_size": HIDDEN,
            "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": VOCAB,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": false,
        });
        let Value::Object(config) = config else { unreachable!("it is an object") };
        let mut model = Model { config, tensors: BTreeMap::new() };
        model.fill(model_type);
        model
    }

    fn fill(&mut self, family: &str) {
        let mut put = |name: String, shape: &[usize], scale: f32, shift: f32| {
            let values = values(&name, shape.iter().product());
            let values = values.into_iter().map(|v| v * scale + shift).collect();
            self.tensors.insert(name, (shape.to_vec(), values));
        };
        put("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN], 1.0, 0.0);
        put("lm_head.weight".into(), &[VOCAB, HIDDEN], 0.125, 0.0);
        put("model.norm.weight".into(), &[HIDDEN], 0.5, 1.0);
        let (queries, keys) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        for layer in 0..LAYERS {
            let name = |rest: &str| format!("model.layers.{layer}.{rest}");
            // Queries and keys are large enough for attention to choose, so that positions matter.
            put(name("self_attn.q_proj.weight"), &[queries, HIDDEN], 0.5, 0.0);
            put(name("self_attn.k_proj.weight"), &[keys, HIDDEN], 0.5, 0.0);
            put(name("self_attn.v_proj.weight"), &[keys, HIDDEN], 0.25, 0.0);
            put(name("self_attn.o_proj.weight"), &[HIDDEN, queries], 0.25, 0.0);
            put(name("mlp.gate_proj.weight"), &[INNER, HIDDEN], 0.25, 0.0);
            put(name("mlp.up_proj.weight"), &[INNER, HIDDEN], 0.25, 0.0);
            put(name("mlp.down_proj.weight"), &[HIDDEN, INNER], 0.25, 0.0);
            put(name("input_layernorm.weight"), &[HIDDEN], 0.5, 1.0);
            put(name("post_attention_layernorm.weight"), &[HIDDEN], 0.5, 1.0);
            if family == "qwen2" {
                put(name("self_attn.q_proj.bias"), &[queries], 0.25, 0.0);
                put(name("self_attn.k_proj.bias"), &[keys], 0.25, 0.0);
                put(name("self_attn.v_proj.bias"), &[keys], 0.25, 0.0);
            }
            if family == "qwen3" {
                put(name("self_attn.q_norm.weight"), &[HEAD_DIM], 1.0, 2.0);
                put(name("self_attn.k_norm.weight"), &[HEAD_DIM], 1.0, 2.0);
            }
        }
    }

    /// Sets a field of the config.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Model {
        self.config.insert(field.to_owned(), value);
        self
    }

    /// Exchanges the values of two tensors of one size.
    pub(crate) fn swapped(mut self, one: &str, other: &str) -> Model {
        let (a, b) = (self.tensors[one].1.clone(), self.tensors[other].1.clone());
        assert_eq!(a.len(), b.len());
        self.tensors.get_mut(one).unwrap().1 = b;
        self.tensors.get_mut(other).unwrap().1 = a;
        self
    }

    /// Writes the checkpoint into `dir`.
    pub(crate) fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
        fs::write(dir.join("tokenizer.json"), "{}\n").unwrap();
        fs::write(dir.join("tokenizer_config.json"), "{}\n").unwrap();
        fs::write(dir.join("model.safetensors"), safetensors(&self.tensors)).unwrap();
    }
}

/// Numbers between -1 and 1, different for every tensor: multiples of 1/512, which stay fp16 values when they are scaled
/// and shifted by powers of two.
fn values(name: &str, count: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(7u32, |s, b| s.wrapping_mul(31).wrapping_add(u32::from(b)));
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 22) as f32 - 512.0) / 512.0
    };
    (0..count).map(|_| next()).collect()
}

fn safetensors(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// A checkpoint, and what some checkpoint was converted to: of itself, unless a test says otherwise.
pub(crate) struct Pair {
    root: TempDir,
}

impl Pair {
    /// Converts `converted` and keeps `original` beside it.
    pub(crate) fn new(original: &Model, converted: &Model, lut: &str) -> Pair {
        Pair::with_options(original, converted, lut, false)
    }

    pub(crate) fn with_options(original: &Model, converted: &Model, lut: &str, argmax: bool) -> Pair {
        let pair = Pair { root: tempfile::tempdir().unwrap() };
        original.write(&pair.original());
        let source = pair.root.path().join("converted-from");
        converted.write(&source);
        let options = convert::Options {
            model: source.clone(),
            output: pair.output(),
            context: 32,
            batch: 8,
            lut: lut.parse().unwrap(),
            lut_embeddings: None,
            lut_lmhead: None,
            argmax,
            prefix: None,
        };
        let checkpoint = Checkpoint::open(&source).unwrap();
        let pipeline = convert::Pipeline::new(&checkpoint, &options, &convert::Silent).unwrap();
        pipeline.run(convert::Selection::needed().until(5), &convert::Silent).unwrap();
        pair
    }

    pub(crate) fn whole(model_type: &str, lut: &str) -> Pair {
        let model = Model::new(model_type);
        Pair::new(&model, &model, lut)
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    fn original(&self) -> PathBuf {
        self.root.path().join("original")
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.root.path().join("out")
    }

    pub(crate) fn open(&self) -> (Checkpoint, Meta) {
        (Checkpoint::open(self.original()).unwrap(), Meta::open(&self.output()).unwrap())
    }

    /// Verifies with the tokens of a file of `bytes`.
    pub(crate) fn verify_npz(&self, bytes: &[u8], scope: Scope) -> Result<Verification> {
        let path = self.root.path().join("ids.npz");
        fs::write(&path, bytes).unwrap();
        let (checkpoint, meta) = self.open();
        verify(&checkpoint, &meta, Tokens::of_npz(&path, 1000)?, scope, &Silent)
    }

    pub(crate) fn verify(&self, scope: Scope) -> Result<Verification> {
        self.verify_npz(&npz::file(&[npz::ids(&ids())]), scope)
    }
}

/// The tokens of the text.
pub(crate) fn ids() -> Vec<i32> {
    (0..TOKENS).map(|i| ((i * 37 + 11) % VOCAB) as i32).collect()
}
