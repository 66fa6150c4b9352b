//! `gather` and `gather_nd`: parts of a tensor, picked by indices.

use std::sync::Arc;

use anelith_mil::Opset;

use super::arguments::Arguments;
use super::weights::Lookup;
use super::{Operation, Planned, Problem, operands};
use crate::tensor::{Tensor, map_elements, room_for};

#[derive(Debug)]
struct Gather {
    axis: usize,
    /// How many axes `x` and the indices share.
    batch: usize,
    wraps: bool,
}

#[derive(Debug)]
struct GatherNd {
    batch: usize,
    wraps: bool,
}

/// Whether negative indices count from the end: from iOS 17 on they are out of range, and programs that need them
/// add the extent themselves.
pub(super) fn wraps(args: &Arguments<'_>) -> bool {
    args.opset < Opset::Ios17
}

/// The number of leading axes that `x` and `indices` share.
fn batch_dims(args: &Arguments<'_>, most: usize) -> Result<usize, Problem> {
    let indices = args.ty("indices")?.dtype;
    if !indices.is_integer() {
        return Err(Problem::Malformed(format!("`indices` has type {indices}, expected integers")));
    }
    let batch = args.i32("batch_dims")?.unwrap_or(0);
    let fits = usize::try_from(batch).ok().filter(|b| *b <= most);
    fits.ok_or_else(|| Problem::Malformed(format!("`batch_dims` is {batch}, expected 0 to {most}")))
}

/// Plans `gather`. Indices are checked when the program runs, whatever `validate_indices` says.
pub(super) fn gather(args: &Arguments<'_>) -> Result<Planned, Problem> {
    let axis = args.axis("axis", args.rank("x")?, 0)?;
    let batch = batch_dims(args, axis.min(args.rank("indices")?))?;
    match args.weights.get("x") {
        Some(weight) if axis == 0 && args.rank("x")? == 2 => {
            Ok(Planned::PickRows(Lookup { weight: Arc::clone(weight), wraps: wraps(args) }))
        }
        _ => Ok(Planned::Moved(Box::new(Gather { axis, batch, wraps: wraps(args) }))),
    }
}

impl Operation for Gather {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, indices] = operands(inputs)?;
        let batches = expect_batch(&x, &indices, self.batch)?;
        let (outer, inner) = (&x.shape()[..self.axis], &x.shape()[self.axis + 1..]);
        let extent = x.shape()[self.axis];
        let at = indices.i32s()?.iter().map(|i| position(*i, extent, self.wraps));
        let at = at.collect::<Result<Vec<_>, _>>()?;
        let shape = [outer, &indices.shape()[self.batch..], inner].concat();
        let count = room_for(&shape)?;
        let run = inner.iter().product();
        let picked = at.len().checked_div(batches).unwrap_or(0);
        let data = map_elements!(x.data(), v => {
            let block = v.len().checked_div(batches).unwrap_or(0);
            let mut out = Vec::with_capacity(count);
            for b in 0..batches {
                let (own, at) = (&v[b * block..(b + 1) * block], &at[b * picked..(b + 1) * picked]);
                pick(own, extent, run, at, &mut out);
            }
            out
        });
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The number of positions on the axes that `x` and `indices` share, which must be equal.
fn expect_batch(x: &Tensor, indices: &Tensor, batch: usize) -> Result<usize, String> {
    match (x.shape().get(..batch), indices.shape().get(..batch)) {
        (Some(a), Some(b)) if a == b => Ok(a.iter().product()),
        _ => {
            let (a, b) = (x.shape(), indices.shape());
            Err(format!("shapes {a:?} and {b:?} do not have {batch} equal axes in front"))
        }
    }
}

/// Plans `gather_nd`. Indices are checked when the program runs, whatever `validate_indices` says.
pub(super) fn gather_nd(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let rank = args.rank("indices")?;
    let most = rank.checked_sub(1).ok_or_else(|| "`indices` is a scalar".to_owned())?;
    Ok(Box::new(GatherNd { batch: batch_dims(args, most.min(args.rank("x")?))?, wraps: wraps(args) }))
}

