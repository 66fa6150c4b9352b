//! `fill` and `range_1d`: tensors made of a few numbers.

use std::sync::Arc;

use super::arguments::Arguments;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData, map_elements, room_for};

#[derive(Debug)]
struct Fill {
    value: TensorData,
}

#[derive(Debug)]
struct Range;

/// Plans `fill`.
pub(super) fn fill(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let value = match args.tensor("value")? {
        Some(value) => value.data().clone(),
        None => vec![0f32].into(),
    };
    match value.len() {
        1 => Ok(Box::new(Fill { value })),
        n => Err(Problem::Malformed(format!("`value` has {n} elements, expected one"))),
    }
}

impl Operation for Fill {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [wanted] = operands(inputs)?;
        let wanted = wanted.i32s()?;
        let shape: Option<Vec<usize>> = wanted.iter().map(|d| usize::try_from(*d).ok()).collect();
        let shape = shape.ok_or_else(|| format!("`shape` is {wanted:?}, expected no negative extents"))?;
        let count = room_for(&shape)?;
        let data = map_elements!(&self.value, v => v.iter().cycle().take(count).copied().collect());
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// Plans `range_1d`.
pub(super) fn range_1d(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_numbers(&["start", "end", "step"])?;
    Ok(Box::new(Range))
}

impl Operation for Range {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [end, start, step] = operands(inputs)?;
        let (from, to, by) = (number(&start)?, number(&end)?, number(&step)?);
        let count = ((to - from) / by).ceil();
        if by == 0.0 || !count.is_finite() {
            return Err(format!("from {from} to {to} by {by} is no finite range"));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to what u32 holds"
        )]
        let count = count.clamp(0.0, f64::from(u32::MAX)) as u32;
        let shape = vec![usize::try_from(count).map_err(|e| e.to_string())?];
        room_for(&shape)?;
        let elements = (0..count).map(|i| from + f64::from(i) * by);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "integers lie between `start` and `end`, floats round"
        )]
        let data: TensorData = match start.data() {
            TensorData::F32(_) => elements.map(|v| v as f32).collect::<Vec<_>>().into(),
            _ => elements.map(|v| v as i32).collect::<Vec<_>>().into(),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The one number of `x`; `f64` holds each that a tensor can.
fn number(x: &Tensor) -> Result<f64, String> {
    match x.data() {
        TensorData::F32(v) if v.len() == 1 => Ok(f64::from(v[0])),
        TensorData::I32(v) if v.len() == 1 => Ok(f64::from(v[0])),
        other => Err(format!("an operand holds {} {}, expected one number", other.len(), other.class())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(v: impl Into<TensorData>) -> Arc<Tensor> {
        Arc::new(Tensor::new(&[], v).unwrap())
    }

    #[test]
    fn ranges_go_either_way_and_stop_before_the_end() {
        let run = |start: i32, end: i32, step: i32| {
            Range
                .run(vec![scalar(vec![end]), scalar(vec![start]), scalar(vec![step])])
                .map(|mut v| v.remove(0))
        };
        assert_eq!(run(2, 9, 3).unwrap().as_i32s().unwrap(), [2, 5, 8]);
        assert_eq!(run(3, 0, -1).unwrap().as_i32s().unwrap(), [3, 2, 1]);
        assert_eq!(run(3, 0, 1).unwrap().shape(), [0]);
        assert_eq!(run(i32::MAX - 1, i32::MAX, 1).unwrap().as_i32s().unwrap(), [i32::MAX - 1]);
        assert_eq!(run(0, 1, 0).unwrap_err(), "from 0 to 1 by 0 is no finite range");
        assert!(run(i32::MIN, i32::MAX, 1).unwrap_err().contains("too many elements"));
        let fractions =
            Range.run(vec![scalar(vec![1.0f32]), scalar(vec![0.0f32]), scalar(vec![0.25f32])]).unwrap();
        assert_eq!(fractions[0].as_f32s().unwrap(), [0.0, 0.25, 0.5, 0.75]);
        assert!(Range.run(vec![scalar(vec![f32::NAN]), scalar(vec![0.0f32]), scalar(vec![1.0f32])]).is_err());
    }

    #[test]
    fn extents_are_checked_before_memory_is_taken() {
        let fill = |shape: &[i32]| {
            let shape = Arc::new(Tensor::new(&[shape.len()], shape.to_vec()).unwrap());
            Fill { value: vec![true].into() }.run(vec![shape]).map(|mut v| v.remove(0))
        };
        assert_eq!(fill(&[2, 1]).unwrap(), Tensor::new(&[2, 1], vec![true; 2]).unwrap());
        assert_eq!(fill(&[]).unwrap(), Tensor::new(&[], vec![true]).unwrap());
        assert!(fill(&[2, -1]).unwrap_err().contains("no negative extents"));
        assert!(fill(&[i32::MAX, i32::MAX]).unwrap_err().contains("too many elements"));
    }
}
