//! Every family with every tensor that it may have, against the same computed token by token and number by number
//! in f64, as the modules of transformers are written.

use anelith_reference::Reference;
use serde_json::{Value, json};

use super::model::Model;
use super::{all_logits, worst};

/// The model of a test, with the weights that it has: `plain` asks for tensors, and so defines which there are.
struct Plain {
    model: Model,
    dim: usize,
    /// Whether this family has norms of heads.
    head_norms: bool,
    qkv_bias: bool,
    o_bias: bool,
    mlp_bias: bool,
}

impl Plain {
    fn size(&self, key: &str) -> usize {
        self.model.config[key].as_u64().unwrap() as usize
    }

    fn tensor(&mut self, name: &str, shape: &[usize], scale: f32, mean: f32) -> Vec<f64> {
        if !self.model.tensors.contains_key(name) {
            self.model.add(name, shape, scale, mean);
        }
        self.model.tensors[name].1.iter().map(|v| f64::from(*v)).collect()
    }

    fn linear(&mut self, name: &str, x: &[f64], out: usize, bias: bool) -> Vec<f64> {
        let weight = self.tensor(&format!("{name}.weight"), &[out, x.len()], 0.6, 0.0);
        let bias = if bias { self.tensor(&format!("{name}.bias"), &[out], 0.5, 0.0) } else { vec![0.0; out] };
        let product = |row: &[f64]| -> f64 { row.iter().zip(x).map(|(w, x)| w * x).sum() };
        weight.chunks(x.len()).zip(bias).map(|(row, bias)| product(row) + bias).collect()
    }

    fn norm(&mut self, name: &str, x: &[f64], width: usize) -> Vec<f64> {
        let weight = self.tensor(&format!("{name}.weight"), &[width], 0.5, 1.0);
        let eps = self.model.config["rms_norm_eps"].as_f64().unwrap();
        let normed = x.chunks(width).flat_map(|x| {
            let variance = x.iter().map(|v| v * v).sum::<f64>() / width as f64;
            x.iter().zip(&weight).map(move |(v, w)| w * v / (variance + eps).sqrt()).collect::<Vec<_>>()
        });
        normed.collect()
    }

    fn rotate(&self, x: &[f64], position: usize) -> Vec<f64> {
        let (dim, theta) = (self.dim, self.model.config["rope_theta"].as_f64().unwrap());
        let stretch = self.model.config["rope_scaling"]["factor"].as_f64().unwrap_or(1.0);
        let turned = x.chunks(dim).flat_map(|head| {
            (0..dim).map(move |i| {
                let angle = position as f64 / stretch / theta.powf(2.0 * (i % (dim / 2)) as f64 / dim as f64);
                let half = if i < dim / 2 { -head[i + dim / 2] } else { head[i - dim / 2] };
                head[i] * angle.cos() + half * angle.sin()
            })
        });
        turned.collect()
    }

    /// One layer for the token at `position`, which adds its keys and values to those of the earlier ones.
    fn layer(
        &mut self,
        layer: usize,
        x: &[f64],
        position: usize,
        cache: &mut [Vec<Vec<f64>>; 2],
    ) -> Vec<f64> {
        let (at, dim) = (format!("model.layers.{layer}"), self.dim);
        let [heads, groups] = ["num_attention_heads", "num_key_value_heads"].map(|key| self.size(key));
        let h = self.norm(&format!("{at}.input_layernorm"), x, x.len());
        let (attn, bias) = (format!("{at}.self_attn"), self.qkv_bias);
        let mut q = self.linear(&format!("{attn}.q_proj"), &h, heads * dim, bias);
        let mut k = self.linear(&format!("{attn}.k_proj"), &h, groups * dim, bias);
        let v = self.linear(&format!("{attn}.v_proj"), &h, groups * dim, bias);
        if self.head_norms {
            q = self.norm(&format!("{attn}.q_norm"), &q, dim);
            k = self.norm(&format!("{attn}.k_norm"), &k, dim);
        }
        let q = self.rotate(&q, position);
        cache[0].push(self.rotate(&k, position));
        cache[1].push(v);
        let y: Vec<f64> =
            (0..heads).flat_map(|head| attend(&q, head, head / (heads / groups), dim, cache)).collect();
        let y = self.linear(&format!("{attn}.o_proj"), &y, x.len(), self.o_bias);
        let x: Vec<f64> = x.iter().zip(y).map(|(x, y)| x + y).collect();

        let h = self.norm(&format!("{at}.post_attention_layernorm"), &x, x.len());
        let (inner, bias) = (self.size("intermediate_size"), self.mlp_bias);
        let gate = self.linear(&format!("{at}.mlp.gate_proj"), &h, inner, bias);
        let up = self.linear(&format!("{at}.mlp.up_proj"), &h, inner, bias);
        let h: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        let y = self.linear(&format!("{at}.mlp.down_proj"), &h, x.len(), bias);
        x.iter().zip(y).map(|(x, y)| x + y).collect()
    }

