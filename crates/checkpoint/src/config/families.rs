//! What the configuration class of each family in transformers 4.52.4 reads, ignores, and assumes when a key is missing.

use super::architecture::Architecture;

/// The values a configuration class gives to keys that config.json does not have.
pub(super) struct Defaults {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    /// `None`: as many as attention heads.
    pub(super) num_key_value_heads: Option<usize>,
    /// `None`: `hidden_size / num_attention_heads`.
    pub(super) head_dim: Option<usize>,
    pub(super) max_position_embeddings: usize,
}

/// `rms_norm_eps` of all three classes.
pub(super) const RMS_NORM_EPS: f64 = 1e-6;
/// `rope_theta` of all three classes.
pub(super) const ROPE_THETA: f64 = 10_000.0;
/// `sliding_window` of the Qwen classes.
pub(super) const SLIDING_WINDOW: usize = 4096;

impl Defaults {
    pub(super) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Llama => Self {
                vocab_size: 32_000,
                hidden_size: 4096,
                intermediate_size: 11_008,
                num_hidden_layers: 32,
                num_attention_heads: 32,
                num_key_value_heads: None,
                head_dim: None,
                max_position_embeddings: 2048,
            },
            Architecture::Qwen2 => Self::qwen(None),
            Architecture::Qwen3 => Self::qwen(Some(128)),
        }
    }

    fn qwen(head_dim: Option<usize>) -> Self {
        Self {
            vocab_size: 151_936,
            hidden_size: 4096,
            intermediate_size: 22_016,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: Some(32),
            head_dim,
            max_position_embeddings: 32_768,
        }
    }
}

/// Fields that every family reads and anelith honours; the token ids are for whoever reads the tokenizer.
const HONOURED: &[&str] = &[
    "architectures",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "partial_rotary_factor",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
    "vocab_size",
];

/// Fields that the base configuration class knows and that cannot change the logits of a text model at inference:
/// how it was trained, stored, or is to be sampled from.
const WITHOUT_EFFECT: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cache_implementation",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "is_decoder",
    "initializer_range",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
];

/// Fields that transformers reads and anelith does not implement, each with the only values that leave the result alone.
/// Null and an absent key are always such values.
pub(super) const REFUSED: &[(&str, &[&str])] = &[
    ("add_cross_attention", &["false"]),
    // Renames fields while they are read.
    ("attribute_map", &["{}"]),
    ("hidden_act", &["\"silu\"", "\"swish\""]),
    ("is_encoder_decoder", &["false"]),
    ("pruned_heads", &["{}"]),
];

/// Nested configurations by which a multimodal or otherwise composite model is recognised: transformers takes
/// what concerns the text from there.
pub(super) const WRAPPERS: &[&str] =
    &["text_config", "vision_config", "audio_config", "decoder", "generator", "text_encoder"];

/// Whether the class of `architecture` reads `key`, or knows it as without effect: such a key needs no warning.
pub(super) fn knows(architecture: Architecture, key: &str) -> bool {
    HONOURED.contains(&key)
        || WITHOUT_EFFECT.contains(&key)
        || REFUSED.iter().any(|(refused, _)| *refused == key)
        || own_fields(architecture).contains(&key)
}

/// Fields that only some of the families read. `pretraining_tp` and `max_window_layers` belong to their classes,
/// but do not change what the attention of a context within the window computes; `layer_types`, which Qwen's later
/// classes read, is checked against the window.
fn own_fields(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::Llama => &["attention_bias", "mlp_bias", "pretraining_tp"],
        Architecture::Qwen2 => &["layer_types", "max_window_layers", "sliding_window", "use_sliding_window"],
        Architecture::Qwen3 => {
            &["attention_bias", "layer_types", "max_window_layers", "sliding_window", "use_sliding_window"]
        }
    }
}
