//! What the families differ in; all else they have in common.

use anelith_checkpoint::{Architecture, Config};

/// Which of the optional tensors a decoder layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// Biases of `q_proj`, `k_proj` and `v_proj`.
    pub(crate) qkv_bias: bool,
    /// A bias of `o_proj`.
    pub(crate) o_bias: bool,
    /// Norms of each head of queries and keys, before they are rotated.
    pub(crate) head_norms: bool,
    /// Biases of `gate_proj`, `up_proj` and `down_proj`.
    pub(crate) mlp_bias: bool,
}

impl Family {
    pub(crate) fn of(config: &Config) -> Family {
        let bias = config.attention_bias;
        match config.architecture {
            Architecture::Llama => {
                Family { qkv_bias: bias, o_bias: bias, head_norms: false, mlp_bias: config.mlp_bias }
            }
            Architecture::Qwen2 => {
                Family { qkv_bias: true, o_bias: false, head_norms: false, mlp_bias: false }
            }
            Architecture::Qwen3 => Family { qkv_bias: bias, o_bias: bias, head_norms: true, mlp_bias: false },
        }
    }
}
