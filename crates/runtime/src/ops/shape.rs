//! Ops that move whole elements: `reshape` and its kin, `transpose`, `concat`, `stack`, `split`, `tile`.

use std::borrow::Cow;
use std::sync::Arc;

use anelith_mil::Opcode;

use super::arguments::{Arguments, normalize_axis};
use super::elementwise::advance;
use super::{Function, Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData, element_count, map_elements, room_for, strides};

/// `identity`: the operand itself.
#[derive(Debug)]
pub(super) struct Identity;

#[derive(Debug)]
enum Reshape {
    To(Vec<i32>),
    Expand(Vec<i32>),
    Squeeze(Option<Vec<usize>>),
}

#[derive(Debug)]
struct Transpose {
    perm: Vec<usize>,
}

#[derive(Debug)]
struct Concat {
    axis: usize,
    /// Whether the operands take turns along the axis.
    interleave: bool,
}

#[derive(Debug)]
struct Stack {
    axis: usize,
}

#[derive(Debug)]
struct Split {
    axis: usize,
    sizes: Sizes,
}

#[derive(Debug)]
enum Sizes {
    Equal(usize),
    Given(Vec<usize>),
}

#[derive(Debug)]
struct Tile {
    reps: Vec<usize>,
}

impl Operation for Identity {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        Ok(vec![Arc::unwrap_or_clone(x)])
    }

    fn function(&self) -> Option<Function> {
        Some(Function::Same)
    }
}

fn required<T>(value: Option<T>, name: &str) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::Malformed(format!("parameter `{name}` is missing")))
}

/// Plans `reshape`, `expand_dims` and `squeeze`, which keep the elements in their order.
pub(super) fn reshape(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let rank = args.rank("x")?;
    Ok(Box::new(match args.opcode {
        Opcode::ExpandDims => Reshape::Expand(required(args.i32s("axes")?, "axes")?),
        Opcode::Squeeze => Reshape::Squeeze(args.axes("axes", rank)?),
        _ => Reshape::To(required(args.i32s("shape")?, "shape")?),
    }))
}

impl Operation for Reshape {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let shape = match self {
            Reshape::To(wanted) => resolve_shape(x.shape(), wanted)?,
            Reshape::Expand(axes) => expanded(x.shape(), axes)?,
            Reshape::Squeeze(axes) => squeezed(x.shape(), axes.as_deref())?,
        };
        Ok(vec![Tensor::made(shape, Arc::unwrap_or_clone(x).into_data())?])
    }
}

/// The shape that `wanted` means for `old`: 0 keeps an extent, one -1 takes what remains.
fn resolve_shape(old: &[usize], wanted: &[i32]) -> Result<Vec<usize>, String> {
    let bad = || format!("shape {wanted:?} does not hold the elements of shape {old:?}");
    let total = element_count(old).ok_or_else(bad)?;
    let mut shape = Vec::with_capacity(wanted.len());
    for (i, &d) in wanted.iter().enumerate() {
        shape.push(match d {
            -1 => 1,
            0 => *old.get(i).ok_or_else(bad)?,
            d => usize::try_from(d).map_err(|_| bad())?,
        });
    }
    let known = element_count(&shape).ok_or_else(bad)?;
    let free: Vec<usize> = (0..wanted.len()).filter(|i| wanted[*i] == -1).collect();
    match free[..] {
        [] if known == total => Ok(shape),
        [i] if known > 0 && total.is_multiple_of(known) => {
            shape[i] = total / known;
            Ok(shape)
        }
        _ => Err(bad()),
    }
}

fn expanded(old: &[usize], axes: &[i32]) -> Result<Vec<usize>, String> {
    let rank = old.len() + axes.len();
    let mut at = axes.iter().map(|a| normalize_axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
    at.sort_unstable();
    let mut shape = old.to_vec();
    for axis in at {
        if axis > shape.len() {
            return Err(format!("axes {axes:?} name an axis twice"));
        }
        shape.insert(axis, 1);
    }
    Ok(shape)
}

fn squeezed(old: &[usize], axes: Option<&[usize]>) -> Result<Vec<usize>, String> {
    let dropped = |i: usize| axes.map_or(old[i] == 1, |axes| axes.contains(&i));
    match (0..old.len()).find(|i| dropped(*i) && old[*i] != 1) {
        Some(bad) => Err(format!("axis {bad} of shape {old:?} cannot be squeezed, its extent is not 1")),
        None => Ok((0..old.len()).filter(|i| !dropped(*i)).map(|i| old[i]).collect()),
    }
}

/// Plans `transpose`.
pub(super) fn transpose(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let rank = args.rank("x")?;
    let perm = required(args.axes("perm", rank)?, "perm")?;
    if perm.len() != rank {
        return Err(Problem::Malformed(format!("`perm` {perm:?} is not a permutation of {rank} axes")));
    }
    Ok(Box::new(Transpose { perm }))
}

impl Operation for Transpose {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        transposed(x, &self.perm).map(|t| vec![t])
    }
}

