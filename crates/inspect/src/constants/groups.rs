//! Blocks of a tensor that share a table, a scale or an offset.

/// A tensor cut into blocks of equal extents; the blocks are numbered in row-major order.
#[derive(Clone, Debug)]
pub struct Groups {
    /// Extent, number of blocks, extent of a block; outermost axis first.
    axes: Vec<(u64, u64, u64)>,
    run: u64,
}

impl Groups {
    /// A tensor of `shape` that has `blocks` blocks along each axis.
    ///
    /// # Errors
    /// As a sentence: another number of axes, or blocks that do not divide the shape.
    pub fn new(shape: &[u64], blocks: &[u64]) -> Result<Groups, String> {
        let divides = |(extent, blocks): (&u64, &u64)| *blocks > 0 && extent.is_multiple_of(*blocks);
        let fits = shape.len() == blocks.len() && shape.iter().zip(blocks).all(divides);
        if !fits || shape.contains(&0) {
            return Err(format!("blocks {blocks:?} do not divide the shape {shape:?}"));
        }
        let axes: Vec<_> = shape.iter().zip(blocks).map(|(e, b)| (*e, *b, e / b)).collect();
        let mut run = 1u64;
        for (_, blocks, block) in axes.iter().rev() {
            run = run.checked_mul(*block).ok_or("the shape has too many elements")?;
            if *blocks > 1 {
                break;
            }
        }
        Ok(Groups { axes, run })
    }

    /// The rows of a tensor of `shape`, one block each.
    pub fn rows(shape: &[u64]) -> Option<Groups> {
        let (rows, rest) = shape.split_first()?;
        Groups::new(shape, &[vec![*rows], vec![1; rest.len()]].concat()).ok()
    }

    /// The number of blocks.
    pub fn count(&self) -> u64 {
        self.axes.iter().map(|(_, blocks, _)| blocks).product()
    }

    /// Blocks along each axis.
    pub fn blocks(&self) -> Vec<u64> {
        self.axes.iter().map(|(_, blocks, _)| *blocks).collect()
    }

    /// The block of the element at `index`.
    pub fn of(&self, index: u64) -> u64 {
        let (mut rest, mut step, mut group) = (index, 1, 0);
        for (extent, blocks, block) in self.axes.iter().rev() {
            group += rest % extent / block * step;
            rest /= extent;
            step *= blocks;
        }
        group
    }

    /// Hands the elements from `start` on to `f`, in runs of one block.
    pub fn runs<T>(&self, start: u64, mut rest: &mut [T], mut f: impl FnMut(u64, &mut [T])) {
        let mut at = start;
        while !rest.is_empty() {
            let length = usize::try_from(self.run - at % self.run).unwrap_or(usize::MAX).min(rest.len());
            let (run, others) = rest.split_at_mut(length);
            f(self.of(at), run);
            at += length as u64;
            rest = others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_in_the_block_that_coordinates_say() {
        let cases: [(&[u64], &[u64]); 7] = [
            (&[6], &[3]),
            (&[8, 6], &[2, 1]),
            (&[8, 6], &[1, 3]),
            (&[8, 6], &[8, 2]),
            (&[4, 6, 1, 1], &[2, 1, 1, 1]),
            (&[4, 6, 1, 5], &[1, 6, 1, 1]),
            (&[], &[]),
        ];
        for (shape, blocks) in cases {
            let groups = Groups::new(shape, blocks).unwrap();
            let mut found = vec![u64::MAX; shape.iter().product::<u64>() as usize];
            groups.runs(0, &mut found, |group, run| run.fill(group));
            for (i, group) in found.iter().enumerate() {
                let (mut rest, mut expected, mut step) = (i as u64, 0, 1);
                for (extent, blocks) in shape.iter().zip(blocks).rev() {
                    expected += rest % extent * blocks / extent * step;
                    (rest, step) = (rest / extent, step * blocks);
                }
                assert_eq!(*group, expected, "{shape:?} {blocks:?} {i}");
            }
        }
        for (shape, blocks) in [(&[6, 4][..], &[4, 1][..]), (&[6, 4], &[1]), (&[6, 4], &[0, 1]), (&[0], &[1])]
        {
            assert!(Groups::new(shape, blocks).is_err(), "{shape:?} {blocks:?}");
        }
    }
}
