//! `gather`: rows of a tensor, picked by indices.

use std::sync::Arc;

use super::arguments::Arguments;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, map_elements, room_for};

#[derive(Debug)]
struct Gather {
    axis: usize,
}

/// Plans `gather`. Indices are checked when the program runs, whatever `validate_indices` says.
pub(super) fn gather(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    match args.i32("batch_dims")? {
        None | Some(0) => {}
        Some(n) => return Err(Problem::Unsupported(format!("`batch_dims` is {n}, expected 0"))),
    }
    let indices = args.ty("indices")?.dtype;
    if !indices.is_integer() {
        return Err(Problem::Malformed(format!("`indices` has type {indices}, expected integers")));
    }
    Ok(Box::new(Gather { axis: args.axis("axis", args.rank("x")?, 0)? }))
}

impl Operation for Gather {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, indices] = operands(inputs)?;
        let (outer, inner) = (&x.shape()[..self.axis], &x.shape()[self.axis + 1..]);
        let extent = x.shape()[self.axis];
        let at = indices.i32s()?.iter().map(|i| position(*i, extent)).collect::<Result<Vec<_>, _>>()?;
        let shape = [outer, indices.shape(), inner].concat();
        room_for(&shape)?;
        let run = inner.iter().product();
        let data = map_elements!(x.data(), v => pick(v, extent, run, &at));
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The position that `index` means on an axis of `extent`; negative indices count from the end.
pub(super) fn position(index: i32, extent: usize) -> Result<usize, String> {
    let at = match usize::try_from(index) {
        Ok(at) => Some(at),
        Err(_) => extent.checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    at.filter(|at| *at < extent).ok_or_else(|| format!("index {index} is out of range for extent {extent}"))
}

/// From each `extent` runs of `run` elements of `x`, those at the positions `at`.
fn pick<T: Copy>(x: &[T], extent: usize, run: usize, at: &[usize]) -> Vec<T> {
    if run == 0 || extent == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(x.len() / extent * at.len());
    for block in x.chunks_exact(extent * run) {
        at.iter().for_each(|i| out.extend_from_slice(&block[i * run..(i + 1) * run]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(axis: usize, indices: &[i32]) -> Result<Tensor, String> {
        let x = Tensor::new(&[2, 3], vec![0, 1, 2, 3, 4, 5]).unwrap();
        let indices = Tensor::new(&[1, indices.len()], indices.to_vec()).unwrap();
        Ok(Gather { axis }.run(vec![Arc::new(x), Arc::new(indices)])?.remove(0))
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
}
