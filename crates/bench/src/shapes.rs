//! The models that are measured: their sizes, the tensors of their checkpoints, their config.json.

use std::fmt::{self, Display};
use std::str::FromStr;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A model by the shapes of its weights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Qwen3-0.6B
    Qwen3,
    /// Llama-3.2-1B
    Llama,
    /// Qwen2.5-0.5B
    Qwen2,
}

impl Kind {
    /// The model that has these shapes.
    pub(crate) fn model(self) -> &'static str {
        match self {
            Kind::Qwen3 => "Qwen3-0.6B",
            Kind::Llama => "Llama-3.2-1B",
            Kind::Qwen2 => "Qwen2.5-0.5B",
        }
    }

    /// Name of the folder of its tokenizer among those of real models.
    pub(crate) fn tokenizer(self) -> &'static str {
        match self {
            Kind::Qwen3 | Kind::Qwen2 => "qwen3",
            Kind::Llama => "deepseek-r1-distill-llama",
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Qwen3 => "qwen3",
            Kind::Llama => "llama",
            Kind::Qwen2 => "qwen2",
        })
    }
}

/// How many times as many weights as the model: a fraction such as `1/4`, or a whole number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scale {
    times: u64,
    of: u64,
}

impl Scale {
    pub(crate) const ONE: Scale = Scale { times: 1, of: 1 };

    /// From 1/4 of the model to four of it.
    pub(crate) const SERIES: [Scale; 5] = [
        Scale { times: 1, of: 4 },
        Scale { times: 1, of: 2 },
        Scale::ONE,
        Scale { times: 2, of: 1 },
        Scale { times: 4, of: 1 },
    ];

    fn apply(self, size: u64, what: &str) -> Result<u64> {
        let scaled = size.checked_mul(self.times).filter(|n| n % self.of == 0 && *n > 0);
        let message = || format!("{what} of {size} cannot be taken {self} times; choose another scale");
        scaled.map(|n| n / self.of).ok_or_else(|| Error::Usage(message()))
    }
}

impl Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of == 1 { write!(f, "{}", self.times) } else { write!(f, "{}/{}", self.times, self.of) }
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Scale, String> {
        let (times, of) = text.split_once('/').unwrap_or((text, "1"));
        let number = |t: &str| t.parse().ok().filter(|n: &u64| (1..=1000).contains(n));
        match (number(times), number(of)) {
            (Some(times), Some(of)) => Ok(Scale { times, of }),
            _ => Err("expected a whole number or a fraction, such as 2 or 1/4".into()),
        }
    }
}

/// Sizes of a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) layers: u64,
    pub(crate) vocab: u64,
    pub(crate) hidden: u64,
    pub(crate) intermediate: u64,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) head_dim: u64,
}

/// What a tensor holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Normal around 0.
    Matrix,
    /// Normal around 1.
    Norm,
    /// Zeros, which is what transformers gives a new model for a bias.
    Bias,
}

/// A tensor of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) content: Content,
}

impl Tensor {
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

impl Shape {
    /// The model itself.
    pub(crate) fn of(kind: Kind) -> Shape {
        let (layers, vocab, [hidden, intermediate], [heads, kv_heads, head_dim]) = match kind {
            Kind::Qwen3 => (28, 151_936, [1024, 3072], [16, 8, 128]),
            Kind::Llama => (16, 128_256, [2048, 8192], [32, 8, 64]),
            Kind::Qwen2 => (24, 151_936, [896, 4864], [14, 2, 64]),
        };
        Shape { kind, layers, vocab, hidden, intermediate, heads, kv_heads, head_dim }
    }

    /// `scale` times as many layers and rows of the vocabulary. The matrices of a layer stay as they are, and with them
    /// the groups that share a table: what grows is their number alone.
    pub(crate) fn scaled(&self, scale: Scale) -> Result<Shape> {
        let layers = scale.apply(self.layers, "a number of layers")?;
        let vocab = scale.apply(self.vocab, "a vocabulary")?;
        Ok(Shape { layers, vocab, ..self.clone() })
    }

