//! `pad`: elements added before and after those of a tensor.

use std::sync::Arc;

use super::arguments::Arguments;
use super::{Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData, map_elements, room_for};

/// What is added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// One value.
    Constant,
    /// What lies as far on the other side of the first or last element.
    Reflect,
    /// The first or last element again.
    Replicate,
}

#[derive(Debug)]
struct Pad {
    mode: Mode,
    /// The value of `Mode::Constant`; zero without it.
    value: Option<Arc<Tensor>>,
}

/// Plans `pad`.
pub(super) fn pad(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let mode = match args.text("mode")?.unwrap_or("constant") {
        "constant" => Mode::Constant,
        "reflect" => Mode::Reflect,
        "replicate" => Mode::Replicate,
        other => {
            return Err(Problem::Unsupported(format!(
                "`mode` is \"{other}\", expected \"constant\", \"reflect\" or \"replicate\""
            )));
        }
    };
    let value = args.tensor("constant_val")?;
    match value.as_ref().map(|v| v.data().len()) {
        None | Some(1) => Ok(Box::new(Pad { mode, value })),
        Some(n) => Err(Problem::Malformed(format!("`constant_val` has {n} elements, expected one"))),
    }
}

/// The elements added to one axis.
#[derive(Clone, Copy)]
struct Added {
    axis: usize,
    before: usize,
    after: usize,
}

/// What `pads` adds to the last axes of `shape`.
fn added(pads: &[i32], shape: &[usize]) -> Result<Vec<Added>, String> {
    let bad =
        || format!("`pad` is {pads:?}, expected two counts for each of the last axes of shape {shape:?}");
    let count = pads.len() / 2;
    let first = shape.len().checked_sub(count).filter(|_| pads.len().is_multiple_of(2)).ok_or_else(bad)?;
    let amount = |v: i32| usize::try_from(v).map_err(|_| bad());
    let axis =
        |(i, p): (usize, &[i32])| Ok(Added { axis: first + i, before: amount(p[0])?, after: amount(p[1])? });
    pads.chunks_exact(2).enumerate().map(axis).collect()
}

impl Mode {
    /// Refuses to take more elements than there are.
    fn check(self, extent: usize, added: Added) -> Result<(), String> {
        let Added { axis, before, after } = added;
        let limit = match self {
            Mode::Reflect => extent.saturating_sub(1),
            Mode::Replicate if extent == 0 => 0,
            Mode::Constant | Mode::Replicate => usize::MAX,
        };
        if before.max(after) <= limit {
            return Ok(());
        }
        Err(format!("axis {axis}: {before} and {after} elements cannot be taken from an extent of {extent}"))
    }

    /// Where the element at position `at` of the padded axis comes from; `None` for the constant.
    fn source(self, at: usize, before: usize, extent: usize) -> Option<usize> {
        match (self, at.checked_sub(before)) {
            (_, Some(i)) if i < extent => Some(i),
            (Mode::Constant, _) => None,
            (Mode::Reflect, None) => Some(before - at),
            (Mode::Reflect, Some(i)) => Some(2 * (extent - 1) - i),
            (Mode::Replicate, None) => Some(0),
            (Mode::Replicate, Some(_)) => Some(extent - 1),
        }
    }
}