/// `x` with its axes in the order `perm`, in place where only axes of extent 1 change their order.
pub(super) fn transposed(x: Arc<Tensor>, perm: &[usize]) -> Result<Tensor, String> {
    if perm.len() != x.shape().len() {
        return Err(format!("permutation {perm:?} does not fit shape {:?}", x.shape()));
    }
    let shape: Vec<usize> = perm.iter().map(|a| x.shape()[*a]).collect();
    let wide: Vec<usize> = perm.iter().copied().filter(|a| x.shape()[*a] != 1).collect();
    if wide.is_sorted() {
        return Tensor::made(shape, Arc::unwrap_or_clone(x).into_data());
    }
    let data = map_elements!(x.data(), v => transpose_elements(v, x.shape(), perm));
    Tensor::made(shape, data)
}

/// The elements of `x` in the order that results from permuting its axes.
fn transpose_elements<T: Copy>(x: &[T], shape: &[usize], perm: &[usize]) -> Vec<T> {
    if x.is_empty() {
        return Vec::new();
    }
    let steps = strides(shape);
    // Trailing axes that stay where they are move as one run; where none does, the last axis is a strided row.
    let fixed = (0..perm.len()).rev().take_while(|i| perm[*i] == *i).count();
    let (outer, inner) = perm.split_at(perm.len() - fixed.max(1));
    let run: usize = inner.iter().map(|a| shape[*a]).product();
    let step = if fixed > 0 { 1 } else { steps[inner[0]] };
    let extents: Vec<usize> = outer.iter().map(|a| shape[*a]).collect();
    let mut out = Vec::with_capacity(x.len());
    let mut index = vec![0usize; outer.len()];
    while out.len() < x.len() {
        let from: usize = index.iter().zip(outer).map(|(i, a)| i * steps[*a]).sum();
        match step {
            1 => out.extend_from_slice(&x[from..from + run]),
            _ => out.extend(x[from..].iter().step_by(step).take(run)),
        }
        advance(&mut index, &extents);
    }
    out
}

/// Plans `concat`; scalars are joined as if each were a vector of one.
pub(super) fn concat(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let axis = args.axis("axis", args.rank("values")?.max(1), 0)?;
    Ok(Box::new(Concat { axis, interleave: args.flag("interleave")? }))
}

impl Operation for Concat {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let first = inputs.first().ok_or("there is nothing to join")?;
        let axis = self.axis;
        let mut shape = if first.shape().is_empty() { vec![1] } else { first.shape().to_vec() };
        let outer = shape[..axis + usize::from(self.interleave)].iter().product();
        let mut joined = 0usize;
        for x in &inputs {
            let may_differ = |i: usize| i == axis && !self.interleave;
            let fits = x.shape().len() == first.shape().len()
                && (0..x.shape().len()).all(|i| may_differ(i) || x.shape()[i] == first.shape()[i]);
            if !fits {
                let (a, b) = (first.shape(), x.shape());
                return Err(format!("shapes {a:?} and {b:?} cannot be joined along axis {axis}"));
            }
            joined = joined.saturating_add(x.shape().get(axis).copied().unwrap_or(1));
        }
        shape[axis] = joined;
        room_for(&shape)?;
        Ok(vec![Tensor::made(shape, joined_elements(&inputs, outer)?)?])
    }
}

/// Plans `stack`.
pub(super) fn stack(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    Ok(Box::new(Stack { axis: args.axis("axis", args.rank("values")? + 1, 0)? }))
}

impl Operation for Stack {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let first = inputs.first().ok_or("there is nothing to stack")?;
        if let Some(other) = inputs.iter().find(|x| x.shape() != first.shape()) {
            return Err(format!("shapes {:?} and {:?} cannot be stacked", first.shape(), other.shape()));
        }
        let mut shape = first.shape().to_vec();
        let outer = shape[..self.axis].iter().product();
        shape.insert(self.axis, inputs.len());
        room_for(&shape)?;
        Ok(vec![Tensor::made(shape, joined_elements(&inputs, outer)?)?])
    }
}

