//! `slice_by_index`, `slice_by_size` and `slice_update`: boxes cut out of a tensor or written into it.

use std::sync::Arc;

use super::arguments::Arguments;
use super::elementwise::advance;
use super::{Operation, Planned, Problem, operands};
use crate::tensor::{Tensor, TensorData, element_count, map_elements, strides};

/// The constant parameters that the two ops share, one entry an axis.
#[derive(Debug)]
struct Masks {
    stride: Vec<usize>,
    begin: Vec<bool>,
    end: Vec<bool>,
    squeeze: Vec<bool>,
}

#[derive(Debug)]
struct SliceByIndex(Masks);

/// A box of a tensor, replaced.
#[derive(Debug)]
pub(crate) struct SliceUpdate(Masks);

#[derive(Debug)]
struct SliceBySize;

/// Positions on one axis: `count` of them from `start` on, `step` apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    start: usize,
    count: usize,
    step: usize,
}

fn masks(args: &Arguments<'_>) -> Result<Masks, Problem> {
    let rank = args.rank("x")?;
    let expect = |name: &str, count: usize| match count == rank {
        true => Ok(()),
        false => Err(Problem::Malformed(format!("`{name}` has {count} elements, `x` has {rank} axes"))),
    };
    let mask = |name: &str| -> Result<Vec<bool>, Problem> {
        let mask = args.bools(name)?.unwrap_or_else(|| vec![false; rank]);
        expect(name, mask.len()).map(|()| mask)
    };
    let strides = args.i32s("stride")?.unwrap_or_else(|| vec![1; rank]);
    expect("stride", strides.len())?;
    let positive = strides.iter().map(|s| usize::try_from(*s).ok().filter(|s| *s > 0)).collect();
    let stride: Option<Vec<usize>> = positive;
    let stride = stride
        .ok_or_else(|| Problem::Unsupported(format!("`stride` is {strides:?}, expected positive steps")))?;
    Ok(Masks { stride, begin: mask("begin_mask")?, end: mask("end_mask")?, squeeze: mask("squeeze_mask")? })
}

impl Masks {
    /// The box between `begin` and `end` in a tensor of `shape`.
    fn ranges(&self, shape: &[usize], begin: &[i32], end: &[i32]) -> Result<Vec<Range>, String> {
        let rank = shape.len();
        if begin.len() != rank || end.len() != rank || self.stride.len() != rank {
            let (b, e) = (begin.len(), end.len());
            return Err(format!("`begin` and `end` have {b} and {e} elements, `x` has {rank} axes"));
        }
        (0..rank).map(|i| self.range(i, shape[i], begin[i], end[i])).collect()
    }

    fn range(&self, axis: usize, extent: usize, begin: i32, end: i32) -> Result<Range, String> {
        let step = self.stride[axis];
        let bad = || format!("axis {axis}: the slice {begin}..{end} does not lie within the extent {extent}");
        let wrap = |v: i32| match usize::try_from(v) {
            Ok(v) => Some(v),
            Err(_) => extent.checked_sub(usize::try_from(v.unsigned_abs()).ok()?),
        };
        let start = if self.begin[axis] { Some(0) } else { wrap(begin) };
        let start = start.ok_or_else(bad)?;
        if self.squeeze[axis] {
            return if start < extent { Ok(Range { start, count: 1, step: 1 }) } else { Err(bad()) };
        }
        let stop = if self.end[axis] { Some(extent) } else { wrap(end) };
        match stop.filter(|stop| start <= *stop && *stop <= extent) {
            Some(stop) => Ok(Range { start, count: (stop - start).div_ceil(step), step }),
            None => Err(bad()),
        }
    }

    /// The shape of the box without the squeezed axes.
    fn shape(&self, ranges: &[Range]) -> Vec<usize> {
        ranges.iter().zip(&self.squeeze).filter(|(_, s)| !**s).map(|(r, _)| r.count).collect()
    }
}

/// Calls `f` with the offset and length of each contiguous run of the box `ranges` in a tensor of `shape`,
/// in row-major order.
fn for_each_run(shape: &[usize], ranges: &[Range], mut f: impl FnMut(usize, usize)) {
    let counts: Vec<usize> = ranges.iter().map(|r| r.count).collect();
    if counts.contains(&0) {
        return;
    }
    let steps = strides(shape);
    let whole = |i: &usize| ranges[*i] == Range { start: 0, count: shape[*i], step: 1 };
    let mut outer = shape.len() - (0..shape.len()).rev().take_while(whole).count();
    if outer > 0 && ranges[outer - 1].step == 1 {
        outer -= 1;
    }
    let run = counts[outer..].iter().product();
    let base: usize = ranges.iter().zip(&steps).map(|(r, s)| r.start * s).sum();
    let mut index = vec![0usize; outer];
    for _ in 0..counts[..outer].iter().product::<usize>() {
        let at: usize = index.iter().enumerate().map(|(i, n)| n * ranges[i].step * steps[i]).sum();
        f(base + at, run);
        advance(&mut index, &counts[..outer]);
    }
}