    /// The logits of each token.
    fn logits(&mut self, ids: &[u32], tied: bool) -> Vec<f32> {
        let (vocab, hidden) = (self.size("vocab_size"), self.size("hidden_size"));
        let mut caches: Vec<[Vec<Vec<f64>>; 2]> = vec![Default::default(); self.size("num_hidden_layers")];
        let mut logits = Vec::new();
        for (position, id) in ids.iter().enumerate() {
            let table = self.tensor("model.embed_tokens.weight", &[vocab, hidden], 1.0, 0.0);
            let mut x = table[*id as usize * hidden..][..hidden].to_vec();
            for (layer, cache) in caches.iter_mut().enumerate() {
                x = self.layer(layer, &x, position, cache);
            }
            let x = self.norm("model.norm", &x, hidden);
            let head = if tied { "model.embed_tokens" } else { "lm_head" };
            logits.extend(self.linear(head, &x, vocab, false).iter().map(|v| *v as f32));
        }
        logits
    }
}

/// The output of one head of queries, which reads one of keys and values.
fn attend(q: &[f64], head: usize, group: usize, dim: usize, [keys, values]: &[Vec<Vec<f64>>; 2]) -> Vec<f64> {
    let part = |x: &[f64], head: usize| x[head * dim..][..dim].to_vec();
    let q = part(q, head);
    let score = |key: &Vec<f64>| -> f64 {
        let key = part(key, group);
        (q.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()).exp()
    };
    let weights: Vec<f64> = keys.iter().map(score).collect();
    let sum: f64 = weights.iter().sum();
    let channel = |i| weights.iter().zip(values).map(|(w, v)| w / sum * v[group * dim + i]).sum();
    (0..dim).map(channel).collect()
}

/// Compares a model, whose optional tensors are: biases of q, k and v; of o; of the MLP; norms of heads.
fn check(model_type: &str, fields: Value, [qkv_bias, o_bias, mlp_bias, head_norms]: [bool; 4]) {
    let what = format!("{model_type} {fields}");
    let (dim, tied) = (fields["head_dim"].as_u64(), fields["tie_word_embeddings"] == true);
    let model = Model::new(model_type, fields);
    let dim = dim.unwrap_or(4) as usize;
    let mut plain = Plain { model, dim, head_norms, qkv_bias, o_bias, mlp_bias };
    let ids: Vec<u32> = (0..21).map(|i| i * i % 41).collect();
    let expected = plain.logits(&ids, tied);
    let (_dir, checkpoint) = plain.model.write();
    let found = all_logits(&Reference::open(&checkpoint).unwrap(), &[&ids]);
    let worst = worst(&found, &expected);
    println!("{what}: differs by {worst:.1e} of the range");
    assert!(worst < 2e-6, "{what}: differs by {worst} of the range");
}

#[test]
fn llama_with_and_without_biases() {
    check("llama", json!({}), [false; 4]);
    check("llama", json!({"attention_bias": true}), [true, true, false, false]);
    let both = json!({"attention_bias": true, "mlp_bias": true, "head_dim": 10, "tie_word_embeddings": true});
    check("llama", both, [true, true, true, false]);
}

#[test]
fn qwen2_always_has_biases_but_of_its_output() {
    check("qwen2", json!({}), [true, false, false, false]);
    let ignored = json!({"attention_bias": true, "mlp_bias": true, "num_key_value_heads": 6});
    check("qwen2", ignored, [true, false, false, false]);
}

#[test]
fn qwen3_has_norms_of_heads() {
    check("qwen3", json!({"head_dim": 8}), [false, false, false, true]);
    let biased = json!({"head_dim": 6, "attention_bias": true, "mlp_bias": true, "num_key_value_heads": 1});
    check("qwen3", biased, [true, true, false, true]);
}

#[test]
fn scaled_positions() {
    let linear = json!({"head_dim": 8, "rope_scaling": {"rope_type": "linear", "factor": 4.0}});
    check("llama", linear, [false; 4]);
}

/// Within its window, Qwen computes as if there were none.
#[test]
fn a_window_that_is_not_reached_changes_nothing() {
    let window = json!({"use_sliding_window": true, "sliding_window": 21, "max_window_layers": 0});
    check("qwen2", window, [true, false, false, false]);
}
