//! The LM head: hidden states after the final norm to logits, for some tokens at a time.

use anelith_checkpoint::{Config, Tensors};
use anelith_report::{Report, Reported};

use crate::embed;
use crate::error::{Error, Result};
use crate::linear::Linear;
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::product::Panels;

/// Logits in memory at once, unless the vocabulary is larger: 128 MiB.
const LOGITS: usize = 1 << 25;

/// The projection to the vocabulary.
#[derive(Debug)]
pub(crate) struct Head {
    lm_head: Linear,
    /// Tokens whose logits are in memory at once.
    tokens: usize,
}

impl Head {
    /// The embedding where both are tied, else `lm_head`.
    pub(crate) fn open(tensors: &Tensors, config: &Config) -> Result<Head> {
        let name = if config.tie_word_embeddings { embed::NAME } else { "lm_head" };
        let shape = [config.vocab_size, config.hidden_size];
        let tokens = (LOGITS / config.vocab_size).max(1);
        Ok(Head { lm_head: Linear::open(tensors, name, shape, false)?, tokens })
    }

    /// The number of weights that go by for so many tokens.
    pub(crate) fn weights(&self, tokens: usize) -> u64 {
        self.lm_head.weights() * tokens.div_ceil(self.tokens) as u64
    }

    /// Gives the observer the logits of `rows` of `states` [tokens, hidden_size], in the order of `rows`.
    pub(crate) fn apply(&self, states: &Matrix, rows: &[usize], observer: &mut dyn Observer) -> Result<()> {
        for rows in rows.chunks(self.tokens) {
            let logits = self.lm_head.apply(&Panels::new(&pick(states, rows)?)?, observer)?;
            logits.check_finite("the logits")?;
            for (row, logits) in rows.iter().zip(logits.values().chunks_exact(logits.width())) {
                observer.logits(*row, logits);
            }
        }
        Ok(())
    }
}

/// Some rows of `states`.
fn pick(states: &Matrix, rows: &[usize]) -> Result<Matrix> {
    let mut picked = Matrix::zeros(rows.len(), states.width())?;
    for (to, row) in picked.values_mut().chunks_exact_mut(states.width()).zip(rows) {
        let from = states.row(*row).ok_or_else(|| {
            let report = Report::new(format!("there are no hidden states of row {row}"))
                .expecting(format!("rows below {}", states.rows()))
                .finding(row);
            Error::Usage(report.into())
        })?;
        to.copy_from_slice(from);
    }
    Ok(picked)
}
