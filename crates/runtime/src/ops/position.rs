//! Ops in which the position of an element on its axis counts: `reverse`, `cumsum`, `band_part`.

use std::sync::Arc;

use super::arguments::Arguments;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData};

#[derive(Debug)]
struct Reverse {
    /// All of them when left out.
    axes: Option<Vec<usize>>,
}

#[derive(Debug)]
struct Cumsum {
    axis: usize,
    /// Whether an element is left out of its own sum.
    exclusive: bool,
    /// Whether sums run from the end.
    reverse: bool,
}

#[derive(Debug)]
struct BandPart {
    /// Diagonals kept below and above the main one; all where negative.
    lower: i32,
    upper: i32,
}

/// The extent of `axis` and the number of elements from one of its positions to the next.
fn along(shape: &[usize], axis: usize) -> (usize, usize) {
    (shape[axis], shape[axis + 1..].iter().product())
}

/// Plans `reverse`.
pub(super) fn reverse(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    Ok(Box::new(Reverse { axes: args.axes("axes", args.rank("x")?)? }))
}

impl Operation for Reverse {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let mut x = Arc::unwrap_or_clone(x);
        let axes = self.axes.clone().unwrap_or_else(|| (0..x.shape().len()).collect());
        for axis in axes {
            let (extent, run) = along(x.shape(), axis);
            match x.data_mut() {
                TensorData::F32(v) => turn(v, extent, run),
                TensorData::I32(v) => turn(v, extent, run),
                TensorData::Bool(v) => turn(v, extent, run),
            }
        }
        Ok(vec![x])
    }
}

/// Turns the order of each `extent` runs of `run` elements.
fn turn<T>(x: &mut [T], extent: usize, run: usize) {
    if x.is_empty() {
        return;
    }
    for block in x.chunks_exact_mut(extent * run) {
        for i in 0..extent / 2 {
            let (front, back) = block.split_at_mut((extent - 1 - i) * run);
            front[i * run..(i + 1) * run].swap_with_slice(&mut back[..run]);
        }
    }
}

/// Plans `cumsum`. Sums accumulate in `f32`, term by term.
pub(super) fn cumsum(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_numbers(&["x"])?;
    let axis = args.axis("axis", args.rank("x")?, 0)?;
    Ok(Box::new(Cumsum { axis, exclusive: args.flag("exclusive")?, reverse: args.flag("reverse")? }))
}

impl Operation for Cumsum {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let mut x = Arc::unwrap_or_clone(x);
        let extents = along(x.shape(), self.axis);
        match x.data_mut() {
            TensorData::F32(v) => self.scan(v, extents, |a, b| a + b),
            TensorData::I32(v) => self.scan(v, extents, i32::wrapping_add),
            TensorData::Bool(_) => return Err("cannot sum booleans".to_owned()),
        }
        Ok(vec![x])
    }
}

impl Cumsum {
    fn scan<T: Copy + Default>(&self, x: &mut [T], (extent, run): (usize, usize), add: impl Fn(T, T) -> T) {
        if x.is_empty() {
            return;
        }
        for block in x.chunks_exact_mut(extent * run) {
            for column in 0..run {
                let mut total = T::default();
                for i in 0..extent {
                    let row = if self.reverse { extent - 1 - i } else { i };
                    let element = &mut block[row * run + column];
                    let next = add(total, *element);
                    *element = if self.exclusive { total } else { next };
                    total = next;
                }
            }
        }
    }
}

/// Plans `band_part`.
pub(super) fn band_part(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let rank = args.rank("x")?;
    if rank < 2 {
        return Err(Problem::Malformed(format!("`x` has {rank} dimensions, expected at least 2")));
    }
    let limit = |name: &str| Ok::<_, Problem>(args.i32(name)?.unwrap_or(-1));
    Ok(Box::new(BandPart { lower: limit("lower")?, upper: limit("upper")? }))
}

impl Operation for BandPart {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let mut x = Arc::unwrap_or_clone(x);
        let [.., rows, columns] = *x.shape() else {
            return Err(format!("`x` has shape {:?}, expected matrices", x.shape()));
        };
        match x.data_mut() {
            TensorData::F32(v) => self.clear(v, rows, columns),
            TensorData::I32(v) => self.clear(v, rows, columns),
            TensorData::Bool(v) => self.clear(v, rows, columns),
        }
        Ok(vec![x])
    }
}

impl BandPart {
    /// Sets to zero what lies outside the band of each matrix.
    fn clear<T: Copy + Default>(&self, x: &mut [T], rows: usize, columns: usize) {
        let within = |below: usize, limit: i32| usize::try_from(limit).map_or(true, |limit| below <= limit);
        for (i, v) in x.iter_mut().enumerate() {
            let (row, column) = (i / columns % rows, i % columns);
            let keep = within(row.saturating_sub(column), self.lower)
                && within(column.saturating_sub(row), self.upper);
            if !keep {
                *v = T::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: &dyn Operation, shape: &[usize]) -> Vec<i32> {
        let count = shape.iter().product::<usize>() as i32;
        let x = Arc::new(Tensor::new(shape, (1..=count).collect::<Vec<_>>()).unwrap());
        op.run(vec![x]).unwrap()[0].as_i32s().unwrap().to_vec()
    }

    #[test]
    fn any_axis_is_turned() {
        assert_eq!(run(&Reverse { axes: Some(vec![0]) }, &[3, 2]), [5, 6, 3, 4, 1, 2]);
        assert_eq!(run(&Reverse { axes: Some(vec![1]) }, &[2, 3]), [3, 2, 1, 6, 5, 4]);
        assert_eq!(run(&Reverse { axes: None }, &[2, 1, 2]), [4, 3, 2, 1]);
        assert_eq!(run(&Reverse { axes: None }, &[2, 0]), [0i32; 0]);
    }

    #[test]
    fn sums_run_along_one_axis() {
        let sum = |axis, exclusive, reverse| run(&Cumsum { axis, exclusive, reverse }, &[2, 3]);
        assert_eq!(sum(1, false, false), [1, 3, 6, 4, 9, 15]);
        assert_eq!(sum(0, false, false), [1, 2, 3, 5, 7, 9]);
        assert_eq!(sum(1, true, false), [0, 1, 3, 0, 4, 9]);
        assert_eq!(sum(1, false, true), [6, 5, 3, 15, 11, 6]);
        assert_eq!(sum(1, true, true), [5, 3, 0, 11, 6, 0]);
        assert_eq!(run(&Cumsum { axis: 0, exclusive: false, reverse: false }, &[0, 3]), [0i32; 0]);
    }

    #[test]
    fn bands_of_each_matrix() {
        let band = |lower, upper| run(&BandPart { lower, upper }, &[2, 3]);
        assert_eq!(band(-1, -1), [1, 2, 3, 4, 5, 6]);
        assert_eq!(band(0, -1), [1, 2, 3, 0, 5, 6]);
        assert_eq!(band(-1, 0), [1, 0, 0, 4, 5, 0]);
        assert_eq!(band(0, 1), [1, 2, 0, 0, 5, 6]);
        assert_eq!(run(&BandPart { lower: 0, upper: 0 }, &[2, 2, 2]), [1, 0, 0, 4, 5, 0, 0, 8]);
    }
}
