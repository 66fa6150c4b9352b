//! The embedding: a row of the table for each token.

use anelith_checkpoint::{Config, Tensors};
use rayon::prelude::*;

use crate::error::Result;
use crate::matrix::Matrix;
use crate::weight::Weight;

/// The tensor, which is the LM head too where both are tied.
pub(crate) const NAME: &str = "model.embed_tokens";

/// The table [vocab_size, hidden_size].
#[derive(Debug)]
pub(crate) struct Embedding {
    table: Weight,
}

impl Embedding {
    pub(crate) fn open(tensors: &Tensors, config: &Config) -> Result<Embedding> {
        let shape = [config.vocab_size, config.hidden_size];
        Ok(Embedding { table: Weight::open(tensors, &format!("{NAME}.weight"), &shape)? })
    }

    /// The rows of `ids`, which are below the vocab_size: [tokens, hidden_size].
    pub(crate) fn apply(&self, ids: &[u32]) -> Result<Matrix> {
        let width = self.table.width();
        let mut states = Matrix::zeros(ids.len(), width)?;
        let rows = states.values_mut().par_chunks_mut(width).zip(ids);
        let read: Vec<Result<()>> = rows
            .map(|(row, id)| {
                let id = *id as usize;
                row.copy_from_slice(&self.table.read_rows(id..id + 1)?);
                Ok(())
            })
            .collect();
        read.into_iter().collect::<Result<()>>()?;
        Ok(states)
    }
}