/// The elements of tensors of one class, which take turns `outer` times.
fn joined_elements(inputs: &[Arc<Tensor>], outer: usize) -> Result<TensorData, String> {
    Ok(match inputs.first().map(|x| x.data()) {
        Some(TensorData::I32(_)) => join(&parts(inputs, Tensor::i32s)?, outer).into(),
        Some(TensorData::Bool(_)) => join(&parts(inputs, Tensor::bools)?, outer).into(),
        _ => join(&parts(inputs, Tensor::f32s)?, outer).into(),
    })
}

fn parts<'a, T>(
    inputs: &'a [Arc<Tensor>],
    elements: impl Fn(&'a Tensor) -> Result<&'a [T], String>,
) -> Result<Vec<&'a [T]>, String> {
    inputs.iter().map(|x| elements(x)).collect()
}

/// The parts joined along an axis that has `outer` positions outside it.
fn join<T: Copy>(parts: &[&[T]], outer: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    for i in 0..outer {
        for part in parts {
            let run = part.len() / outer;
            out.extend_from_slice(&part[i * run..(i + 1) * run]);
        }
    }
    out
}

/// Plans `split`.
pub(super) fn split(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let count = |n: &i32| usize::try_from(*n).ok().filter(|n| *n > 0);
    let sizes = match (args.i32s("split_sizes")?, args.i32("num_splits")?) {
        (Some(sizes), _) => {
            let given = sizes.iter().map(count).collect::<Option<Vec<_>>>();
            Sizes::Given(given.ok_or_else(|| format!("`split_sizes` {sizes:?} must be positive"))?)
        }
        (None, n) => Sizes::Equal(
            n.as_ref().and_then(count).ok_or_else(|| "`num_splits` must be positive".to_owned())?,
        ),
    };
    Ok(Box::new(Split { axis: args.axis("axis", args.rank("x")?, 0)?, sizes }))
}

impl Operation for Split {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let extent = x.shape()[self.axis];
        let sizes = match &self.sizes {
            Sizes::Given(sizes) => sizes.clone(),
            Sizes::Equal(n) if extent.is_multiple_of(*n) => vec![extent / n; *n],
            Sizes::Equal(n) => return Err(format!("{n} parts do not divide the extent {extent}")),
        };
        if sizes.iter().sum::<usize>() != extent {
            return Err(format!("parts {sizes:?} do not add up to the extent {extent}"));
        }
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let mut start = 0;
        let mut out = Vec::with_capacity(sizes.len());
        for size in sizes {
            let mut shape = x.shape().to_vec();
            shape[self.axis] = size;
            let (from, to) = (start * inner, (start + size) * inner);
            let data = map_elements!(x.data(), v => cut(v, extent * inner, from, to));
            out.push(Tensor::made(shape, data)?);
            start += size;
        }
        Ok(out)
    }
}

/// From each `run` elements of `x`, those from `from` to `to`.
fn cut<T: Copy>(x: &[T], run: usize, from: usize, to: usize) -> Vec<T> {
    if run == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(x.len() / run * (to - from));
    x.chunks_exact(run).for_each(|c| out.extend_from_slice(&c[from..to]));
    out
}

/// Plans `tile`.
pub(super) fn tile(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let reps = required(args.i32s("reps")?, "reps")?;
    let positive = reps.iter().map(|r| usize::try_from(*r).ok().filter(|r| *r > 0)).collect();
    let positive: Option<Vec<usize>> = positive;
    match positive {
        Some(positive) if positive.len() == args.rank("x")? => Ok(Box::new(Tile { reps: positive })),
        _ => Err(Problem::Malformed(format!("`reps` {reps:?} must be positive, one for each axis of `x`"))),
    }
}