    /// The tensors of the checkpoint in the order of their names, which is that of their bytes.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = vec![
            tensor("model.embed_tokens.weight", &[self.vocab, self.hidden], Content::Matrix),
            tensor("model.norm.weight", &[self.hidden], Content::Norm),
        ];
        for layer in 0..self.layers {
            tensors.extend(self.layer(layer));
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    fn layer(&self, layer: u64) -> Vec<Tensor> {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let named = |name: &str| format!("model.layers.{layer}.{name}");
        let matrix = |name: &str, out, inward| {
            tensor(&named(&format!("{name}.weight")), &[out, inward], Content::Matrix)
        };
        let norm = |name: &str, size| tensor(&named(&format!("{name}.weight")), &[size], Content::Norm);
        let bias = |name: &str, size| tensor(&named(&format!("{name}.bias")), &[size], Content::Bias);
        let mut tensors = vec![
            norm("input_layernorm", self.hidden),
            norm("post_attention_layernorm", self.hidden),
            matrix("self_attn.q_proj", queries, self.hidden),
            matrix("self_attn.k_proj", keys, self.hidden),
            matrix("self_attn.v_proj", keys, self.hidden),
            matrix("self_attn.o_proj", self.hidden, queries),
            matrix("mlp.gate_proj", self.intermediate, self.hidden),
            matrix("mlp.up_proj", self.intermediate, self.hidden),
            matrix("mlp.down_proj", self.hidden, self.intermediate),
        ];
        match self.kind {
            Kind::Qwen3 => {
                tensors.extend(["self_attn.q_norm", "self_attn.k_norm"].map(|name| norm(name, self.head_dim)))
            }
            Kind::Qwen2 => tensors.extend([
                bias("self_attn.q_proj", queries),
                bias("self_attn.k_proj", keys),
                bias("self_attn.v_proj", keys),
            ]),
            Kind::Llama => {}
        }
        tensors
    }

    /// How many weights the checkpoint holds.
    pub(crate) fn weights(&self) -> u64 {
        self.tensors().iter().map(Tensor::elements).sum()
    }

    /// The fields that transformers 4.52.4 writes for such a model.
    pub(crate) fn config(&self) -> Value {
        let mut config = json!({
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate,
            "model_type": self.kind.to_string(),
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "tie_word_embeddings": true,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.52.4",
            "use_cache": true,
            "vocab_size": self.vocab,
        });
        let Value::Object(own) = self.own_config() else { return config };
        if let Some(fields) = config.as_object_mut() {
            fields.extend(own);
            fields.sort_keys();
        }
        config
    }

    /// The fields in which the families differ.
    fn own_config(&self) -> Value {
        match self.kind {
            Kind::Qwen3 => json!({
                "architectures": ["Qwen3ForCausalLM"],
                "attention_bias": false,
                "head_dim": self.head_dim,
                "max_position_embeddings": 40960,
                "max_window_layers": 28,
                "rms_norm_eps": 1e-6,
                "rope_scaling": null,
                "rope_theta": 1e6,
                "sliding_window": 4096,
                "use_sliding_window": false,
            }),
            Kind::Llama => json!({
                "architectures": ["LlamaForCausalLM"],
                "attention_bias": false,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "head_dim": self.head_dim,
                "max_position_embeddings": 131_072,
                "mlp_bias": false,
                "pretraining_tp": 1,
                "rms_norm_eps": 1e-5,
                "rope_scaling": {
                    "factor": 32.0,
                    "high_freq_factor": 4.0,
                    "low_freq_factor": 1.0,
                    "original_max_position_embeddings": 8192,
                    "rope_type": "llama3",
                },
                "rope_theta": 5e5,
            }),
            Kind::Qwen2 => json!({
                "architectures": ["Qwen2ForCausalLM"],
                "max_position_embeddings": 32768,
                "max_window_layers": 28,
                "rms_norm_eps": 1e-6,
                "rope_scaling": null,
                "rope_theta": 1e6,
                "sliding_window": 4096,
                "use_sliding_window": false,
            }),
        }
    }

    /// What transformers writes into generation_config.json.
    pub(crate) fn generation_config(&self) -> Value {
        match self.kind {
            Kind::Llama => json!({
                "_from_model_config": true,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "transformers_version": "4.52.4",
            }),
            Kind::Qwen3 | Kind::Qwen2 => {
                json!({ "_from_model_config": true, "transformers_version": "4.52.4" })
            }
        }
    }
}

fn tensor(name: &str, shape: &[u64], content: Content) -> Tensor {
    Tensor { name: name.to_owned(), shape: shape.to_vec(), content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_models() {
        // Counted by transformers 4.52.4 on models of these configurations.
        let known = [(Kind::Qwen3, 596_049_920), (Kind::Llama, 1_235_814_400), (Kind::Qwen2, 494_032_768)];
        for (kind, weights) in known {
            assert_eq!(Shape::of(kind).weights(), weights, "{kind}");
        }
    }

    #[test]
    fn scales_are_of_the_weights() {
        let whole = Shape::of(Kind::Qwen3);
        let norm = whole.hidden as f64;
        for (scale, factor) in Scale::SERIES.into_iter().zip([0.25, 0.5, 1.0, 2.0, 4.0]) {
            let weights = whole.scaled(scale).expect("28 layers and 151936 rows are divisible").weights();
            let wanted = whole.weights() as f64 * factor;
            assert!((weights as f64 - wanted).abs() <= 4.0 * norm, "{scale}: {weights}, expected {wanted}");
        }
        let third: Scale = "1/3".parse().expect("a fraction");
        assert!(whole.scaled(third).is_err());
        for wrong in ["", "0", "1/0", "2x", "-1", "1/2/4"] {
            assert!(wrong.parse::<Scale>().is_err(), "{wrong}");
        }
    }
}
