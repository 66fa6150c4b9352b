//! Where the elements of a value lie in the memory that holds it.

use crate::tensor::strides;

/// The elements of a value of `shape`: the one at index `i` is at `offset + Σ i[a] · strides[a]`.
///
/// `transpose`, `reshape` and their kin are another layout of the same memory, so they move nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl Layout {
    /// Row-major from the beginning of the memory on.
    pub(super) fn plain(shape: &[usize]) -> Layout {
        Layout { offset: 0, shape: shape.to_vec(), strides: strides(shape) }
    }

    /// The number of elements.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The axes that have more than one position, outermost first: extent and stride.
    fn axes(&self) -> impl DoubleEndedIterator<Item = (usize, usize)> + Clone {
        self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|(extent, _)| *extent != 1)
    }

    /// Whether row-major order is the order in memory, without gaps.
    pub(super) fn is_row_major(&self) -> bool {
        let mut step = 1;
        self.axes().rev().all(|(extent, stride)| {
            let fits = stride == step;
            step *= extent;
            fits
        })
    }

    /// Whether the elements fill a range of the memory, in whatever order.
    pub(super) fn is_dense(&self) -> bool {
        let mut axes: Vec<_> = self.axes().collect();
        axes.sort_by_key(|(_, stride)| *stride);
        let mut step = 1;
        axes.into_iter().all(|(extent, stride)| {
            let fits = stride == step;
            step *= extent;
            fits
        })
    }

    /// Whether elements of equal index lie in the same order in both, so that what is dense in both can be
    /// walked from end to end.
    pub(super) fn is_ordered_as(&self, other: &Layout) -> bool {
        self.shape == other.shape && self.axes().eq(other.axes())
    }

    /// The axes in the order `perm`.
    pub(super) fn transposed(&self, perm: &[usize]) -> Layout {
        let pick = |of: &[usize]| perm.iter().map(|axis| of[*axis]).collect();
        Layout { offset: self.offset, shape: pick(&self.shape), strides: pick(&self.strides) }
    }

    /// The positions from `begin` on along each axis, as many as `shape` says.
    pub(super) fn cut(&self, begin: &[usize], shape: &[usize]) -> Layout {
        let skipped: usize = begin.iter().zip(&self.strides).map(|(b, s)| b * s).sum();
        Layout { offset: self.offset + skipped, shape: shape.to_vec(), strides: self.strides.clone() }
    }

    /// The same elements in row-major order as `shape`; `None` where no strides express that.
    pub(super) fn reshaped(&self, shape: &[usize]) -> Option<Layout> {
        if self.count() == 0 || shape.contains(&0) {
            return None;
        }
        // Axes that follow each other without a gap are one run, which may be cut anew.
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (extent, stride) in self.axes() {
            match runs.last_mut() {
                Some((count, step)) if *step == extent * stride => {
                    (*count, *step) = (*count * extent, stride)
                }
                _ => runs.push((extent, stride)),
            }
        }
        let mut runs = runs.into_iter().rev();
        let mut run = runs.next();
        let mut strides = vec![0; shape.len()];
        for (axis, extent) in shape.iter().enumerate().rev().filter(|(_, extent)| **extent != 1) {
            let (left, step) = run?;
            if left % extent != 0 {
                return None;
            }
            strides[axis] = step;
            run = if left == *extent { runs.next() } else { Some((left / extent, step * extent)) };
        }
        run.is_none().then(|| Layout { offset: self.offset, shape: shape.to_vec(), strides })
    }

    /// Whether the elements of each row along the last axis are neighbours.
    pub(super) fn rows_are_runs(&self) -> bool {
        self.shape.last().is_none_or(|length| *length == 1) || self.strides.last() == Some(&1)
    }

    /// Calls `f` with the place in memory of each run along the last axis, in row-major order.
    pub(super) fn for_each_row(&self, mut f: impl FnMut(usize)) {
        let Some((_, outer)) = self.shape.split_last() else { return f(self.offset) };
        let mut index = vec![0; outer.len()];
        let mut at = self.offset;
        for _ in 0..outer.iter().product::<usize>() {
            f(at);
            for axis in (0..outer.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < outer[axis] {
                    break;
                }
                at -= outer[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
    }

    /// Writes the elements in row-major order to `out`, which has as many.
    pub(super) fn gather<T: Copy>(&self, memory: &[T], out: &mut [T]) {
        let length = self.shape.last().copied().unwrap_or(1);
        let step = self.strides.last().copied().unwrap_or(1);
        let mut rows = out.chunks_exact_mut(length.max(1));
        self.for_each_row(|at| match (rows.next(), step) {
            (Some(row), 1) => row.copy_from_slice(&memory[at..at + length]),
            (Some(row), _) => row.iter_mut().enumerate().for_each(|(i, out)| *out = memory[at + i * step]),
            (None, _) => {}
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(layout: &Layout, memory: &[usize]) -> Vec<usize> {
        let mut out = vec![0; layout.count()];
        layout.gather(memory, &mut out);
        out
    }

    #[test]
    fn views_read_what_moving_would_make() {
        let memory: Vec<usize> = (0..24).collect();
        let plain = Layout::plain(&[2, 3, 4]);
        assert_eq!(read(&plain, &memory), memory);
        let turned = plain.transposed(&[2, 0, 1]);
        let expected: Vec<usize> = (0..24).map(|i| (i / 3 % 2) * 12 + (i % 3) * 4 + i / 6).collect();
        assert_eq!(read(&turned, &memory), expected);
        assert_eq!(read(&turned.reshaped(&[2, 2, 6]).unwrap(), &memory), expected);
        assert_eq!(read(&plain.cut(&[0, 1, 2], &[2, 2, 1]), &memory), [6, 10, 18, 22]);
    }

    #[test]
    fn a_reshape_is_a_view_only_where_strides_express_it() {
        let turned = Layout::plain(&[2, 6]).transposed(&[1, 0]);
        assert_eq!(turned.reshaped(&[3, 2, 2]).unwrap().strides, [2, 1, 6]);
        assert!(turned.reshaped(&[12]).is_none());
        assert!(turned.reshaped(&[4, 3]).is_none());
        // As the tokens of a projection become heads.
        let channels = Layout::plain(&[1, 5, 6]).transposed(&[0, 2, 1]).reshaped(&[1, 2, 3, 5]).unwrap();
        let heads = channels.transposed(&[0, 1, 3, 2]);
        assert_eq!((heads.shape.as_slice(), &heads.strides[1..]), (&[1, 2, 5, 3][..], &[3, 6, 1][..]));
        assert_eq!(Layout::plain(&[]).reshaped(&[1, 1]).unwrap().count(), 1);
    }

    #[test]
    fn what_lies_how() {
        let plain = Layout::plain(&[2, 3, 4]);
        assert!(plain.is_row_major() && plain.is_dense() && plain.rows_are_runs());
        let turned = plain.transposed(&[1, 0, 2]);
        assert!(!turned.is_row_major() && turned.is_dense() && turned.rows_are_runs());
        assert!(!plain.transposed(&[0, 2, 1]).rows_are_runs());
        let part = plain.cut(&[0, 0, 1], &[2, 3, 2]);
        assert!(!part.is_row_major() && !part.is_dense() && part.rows_are_runs());
        assert!(Layout::plain(&[1, 5]).transposed(&[1, 0]).is_row_major());
    }
}
