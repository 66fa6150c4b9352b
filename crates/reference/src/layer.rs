//! A decoder layer: attention and MLP, each behind a norm and added to what came in.

use anelith_checkpoint::{Config, Tensors};

use crate::attention::Attention;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::mlp::Mlp;
use crate::norm::Norm;
use crate::observer::{Observer, Stage, show};
use crate::rotary::Rotary;
use crate::text::Text;

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer {
    input_layernorm: Norm,
    self_attn: Attention,
    post_attention_layernorm: Norm,
    mlp: Mlp,
}

impl Layer {
    /// The tensors below `name`: `model.layers.3`.
    pub(crate) fn open(tensors: &Tensors, name: &str, config: &Config) -> Result<Layer> {
        let norm = |norm| Norm::open(tensors, &format!("{name}.{norm}"), config.hidden_size, config);
        Ok(Layer {
            input_layernorm: norm("input_layernorm")?,
            self_attn: Attention::open(tensors, &format!("{name}.self_attn"), config)?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            mlp: Mlp::open(tensors, &format!("{name}.mlp"), config)?,
        })
    }

    /// The number of weights in the projections.
    pub(crate) fn weights(&self) -> u64 {
        self.self_attn.weights() + self.mlp.weights()
    }

    /// Takes the hidden states [tokens, hidden_size] through the layer, which has this number.
    pub(crate) fn apply(
        &self,
        number: usize,
        states: &mut Matrix,
        text: &Text,
        rotary: &Rotary,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let mut x = states.clone();
        self.input_layernorm.apply(&mut x)?;
        states.add(&self.self_attn.apply(&x, text, rotary, observer)?);
        show(observer, Stage::Attention(number), states)?;

        x.values_mut().copy_from_slice(states.values());
        self.post_attention_layernorm.apply(&mut x)?;
        states.add(&self.mlp.apply(&x, observer)?);
        Ok(())
    }
}