impl Operation for Tile {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let shape: Option<Vec<usize>> =
            x.shape().iter().zip(&self.reps).map(|(d, r)| d.checked_mul(*r)).collect();
        let shape = shape.ok_or("the result has too many elements")?;
        if self.reps.iter().all(|r| *r == 1) {
            return Ok(vec![Arc::unwrap_or_clone(x)]);
        }
        room_for(&shape)?;
        let data = map_elements!(x.data(), v => tiled(v, x.shape(), &self.reps));
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// The elements of `x` repeated along each axis, innermost axis first.
fn tiled<T: Copy>(x: &[T], shape: &[usize], reps: &[usize]) -> Vec<T> {
    let mut data = Cow::Borrowed(x);
    let mut run = 1;
    for (extent, reps) in shape.iter().zip(reps).rev() {
        run *= extent;
        if *reps > 1 && run > 0 {
            let mut out = Vec::with_capacity(data.len() * reps);
            for chunk in data.chunks_exact(run) {
                (0..*reps).for_each(|_| out.extend_from_slice(chunk));
            }
            data = Cow::Owned(out);
        }
        run *= reps;
    }
    data.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(shape: &[usize]) -> Arc<Tensor> {
        let count = shape.iter().product::<usize>();
        Arc::new(Tensor::new(shape, (0..count as i32).collect::<Vec<_>>()).unwrap())
    }

    #[test]
    fn shapes_with_zero_and_minus_one() {
        type Case<'a> = (&'a [usize], &'a [i32], Option<&'a [usize]>);
        let cases: [Case<'_>; 6] = [
            (&[2, 6], &[3, -1], Some(&[3, 4])),
            (&[2, 6], &[0, 2, -1], Some(&[2, 2, 3])),
            (&[1], &[], Some(&[])),
            (&[2, 6], &[5, -1], None),
            (&[2, 6], &[-1, -1], None),
            (&[2], &[1, 2, 0], None),
        ];
        for (old, wanted, expected) in cases {
            assert_eq!(resolve_shape(old, wanted).ok().as_deref(), expected, "{wanted:?}");
        }
        assert_eq!(expanded(&[5, 7], &[0, -1]), Ok(vec![1, 5, 7, 1]));
        assert_eq!(squeezed(&[1, 3, 1], None), Ok(vec![3]));
        assert_eq!(squeezed(&[1, 3, 1], Some(&[2])), Ok(vec![1, 3]));
        assert!(squeezed(&[1, 3, 1], Some(&[1])).unwrap_err().contains("axis 1"));
    }

    /// Element by element, straight from the definition.
    fn transpose_reference(x: &[i32], shape: &[usize], perm: &[usize]) -> Vec<i32> {
        let target: Vec<usize> = perm.iter().map(|a| shape[*a]).collect();
        let (from, to) = (strides(shape), strides(&target));
        let at = |flat: usize| -> usize {
            perm.iter().zip(to.iter().zip(&target)).map(|(a, (s, d))| flat / s % d * from[*a]).sum()
        };
        (0..x.len()).map(|flat| x[at(flat)]).collect()
    }

    #[test]
    fn transpose_agrees_with_its_slow_twin() {
        let cases: [(&[usize], &[usize]); 5] = [
            (&[2, 3], &[1, 0]),
            (&[1, 4, 3, 2], &[0, 2, 1, 3]),
            (&[2, 3, 4], &[2, 0, 1]),
            (&[3, 1, 2], &[1, 0, 2]),
            (&[2, 2, 3, 2], &[0, 1, 3, 2]),
        ];
        for (shape, perm) in cases {
            let x = numbers(shape);
            let out = transposed(x.clone(), perm).unwrap();
            let expected = transpose_reference(x.as_i32s().unwrap(), shape, perm);
            assert_eq!(out.as_i32s().unwrap(), expected, "{shape:?} {perm:?}");
        }
    }

    #[test]
    fn concat_and_split_are_inverse() {
        let x = numbers(&[2, 5, 2]);
        let split = Split { axis: 1, sizes: Sizes::Given(vec![1, 4]) };
        let parts: Vec<_> = split.run(vec![x.clone()]).unwrap().into_iter().map(Arc::new).collect();
        assert_eq!(parts[0].as_i32s().unwrap(), [0, 1, 10, 11]);
        assert_eq!(Concat { axis: 1, interleave: false }.run(parts).unwrap()[0], *x);
        let uneven = Split { axis: 1, sizes: Sizes::Equal(2) }.run(vec![x]);
        assert_eq!(uneven.unwrap_err(), "2 parts do not divide the extent 5");
    }

    #[test]
    fn tile_repeats_each_axis() {
        assert_eq!(tiled(&[1, 2, 3, 4], &[2, 2], &[1, 2]), [1, 2, 1, 2, 3, 4, 3, 4]);
        assert_eq!(tiled(&[1, 2, 3, 4], &[2, 2], &[2, 1]), [1, 2, 3, 4, 1, 2, 3, 4]);
        assert_eq!(tiled(&[1, 2], &[2, 1], &[1, 3]), [1, 1, 1, 2, 2, 2]);
    }
}
