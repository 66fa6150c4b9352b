//! `reduce_argmax` and `gather_along_axis`: places along one axis.

use std::sync::Arc;

use super::arguments::Arguments;
use super::gather::{position, wraps};
use super::shape::transposed;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData, map_elements, room_for};

#[derive(Debug)]
struct Argmax {
    axis: usize,
    keep_dims: bool,
}

/// Plans `reduce_argmax`. Type inference has checked that `output_dtype` holds every place.
pub(super) fn reduce_argmax(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_numbers(&["x"])?;
    let axis = args.axis("axis", args.rank("x")?, -1)?;
    Ok(Box::new(Argmax { axis, keep_dims: args.flag("keep_dims")? }))
}

impl Operation for Argmax {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let mut shape = x.shape().to_vec();
        let extent = shape.remove(self.axis);
        if extent == 0 {
            return Err(format!("there is no largest element along axis {} of extent 0", self.axis));
        }
        let kept: Vec<usize> = (0..=shape.len()).filter(|i| *i != self.axis).collect();
        let rows = transposed(x, &[kept.as_slice(), &[self.axis]].concat())?.into_data();
        let places = match &rows {
            TensorData::F32(v) => v.chunks_exact(extent).map(largest_float).collect(),
            TensorData::I32(v) => v.chunks_exact(extent).map(largest_integer).collect(),
            TensorData::Bool(_) => return Err("cannot compare booleans".to_owned()),
        };
        let places: Vec<i32> = places;
        if self.keep_dims {
            shape.insert(self.axis, 1);
        }
        Ok(vec![Tensor::made(shape, places)?])
    }
}

/// The first place of the largest element; NaN counts as larger than all numbers, as in numpy.
fn largest_float(row: &[f32]) -> i32 {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if row[best].is_nan() {
            break;
        }
        if *v > row[best] || v.is_nan() {
            best = i;
        }
    }
    best as i32
}

/// The first place of the largest element.
fn largest_integer(row: &[i32]) -> i32 {
    let best = (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    best as i32
}

#[derive(Debug)]
struct GatherAlong {
    axis: usize,
    /// Whether negative indices count from the end.
    wraps: bool,
}

/// Plans `gather_along_axis`. Indices are checked when the program runs, whatever `validate_indices` says.
pub(super) fn gather_along_axis(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let indices = args.ty("indices")?.dtype;
    if !indices.is_integer() {
        return Err(Problem::Malformed(format!("`indices` has type {indices}, expected integers")));
    }
    Ok(Box::new(GatherAlong { axis: args.axis("axis", args.rank("x")?, 0)?, wraps: wraps(args) }))
}

impl Operation for GatherAlong {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, indices] = operands(inputs)?;
        let (shape, picked) = (x.shape(), indices.shape());
        let is_alike =
            shape.len() == picked.len() && (0..shape.len()).all(|i| i == self.axis || shape[i] == picked[i]);
        if !is_alike {
            return Err(format!("indices of shape {picked:?} do not fit a tensor of shape {shape:?}"));
        }
        room_for(picked)?;
        let (extent, count) = (shape[self.axis], picked[self.axis]);
        let inner: usize = shape[self.axis + 1..].iter().product();
        let mut places = Vec::with_capacity(indices.data().len());
        for (i, index) in indices.i32s()?.iter().enumerate() {
            let (outer, rest) = (i / (count * inner), i % inner);
            places.push((outer * extent + position(*index, extent, self.wraps)?) * inner + rest);
        }
        let data = map_elements!(x.data(), v => places.iter().map(|i| v[*i]).collect());
        Ok(vec![Tensor::made(picked.to_vec(), data)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argmax(axis: usize, keep_dims: bool, values: Vec<f32>) -> Tensor {
        let x = Tensor::new(&[2, values.len() / 2], values).unwrap();
        Argmax { axis, keep_dims }.run(vec![Arc::new(x)]).unwrap().remove(0)
    }

    #[test]
    fn the_first_of_equal_elements_wins_and_nan_wins_over_all() {
        let row = vec![1.0, 3.0, 3.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
        assert_eq!(argmax(1, true, row.clone()), Tensor::new(&[2, 1], vec![1, 0]).unwrap());
        assert_eq!(argmax(0, false, row), Tensor::new(&[3], vec![0, 0, 0]).unwrap());
        let nan = vec![f32::NAN, 9.0, f32::NAN, 1.0, f32::NAN, 9.0];
        assert_eq!(argmax(1, false, nan), Tensor::new(&[2], vec![0, 1]).unwrap());
        assert_eq!(largest_integer(&[-5, 7, i32::MAX, i32::MAX]), 2);
    }

    #[test]
    fn nothing_has_no_largest_element() {
        let x = Tensor::new(&[2, 0], Vec::<f32>::new()).unwrap();
        let problem = Argmax { axis: 1, keep_dims: true }.run(vec![Arc::new(x)]).unwrap_err();
        assert_eq!(problem, "there is no largest element along axis 1 of extent 0");
    }

    fn gather(axis: usize, shape: &[usize], indices: &[i32]) -> Result<Tensor, String> {
        let x = Tensor::new(&[2, 3], vec![0, 1, 2, 3, 4, 5]).unwrap();
        let indices = Tensor::new(shape, indices.to_vec()).unwrap();
        Ok(GatherAlong { axis, wraps: true }.run(vec![Arc::new(x), Arc::new(indices)])?.remove(0))
    }

    #[test]
    fn each_index_picks_along_its_own_line() {
        let picked = gather(1, &[2, 2], &[2, 0, -1, 1]).unwrap();
        assert_eq!(picked, Tensor::new(&[2, 2], vec![2, 0, 5, 4]).unwrap());
        let picked = gather(0, &[1, 3], &[1, 0, -1]).unwrap();
        assert_eq!(picked, Tensor::new(&[1, 3], vec![3, 1, 5]).unwrap());
        assert_eq!(gather(1, &[2, 0], &[]).unwrap(), Tensor::new(&[2, 0], Vec::<i32>::new()).unwrap());
    }

    #[test]
    fn indices_that_do_not_fit_are_errors() {
        assert_eq!(gather(1, &[2, 1], &[0, 3]).unwrap_err(), "index 3 is out of range for extent 3");
        assert!(gather(1, &[1, 1], &[0]).unwrap_err().contains("do not fit"));
    }
}