fn cut<T: Copy>(x: &[T], shape: &[usize], ranges: &[Range]) -> Vec<T> {
    let mut out = Vec::with_capacity(ranges.iter().map(|r| r.count).product());
    for_each_run(shape, ranges, |at, run| out.extend_from_slice(&x[at..at + run]));
    out
}

fn paste<T: Copy>(x: &mut [T], shape: &[usize], ranges: &[Range], update: &[T]) {
    let mut rest = update;
    for_each_run(shape, ranges, |at, run| {
        let (now, later) = rest.split_at(run);
        x[at..at + run].copy_from_slice(now);
        rest = later;
    });
}

/// Plans `slice_by_index`.
pub(super) fn slice_by_index(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    Ok(Box::new(SliceByIndex(masks(args)?)))
}

impl Operation for SliceByIndex {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, begin, end] = operands(inputs)?;
        let ranges = self.0.ranges(x.shape(), begin.i32s()?, end.i32s()?)?;
        let data = map_elements!(x.data(), v => cut(v, x.shape(), &ranges));
        Ok(vec![Tensor::made(self.0.shape(&ranges), data)?])
    }
}

/// Plans `slice_by_size`.
pub(super) fn slice_by_size() -> Box<dyn Operation> {
    Box::new(SliceBySize)
}

impl Operation for SliceBySize {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, begin, size] = operands(inputs)?;
        let (begin, size, rank) = (begin.i32s()?, size.i32s()?, x.shape().len());
        if begin.len() != rank || size.len() != rank {
            let (b, s) = (begin.len(), size.len());
            return Err(format!("`begin` and `size` have {b} and {s} elements, `x` has {rank} axes"));
        }
        let ranges =
            (0..rank).map(|i| sized(i, x.shape()[i], begin[i], size[i])).collect::<Result<Vec<_>, _>>()?;
        let shape = ranges.iter().map(|r| r.count).collect();
        let data = map_elements!(x.data(), v => cut(v, x.shape(), &ranges));
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The `size` positions of an axis from `begin` on; all that remain where `size` is -1.
fn sized(axis: usize, extent: usize, begin: i32, size: i32) -> Result<Range, String> {
    let start = match usize::try_from(begin) {
        Ok(start) => Some(start),
        Err(_) => usize::try_from(begin.unsigned_abs()).ok().and_then(|back| extent.checked_sub(back)),
    };
    let range = start.and_then(|start| {
        let rest = extent.checked_sub(start)?;
        let count = if size == -1 { rest } else { usize::try_from(size).ok()? };
        (count <= rest).then_some(Range { start, count, step: 1 })
    });
    range.ok_or_else(|| {
        format!("axis {axis}: {size} positions from {begin} on do not lie within the extent {extent}")
    })
}

/// Plans `slice_update`.
pub(super) fn slice_update(args: &Arguments<'_>) -> Result<Planned, Problem> {
    Ok(Planned::Update(SliceUpdate(masks(args)?)))
}

impl SliceUpdate {
    /// Calls `f` with the offset and length of each run of neighbours that `update`, of shape `update_shape`, replaces
    /// in a tensor of `shape`, in row-major order.
    ///
    /// # Errors
    /// A box that does not lie within the tensor, or that `update` does not fill.
    pub(crate) fn for_each_run(
        &self,
        shape: &[usize],
        update_shape: &[usize],
        [begin, end]: [&Tensor; 2],
        f: impl FnMut(usize, usize),
    ) -> Result<(), String> {
        let ranges = self.0.ranges(shape, begin.i32s()?, end.i32s()?)?;
        let expected = self.0.shape(&ranges);
        if expected != update_shape {
            return Err(format!("`update` has shape {update_shape:?}, the slice has {expected:?}"));
        }
        for_each_run(shape, &ranges, f);
        Ok(())
    }
}