impl Operation for GatherNd {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, indices] = operands(inputs)?;
        let batches = expect_batch(&x, &indices, self.batch)?;
        let [rows @ .., depth] = indices.shape() else { return Err("`indices` is a scalar".to_owned()) };
        let axes = x.shape()[self.batch..].get(..*depth);
        let axes =
            axes.ok_or_else(|| format!("rows of {depth} positions do not fit shape {:?}", x.shape()))?;
        let inner = &x.shape()[self.batch + depth..];
        let shape = [rows, inner].concat();
        if room_for(&shape)? == 0 {
            let data = map_elements!(x.data(), _none => Vec::new());
            return Ok(vec![Tensor::made(shape, data)?]);
        }
        let (count, run) = (rows.iter().product::<usize>(), inner.iter().product::<usize>());
        let (rows_each, runs_each) =
            (count.checked_div(batches).unwrap_or(0), axes.iter().product::<usize>());
        let indices = indices.i32s()?;
        let mut at = Vec::with_capacity(count);
        for row in 0..count {
            let mut flat = row / rows_each.max(1) * runs_each;
            let mut step = runs_each;
            for (index, extent) in indices[row * depth..(row + 1) * depth].iter().zip(axes) {
                let position = position(*index, *extent, self.wraps)?;
                step /= extent;
                flat += position * step;
            }
            at.push(flat);
        }
        let data = map_elements!(x.data(), v => {
            at.iter().flat_map(|i| &v[i * run..(i + 1) * run]).copied().collect()
        });
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The position that `index` means on an axis of `extent`; negative indices count from the end where they may.
pub(super) fn position(index: i32, extent: usize, wraps: bool) -> Result<usize, String> {
    if index < 0 && !wraps {
        return Err(format!("index {index} is negative, which is out of range from ios17 on"));
    }
    let at = match usize::try_from(index) {
        Ok(at) => Some(at),
        Err(_) => extent.checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    at.filter(|at| *at < extent).ok_or_else(|| format!("index {index} is out of range for extent {extent}"))
}

/// Appends, from each `extent` runs of `run` elements of `x`, those at the positions `at`.
fn pick<T: Copy>(x: &[T], extent: usize, run: usize, at: &[usize], out: &mut Vec<T>) {
    if run == 0 || extent == 0 {
        return;
    }
    for block in x.chunks_exact(extent * run) {
        at.iter().for_each(|i| out.extend_from_slice(&block[i * run..(i + 1) * run]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(axis: usize, indices: &[i32]) -> Result<Tensor, String> {
        let x = Tensor::new(&[2, 3], vec![0, 1, 2, 3, 4, 5]).unwrap();
        let indices = Tensor::new(&[1, indices.len()], indices.to_vec()).unwrap();
        Ok(Gather { axis, batch: 0, wraps: true }.run(vec![Arc::new(x), Arc::new(indices)])?.remove(0))
    }

    #[test]
    fn rows_and_columns() {
        assert_eq!(run(0, &[1, 1]).unwrap(), Tensor::new(&[1, 2, 3], vec![3, 4, 5, 3, 4, 5]).unwrap());
        assert_eq!(run(1, &[-1, 0]).unwrap(), Tensor::new(&[2, 1, 2], vec![2, 0, 5, 3]).unwrap());
    }

    #[test]
    fn indices_out_of_range_are_errors() {
        for (index, axis, extent) in [(2, 0, 2), (-3, 0, 2), (3, 1, 3), (i32::MIN, 1, 3)] {
            let problem = format!("index {index} is out of range for extent {extent}");
            assert_eq!(run(axis, &[0, index]).unwrap_err(), problem);
        }
    }

    #[test]
    fn shared_axes_pick_from_their_own_part() {
        let x = Arc::new(Tensor::new(&[2, 3, 2], (0..12).collect::<Vec<i32>>()).unwrap());
        let indices = Arc::new(Tensor::new(&[2, 1], vec![2, -3]).unwrap());
        let out = Gather { axis: 1, batch: 1, wraps: true }.run(vec![x.clone(), indices.clone()]).unwrap();
        assert_eq!(out[0], Tensor::new(&[2, 1, 2], vec![4, 5, 6, 7]).unwrap());
        let out = GatherNd { batch: 1, wraps: true }.run(vec![x.clone(), indices.clone()]).unwrap();
        assert_eq!(out[0], Tensor::new(&[2, 2], vec![4, 5, 6, 7]).unwrap());
        let out = Gather { axis: 2, batch: 1, wraps: false }
            .run(vec![x, Arc::new(Tensor::new(&[2, 1], vec![1, 0]).unwrap())]);
        assert_eq!(out.unwrap()[0], Tensor::new(&[2, 3, 1], vec![1, 3, 5, 6, 8, 10]).unwrap());
    }

    #[test]
    fn rows_of_positions() {
        let x = Arc::new(Tensor::new(&[2, 3, 2], (0..12).collect::<Vec<i32>>()).unwrap());
        let run = |shape: &[usize], rows: &[i32]| {
            let indices = Arc::new(Tensor::new(shape, rows.to_vec()).unwrap());
            GatherNd { batch: 0, wraps: true }.run(vec![x.clone(), indices]).map(|mut out| out.remove(0))
        };
        assert_eq!(run(&[2, 2], &[0, 1, -1, -1]).unwrap(), Tensor::new(&[2, 2], vec![2, 3, 10, 11]).unwrap());
        assert_eq!(run(&[1, 3], &[1, 0, 1]).unwrap(), Tensor::new(&[1], vec![7]).unwrap());
        assert_eq!(run(&[1, 1, 1], &[1]).unwrap().shape(), [1, 1, 3, 2]);
        assert_eq!(run(&[2, 0], &[]).unwrap().shape(), [2, 2, 3, 2]);
        assert!(run(&[1, 2], &[0, 3]).unwrap_err().contains("index 3 is out of range for extent 3"));
        assert!(run(&[1, 4], &[0; 4]).unwrap_err().contains("do not fit"));
    }
}
