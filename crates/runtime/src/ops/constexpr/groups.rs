//! Blocks of a tensor that share a table, a scale or an offset.

use rayon::prelude::*;

/// How many elements a thread takes at a time.
const PIECE: usize = 1 << 15;

/// A tensor cut into blocks of equal extents; the blocks are numbered in row-major order.
///
/// Neighbouring axes that need not be told apart are one here, so that runs of one block are long.
#[derive(Debug)]
pub(crate) struct Groups {
    axes: Vec<Axis>,
}

#[derive(Debug)]
struct Axis {
    extent: usize,
    blocks: usize,
    /// The extent of a block.
    block: usize,
}

impl Groups {
    /// A tensor of `shape` that has `blocks` blocks along each axis.
    ///
    /// # Errors
    /// Another number of axes, or blocks that do not divide the shape.
    pub(crate) fn new(shape: &[usize], blocks: &[usize]) -> Result<Groups, String> {
        let divides = |(extent, blocks): (&usize, &usize)| *blocks > 0 && extent.is_multiple_of(*blocks);
        if shape.len() != blocks.len() || !shape.iter().zip(blocks).all(divides) {
            return Err(format!("blocks {blocks:?} do not divide the shape {shape:?}"));
        }
        let mut axes: Vec<Axis> = vec![Axis { extent: 1, blocks: 1, block: 1 }];
        for (&extent, &blocks) in shape.iter().zip(blocks).filter(|(extent, _)| **extent != 1) {
            let axis = Axis { extent, blocks, block: extent / blocks };
            match axes.last_mut() {
                Some(last) if last.joins(&axis) => {
                    last.extent *= axis.extent;
                    last.blocks *= axis.blocks;
                    last.block *= axis.block;
                }
                _ => axes.push(axis),
            }
        }
        Ok(Groups { axes })
    }

    /// The number of neighbouring elements that are always in one block.
    fn run(&self) -> usize {
        self.axes.last().map_or(1, |axis| axis.block)
    }

    /// The block of the element at `index`.
    pub(crate) fn of(&self, index: usize) -> usize {
        let (mut rest, mut step, mut group) = (index, 1, 0);
        for axis in self.axes.iter().rev() {
            group += rest % axis.extent / axis.block * step;
            rest /= axis.extent;
            step *= axis.blocks;
        }
        group
    }

    /// Hands `out`, which has the shape of the tensor, to `f` in runs of one block: the block, the index of
    /// the first element, and the run. Several threads do so at once.
    pub(crate) fn for_each_run<T: Send>(&self, out: &mut [T], f: impl Fn(usize, usize, &mut [T]) + Sync) {
        let length = self.run();
        out.par_chunks_mut(PIECE).enumerate().for_each(|(piece, mut rest)| {
            let mut at = piece * PIECE;
            while !rest.is_empty() {
                let (run, others) = rest.split_at_mut((length - at % length).min(rest.len()));
                f(self.of(at), at, run);
                at += run.len();
                rest = others;
            }
        });
    }
}

impl Axis {
    /// Whether this axis and the next inner one are like one axis of as many blocks as both.
    fn joins(&self, inner: &Axis) -> bool {
        inner.blocks == 1 || (self.block == 1 && inner.block == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The block of each element, by coordinates.
    fn slow(shape: &[usize], blocks: &[usize]) -> Vec<usize> {
        let steps = crate::tensor::strides(shape);
        let position = |index: usize, a: usize| index / steps[a] % shape[a];
        let block = |index| {
            (0..shape.len()).fold(0, |g, a| g * blocks[a] + position(index, a) * blocks[a] / shape[a])
        };
        (0..shape.iter().product()).map(block).collect()
    }

    #[test]
    fn runs_are_in_the_block_that_coordinates_say() {
        let cases: [(&[usize], &[usize]); 11] = [
            (&[6], &[3]),
            (&[8, 6], &[2, 1]),
            (&[8, 6], &[1, 3]),
            (&[8, 6], &[8, 6]),
            (&[8, 6], &[8, 2]),
            (&[4, 6, 1, 1], &[4, 1, 1, 1]),
            (&[4, 6, 1, 5], &[1, 6, 1, 1]),
            (&[3, 4, 5], &[3, 2, 5]),
            (&[1, 1], &[1, 1]),
            (&[0, 3], &[1, 3]),
            (&[300, 250], &[1, 2]),
        ];
        for (shape, blocks) in cases {
            let groups = Groups::new(shape, blocks).unwrap();
            let expected = slow(shape, blocks);
            let mut found = vec![(usize::MAX, usize::MAX); expected.len()];
            groups.for_each_run(&mut found, |group, start, run| {
                run.iter_mut().enumerate().for_each(|(i, at)| *at = (group, start + i));
            });
            let expected: Vec<_> = expected.into_iter().enumerate().map(|(i, group)| (group, i)).collect();
            assert_eq!(found, expected, "{shape:?} {blocks:?}");
        }
    }

    #[test]
    fn blocks_must_divide() {
        for (shape, blocks) in [(&[6, 4][..], &[4, 1][..]), (&[6, 4], &[1]), (&[6, 4], &[0, 1]), (&[0], &[0])]
        {
            assert!(
                Groups::new(shape, blocks).unwrap_err().contains("do not divide"),
                "{shape:?} {blocks:?}"
            );
        }
    }
}