impl Operation for Pad {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, pads] = operands(inputs)?;
        let added = added(pads.i32s()?, x.shape())?;
        let mut shape = x.shape().to_vec();
        for Added { axis, before, after } in &added {
            shape[*axis] = shape[*axis].saturating_add(*before).saturating_add(*after);
        }
        added.iter().try_for_each(|a| self.mode.check(x.shape()[a.axis], *a))?;
        if room_for(&shape)? == 0 {
            let data = map_elements!(x.data(), _none => Vec::new());
            return Ok(vec![Tensor::made(shape, data)?]);
        }
        let x = Arc::unwrap_or_clone(x);
        let from = x.shape().to_vec();
        let value = self.value.as_deref();
        let data: TensorData = match x.into_data() {
            TensorData::F32(v) => self.padded(v, from, &added, first(value.map(Tensor::f32s))?).into(),
            TensorData::I32(v) => self.padded(v, from, &added, first(value.map(Tensor::i32s))?).into(),
            TensorData::Bool(v) => self.padded(v, from, &added, first(value.map(Tensor::bools))?).into(),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The value that stands in a constant; the zero of its type without one.
fn first<T: Copy + Default>(value: Option<Result<&[T], String>>) -> Result<T, String> {
    Ok(value.transpose()?.and_then(|v| v.first().copied()).unwrap_or_default())
}

impl Pad {
    /// The elements of `x` of shape `shape` with what `added` adds, axis by axis from the last one.
    fn padded<T: Copy>(&self, mut x: Vec<T>, mut shape: Vec<usize>, added: &[Added], value: T) -> Vec<T> {
        for Added { axis, before, after } in added.iter().rev().filter(|a| a.before + a.after > 0) {
            let (extent, padded) = (shape[*axis], before + shape[*axis] + after);
            let outer: usize = shape[..*axis].iter().product();
            let run: usize = shape[*axis + 1..].iter().product();
            let mut out = Vec::with_capacity(outer * padded * run);
            for block in 0..outer {
                for at in 0..padded {
                    match self.mode.source(at, *before, extent) {
                        Some(i) => out.extend_from_slice(&x[(block * extent + i) * run..][..run]),
                        None => out.extend(std::iter::repeat_n(value, run)),
                    }
                }
            }
            shape[*axis] = padded;
            x = out;
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: Mode, value: Option<i32>, shape: &[usize], pads: &[i32]) -> Result<Tensor, String> {
        let count = shape.iter().product::<usize>() as i32;
        let x = Tensor::new(shape, (1..=count).collect::<Vec<_>>()).unwrap();
        let pads = Tensor::new(&[pads.len()], pads.to_vec()).unwrap();
        let value = value.map(|v| Arc::new(Tensor::new(&[], vec![v]).unwrap()));
        Ok(Pad { mode, value }.run(vec![Arc::new(x), Arc::new(pads)])?.remove(0))
    }

    /// One element at a time, by coordinates of a matrix.
    fn reference(mode: Mode, value: i32, [rows, columns]: [usize; 2], pads: [i32; 4]) -> Vec<i32> {
        let along = |at: i32, extent: i32| match mode {
            _ if (0..extent).contains(&at) => Some(at),
            Mode::Constant => None,
            Mode::Replicate => Some(at.clamp(0, extent - 1)),
            Mode::Reflect => Some((extent - 1) - ((extent - 1) - at.abs()).abs()),
        };
        let (rows, columns) = (rows as i32, columns as i32);
        let mut out = Vec::new();
        for r in -pads[0]..rows + pads[1] {
            for c in -pads[2]..columns + pads[3] {
                let at = along(r, rows).zip(along(c, columns));
                out.push(at.map_or(value, |(r, c)| r * columns + c + 1));
            }
        }
        out
    }

    #[test]
    fn each_mode_agrees_with_its_slow_twin() {
        for mode in [Mode::Constant, Mode::Reflect, Mode::Replicate] {
            for (shape, pads) in [([3, 4], [1, 2, 3, 0]), ([3, 4], [0, 0, 0, 3]), ([2, 2], [1, 1, 1, 1])] {
                let out = run(mode, Some(-7), &shape, &pads).unwrap();
                assert_eq!(out.as_i32s().unwrap(), reference(mode, -7, shape, pads), "{mode:?} {pads:?}");
            }
        }
    }

    #[test]
    fn fewer_counts_pad_the_last_axes_and_zero_is_the_default() {
        assert_eq!(run(Mode::Constant, None, &[1, 2], &[1, 0]).unwrap().as_i32s().unwrap(), [0, 1, 2]);
        assert_eq!(run(Mode::Constant, None, &[0], &[1, 1]).unwrap().as_i32s().unwrap(), [0, 0]);
        assert_eq!(run(Mode::Reflect, None, &[2, 1], &[]).unwrap().shape(), [2, 1]);
        assert_eq!(run(Mode::Constant, None, &[0, 3], &[9, 9]).unwrap().shape(), [0, 21]);
    }

    #[test]
    fn counts_that_cannot_be_are_errors() {
        for (mode, shape, pads, problem) in [
            (Mode::Reflect, vec![3], vec![3, 0], "cannot be taken from an extent of 3"),
            (Mode::Reflect, vec![0], vec![1, 0], "cannot be taken from an extent of 0"),
            (Mode::Replicate, vec![0], vec![0, 1], "cannot be taken from an extent of 0"),
            (Mode::Constant, vec![3], vec![-1, 0], "two counts for each"),
            (Mode::Constant, vec![3], vec![1], "two counts for each"),
            (Mode::Constant, vec![3], vec![1, 1, 1, 1], "two counts for each"),
            (Mode::Constant, vec![2, 2], vec![i32::MAX, 0, i32::MAX, 0], "too many elements"),
        ] {
            let found = run(mode, None, &shape, &pads).unwrap_err();
            assert!(found.contains(problem), "{mode:?} {pads:?}: {found}");
        }
    }
}
