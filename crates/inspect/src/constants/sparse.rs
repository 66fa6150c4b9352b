//! Sparse tensors: a mask of the dense shape, and the elements where it is set.

use std::sync::Arc;

use super::{Checked, Dense, Node};

/// Bytes of a mask for which the number of set bits before them is known.
const STRIDE: usize = 512;

/// Which elements of a tensor there are; one bit each, from the lowest bit on.
#[derive(Clone, Debug)]
pub(super) struct Mask<'m> {
    bytes: &'m [u8],
    count: u64,
    /// Bits set before each piece of `STRIDE` bytes, and in all.
    before: Arc<[u64]>,
}

impl<'m> Mask<'m> {
    /// A mask of `count` bits, which `bytes` hold.
    pub(super) fn new(bytes: &'m [u8], count: u64) -> Mask<'m> {
        let mut sum = 0;
        let mut before = vec![0];
        let whole = usize::try_from(count / 8).unwrap_or(usize::MAX).min(bytes.len());
        for (i, piece) in bytes.chunks(STRIDE).enumerate() {
            let inside = whole.saturating_sub(i * STRIDE).min(piece.len());
            sum += piece[..inside].iter().map(|b| u64::from(b.count_ones())).sum::<u64>();
            if let Some(last) = piece.get(inside).filter(|_| !count.is_multiple_of(8)) {
                sum += u64::from((last & ((1u16 << (count % 8)) - 1) as u8).count_ones());
            }
            before.push(sum);
        }
        Mask { bytes, count, before: before.into() }
    }

    /// The number of bits that are set.
    fn set(&self) -> u64 {
        self.before.last().copied().unwrap_or(0)
    }

    pub(super) fn is_set(&self, at: u64) -> bool {
        let byte = usize::try_from(at / 8).ok().and_then(|at| self.bytes.get(at)).copied().unwrap_or(0);
        at < self.count && byte >> (at % 8) & 1 == 1
    }

    /// The number of bits set before `at`.
    fn rank(&self, at: u64) -> u64 {
        let bits = (STRIDE * 8) as u64;
        let known = usize::try_from(at / bits).ok().and_then(|i| self.before.get(i)).copied();
        known.map_or(self.set(), |known| {
            known + (at / bits * bits..at).filter(|i| self.is_set(*i)).count() as u64
        })
    }

    /// Makes zeros of the elements from `start` on where the mask is not set.
    pub(super) fn clear_unset(&self, start: u64, out: &mut [f64]) {
        for (at, v) in (start..).zip(out) {
            if !self.is_set(at) {
                *v = 0.0;
            }
        }
    }
}

/// The elements where a mask is set, and zeros elsewhere.
#[derive(Debug)]
pub(super) struct Sparse<'m> {
    mask: Mask<'m>,
    nonzero: Node<'m>,
}

impl<'m> Sparse<'m> {
    /// The tensor of `shape` of which `nonzero` are the elements where `mask` is set.
    pub(super) fn dense(mask: Mask<'m>, shape: Vec<u64>, nonzero: Dense<'m>) -> Checked<Dense<'m>> {
        let (set, elements) = (mask.set(), nonzero.count());
        if set != elements {
            return Err(format!("the mask has {set} bits set, expected {elements} for the elements"));
        }
        let dtype = nonzero.dtype;
        let node = Node::Sparse(Box::new(Sparse { mask, nonzero: nonzero.node }));
        Ok(Dense { shape, dtype, groups: None, node })
    }

    pub(super) fn read(&self, start: u64, out: &mut [f64]) {
        let first = self.mask.rank(start);
        let is_set: Vec<bool> = (0..out.len()).map(|i| self.mask.is_set(start + i as u64)).collect();
        let mut elements = vec![0.0; is_set.iter().filter(|set| **set).count()];
        self.nonzero.read(first, &mut elements);
        let mut elements = elements.into_iter();
        for (v, set) in out.iter_mut().zip(is_set) {
            *v = if set { elements.next().unwrap_or_default() } else { 0.0 };
        }
    }
}
