//! The digest of the weights that a conversion reads, taken while they are read.
//!
//! It is made of the digests of the rows of each tensor, rounded to fp16 as every conversion reads them: rows are what
//! pieces and groups of any size are made of, so it does not depend on how the weights are cut.

use std::collections::BTreeMap;
use std::ops::Range;

use anelith_checkpoint::TensorRef;
use anelith_mil::digest::{Digest, Digester};

use super::Weights;
use super::work::little_endian;
use crate::digest::digest_parts;
use crate::error::{Error, Result};
use crate::ordered::in_order;
use crate::progress::Progress;

/// Elements that are read at a time, unless a row has more.
const PIECE: usize = 1 << 18;

/// What is known of the tensors so far.
pub(super) struct SourceDigest<'w>(BTreeMap<&'w str, Rows<'w>>);

/// The rows of a tensor, from the first on.
struct Rows<'w> {
    tensor: &'w TensorRef,
    digester: Digester,
    /// Elements of the rows seen.
    seen: usize,
}

impl<'w> Rows<'w> {
    fn add(&mut self, digests: &[Digest]) {
        digests.iter().for_each(|digest| self.digester.update(&digest.to_bytes()));
        self.seen += digests.len() * columns(self.tensor);
    }

    /// What of it is still to be read, in pieces.
    fn missing(&self) -> impl Iterator<Item = (&'w TensorRef, Range<usize>)> + use<'w> {
        let (tensor, columns) = (self.tensor, columns(self.tensor));
        let (step, end) = ((PIECE / columns).max(1) * columns, tensor.element_count());
        (self.seen..end).step_by(step).map(move |start| (tensor, start..end.min(start + step)))
    }
}

/// Elements of a row.
fn columns(tensor: &TensorRef) -> usize {
    tensor.shape().iter().skip(1).product::<usize>().max(1)
}

/// The digests of rows of so many `columns`, from their elements as little-endian fp16.
pub(super) fn digest_rows(bytes: &[u8], columns: usize) -> Vec<Digest> {
    bytes.chunks(2 * columns).map(Digest::of).collect()
}

impl<'w> SourceDigest<'w> {
    /// No row of any tensor that `weights` reads.
    pub(super) fn new(weights: &'w Weights<'_>) -> SourceDigest<'w> {
        let rows = |tensor| Rows { tensor, digester: Digester::new(), seen: 0 };
        SourceDigest(weights.claimed.iter().map(|(name, tensor)| (name.as_str(), rows(tensor))).collect())
    }

    /// Takes in rows of the tensor `name` from element `first` on, if they are the next ones.
    pub(super) fn add(&mut self, name: &str, first: usize, digests: &[Digest]) {
        if let Some(rows) = self.0.get_mut(name).filter(|rows| rows.seen == first) {
            rows.add(digests);
        }
    }

    /// Reads what is missing, and answers with the digest of all.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16, or `Interrupted`.
    pub(super) fn finish(mut self, progress: &dyn Progress) -> Result<String> {
        let pieces: Vec<_> = self.0.values().flat_map(Rows::missing).collect();
        let read = |halves: &mut Vec<_>, number: usize| -> Result<_> {
            let (tensor, range) = &pieces[number];
            tensor.read_f16(range.clone(), halves)?;
            Ok((tensor, range, digest_rows(&little_endian(halves), columns(tensor))))
        };
        in_order(pieces.len(), rayon::current_num_threads(), Vec::new, read, |done| {
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let (tensor, range, digests) = done?;
            self.add(tensor.name(), range.start, &digests);
            progress.advance(2 * range.len() as u64);
            Ok(())
        })?;
        Ok(self.digest())
    }

    fn digest(&self) -> String {
        let tensors = self.0.values();
        let texts: Vec<_> = tensors
            .flat_map(|rows| {
                let shape = format!("{:?}", rows.tensor.shape());
                [rows.tensor.name().to_owned(), shape, rows.digester.digest().to_string()]
            })
            .collect();
        digest_parts(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }
}
