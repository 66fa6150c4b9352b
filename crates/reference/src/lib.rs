//! What a checkpoint computes, in plain f32: tokens to hidden states to logits, as transformers 4.52.4 defines them.
//!
//! Conversions are measured against this crate, so it shares nothing with them: no graph, no kernel, no rotary table.
//! The modules come in the order `error`, `memory`, `matrix`, `observer`, `text`, `weight`, `product`, `linear`,
//! `embed`, `norm`, `frequencies`, `rotary`, `family`, `attention`, `mlp`, `layer`, `head`, and each uses only earlier
//! ones.
//!
//! All tokens go through a layer before any goes through the next. So each weight is read once for all of them, and only
//! some MiB of weights are in memory at a time, whatever the size of the model. Activations take about
//! `4 (3 hidden_size + 2 intermediate_size)` bytes a token.
//!
//! Numbers: weights are widened to f32 exactly, activations are f32 between operations. Products of activations and
//! weights are summed in f32 over 128 channels, and these sums in f64; the mean square of a norm, the sum of a
//! softmax and the weighted sum of values in f64; a query times a key in f32. Exponentials, cosines and sines are those of
//! f64, rounded. Every sum has its fixed order: the number of threads changes no bit.

mod attention;
mod embed;
mod error;
mod family;
mod frequencies;
mod head;
mod layer;
mod linear;
mod matrix;
mod memory;
mod mlp;
mod norm;
mod observer;
mod product;
mod rotary;
mod text;
mod weight;

use anelith_checkpoint::{Checkpoint, Config};

use crate::embed::Embedding;
use crate::head::Head;
use crate::layer::Layer;
use crate::norm::Norm;
use crate::observer::show;
use crate::rotary::Rotary;
use crate::text::Text;

pub use error::{Error, Result};
pub use matrix::Matrix;
pub use observer::{Observer, Stage};

/// A checkpoint that can be computed. Its tensors are found and have the right shapes; none is in memory.
#[derive(Debug)]
pub struct Reference {
    config: Config,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Norm,
    head: Head,
    rotary: Rotary,
}

impl Reference {
    /// Finds the tensors that the config asks for. Others are ignored.
    ///
    /// # Errors
    /// `Checkpoint` for a tensor that is missing, or has another shape or an element type other than f32, f16, bf16.
    pub fn open(checkpoint: &Checkpoint) -> Result<Reference> {
        let (config, tensors) = (&checkpoint.config, &checkpoint.tensors);
        let layer = |layer| Layer::open(tensors, &Stage::Layer(layer).to_string(), config);
        Ok(Reference {
            embedding: Embedding::open(tensors, config)?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            norm: Norm::open(tensors, &Stage::Norm.to_string(), config.hidden_size, config)?,
            head: Head::open(tensors, config)?,
            rotary: Rotary::new(config),
            config: config.clone(),
        })
    }

    /// The config of the checkpoint.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Computes the hidden states of `windows`, each a text of its own whose first token has position 0; returns them
    /// after the final norm, [tokens of all windows, hidden_size]. The observer sees them after each stage.
    ///
    /// # Errors
    /// `Usage` for no tokens, a token beyond the vocabulary, and a window that is empty or longer than
    /// [`Config::max_positions`] or the model's attention window. `Input` for a weight or hidden state that is not
    /// finite, `Checkpoint` for a file that cannot be read, `Machine` without memory, `Interrupted` where the observer
    /// asks for it.
    pub fn run(&self, windows: &[&[u32]], observer: &mut dyn Observer) -> Result<Matrix> {
        let text = Text::new(windows, &self.config)?;
        let mut states = self.embedding.apply(&text.ids)?;
        show(observer, Stage::Embedding, &states)?;
        for (number, layer) in self.layers.iter().enumerate() {
            layer.apply(number, &mut states, &text, &self.rotary, observer)?;
            show(observer, Stage::Layer(number), &states)?;
        }
        self.norm.apply(&mut states)?;
        show(observer, Stage::Norm, &states)?;
        Ok(states)
    }

    /// Gives the observer the logits of `rows` of what [`Reference::run`] has returned, in the order of `rows`. Only
    /// some are in memory at a time, and the LM head is read once for these.
    ///
    /// # Errors
    /// `Usage` for a row that is not there, and otherwise as `run`.
    pub fn logits(&self, states: &Matrix, rows: &[usize], observer: &mut dyn Observer) -> Result<()> {
        self.head.apply(states, rows, observer)
    }

    /// How many weights a run tells [`Observer::advance`] of, together.
    pub fn run_weights(&self) -> u64 {
        self.layers.iter().map(Layer::weights).sum()
    }

    /// How many weights the logits of so many rows tell [`Observer::advance`] of, together.
    pub fn logits_weights(&self, rows: usize) -> u64 {
        self.head.weights(rows)
    }
}