impl Operation for SliceUpdate {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, update, begin, end] = operands(inputs)?;
        let ranges = self.0.ranges(x.shape(), begin.i32s()?, end.i32s()?)?;
        let shape = self.0.shape(&ranges);
        if element_count(&shape) != Some(update.data().len()) || shape != update.shape() {
            return Err(format!("`update` has shape {:?}, the slice has {shape:?}", update.shape()));
        }
        let mut out = Arc::unwrap_or_clone(x);
        let target = out.shape().to_vec();
        match (out.data_mut(), update.data()) {
            (TensorData::F32(x), TensorData::F32(u)) => paste(x, &target, &ranges, u),
            (TensorData::I32(x), TensorData::I32(u)) => paste(x, &target, &ranges, u),
            (TensorData::Bool(x), TensorData::Bool(u)) => paste(x, &target, &ranges, u),
            (x, u) => return Err(format!("`x` holds {} and `update` {}", x.class(), u.class())),
        }
        Ok(vec![out])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(rank: usize) -> Masks {
        let none = || vec![false; rank];
        Masks { stride: vec![1; rank], begin: none(), end: none(), squeeze: none() }
    }

    fn ints(v: &[i32]) -> Arc<Tensor> {
        Arc::new(Tensor::new(&[v.len()], v.to_vec()).unwrap())
    }

    fn numbers(shape: &[usize]) -> Arc<Tensor> {
        let count = shape.iter().product::<usize>() as i32;
        Arc::new(Tensor::new(shape, (0..count).collect::<Vec<_>>()).unwrap())
    }

    fn slice(masks: Masks, shape: &[usize], begin: &[i32], end: &[i32]) -> Result<Tensor, String> {
        Ok(SliceByIndex(masks).run(vec![numbers(shape), ints(begin), ints(end)])?.remove(0))
    }

    #[test]
    fn boxes() {
        let out = slice(plain(2), &[3, 4], &[1, -2], &[3, 4]).unwrap();
        assert_eq!(out, Tensor::new(&[2, 2], vec![6, 7, 10, 11]).unwrap());
        let out = slice(Masks { end: vec![false, true], ..plain(2) }, &[3, 4], &[2, 0], &[3, 0]).unwrap();
        assert_eq!(out, Tensor::new(&[1, 4], vec![8, 9, 10, 11]).unwrap());
        let squeeze = Masks { squeeze: vec![true, false], ..plain(2) };
        assert_eq!(slice(squeeze, &[3, 4], &[-1, 1], &[0, 2]).unwrap(), *ints(&[9]));
        let stride = Masks { stride: vec![2, 3], ..plain(2) };
        let out = slice(stride, &[3, 4], &[0, 0], &[3, 4]).unwrap();
        assert_eq!(out, Tensor::new(&[2, 2], vec![0, 3, 8, 11]).unwrap());
        assert_eq!(slice(plain(1), &[3], &[1], &[1]).unwrap().shape(), [0]);
    }

    #[test]
    fn boxes_that_leave_the_tensor_are_errors() {
        for (begin, end) in [(0, 5), (3, 2), (-5, 4), (i32::MIN, 1), (0, i32::MAX)] {
            let problem = slice(plain(1), &[4], &[begin], &[end]).unwrap_err();
            assert!(problem.contains(&format!("slice {begin}..{end}")), "{problem}");
        }
        let squeeze = Masks { squeeze: vec![true], ..plain(1) };
        assert!(slice(squeeze, &[4], &[4], &[5]).is_err());
    }

    #[test]
    fn an_update_writes_where_the_slice_reads() {
        let masks = || Masks { stride: vec![1, 2], squeeze: vec![false, false], ..plain(2) };
        let bounds = || vec![ints(&[1, 1]), ints(&[3, 4])];
        let update = Arc::new(Tensor::new(&[2, 2], vec![-1, -2, -3, -4]).unwrap());
        let inputs = [vec![numbers(&[3, 4]), update.clone()], bounds()].concat();
        let out = SliceUpdate(masks()).run(inputs).unwrap().remove(0);
        assert_eq!(out.as_i32s().unwrap(), [0, 1, 2, 3, 4, -1, 6, -2, 8, -3, 10, -4]);
        let back = SliceByIndex(masks()).run([vec![Arc::new(out)], bounds()].concat()).unwrap();
        assert_eq!(back[0], *update);
        let wrong = [vec![numbers(&[3, 4]), numbers(&[4])], bounds()].concat();
        assert_eq!(
            SliceUpdate(masks()).run(wrong).unwrap_err(),
            "`update` has shape [4], the slice has [2, 2]"
        );
    }

    #[test]
    fn an_update_of_an_unshared_tensor_does_not_move_it() {
        let x = Tensor::new(&[4], vec![0.0f32; 4]).unwrap();
        let before = x.as_f32s().unwrap().as_ptr();
        let update = Arc::new(Tensor::new(&[1], vec![7.0f32]).unwrap());
        let out = SliceUpdate(plain(1)).run(vec![Arc::new(x), update, ints(&[2]), ints(&[3])]).unwrap();
        assert_eq!(out[0].as_f32s().unwrap(), [0.0, 0.0, 7.0, 0.0]);
        assert_eq!(out[0].as_f32s().unwrap().as_ptr(), before);
    }
}
