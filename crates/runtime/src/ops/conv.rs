//! `conv`: a product of matrices where the kernel is one point, plain loops otherwise.

use std::sync::Arc;

use super::arguments::Arguments;
use super::product::bias;
use super::shape::transposed;
use super::weights::{Channels, Projection};
use super::{Operation, Planned, Problem, operands};
use crate::kernels;
use crate::tensor::{Tensor, room_for};

/// How a spatial axis is traversed.
#[derive(Clone, Copy, Debug)]
struct Axis {
    stride: usize,
    dilation: usize,
    pad: Pad,
}

#[derive(Clone, Copy, Debug)]
enum Pad {
    /// So many zeros before and after.
    Given(usize, usize),
    /// As many as keep the extent (over the stride); the odd one goes after.
    Same,
    /// As `Same`, but the odd one goes before.
    SameLower,
}

/// A convolution whose kernel is one point: each position is multiplied by the weight.
#[derive(Debug)]
struct Pointwise {
    bias: Option<Arc<Tensor>>,
}

/// A convolution over one or two spatial axes; with one, the first of the two is a dummy.
#[derive(Debug)]
struct Conv {
    axes: [Axis; 2],
    groups: usize,
    bias: Option<Arc<Tensor>>,
}

/// Plans `conv`.
pub(super) fn conv(args: &Arguments<'_>) -> Result<Planned, Problem> {
    args.expect_floats(&["x", "weight"])?;
    let spatial = args.rank("x")?.saturating_sub(2);
    let weight = args.shape("weight")?;
    if weight.len() != spatial + 2 || !(1..=2).contains(&spatial) {
        let (w, x) = (weight.len(), spatial + 2);
        return Err(Problem::Unsupported(format!(
            "`weight` has {w} dimensions and `x` has {x}, expected 3 (one spatial axis) or 4 (two) for both"
        )));
    }
    let out = weight[0].ok_or_else(|| Problem::Unsupported("`weight` has a flexible shape".to_owned()))?;
    let bias = bias(args, out)?;
    let groups = args.i32("groups")?.unwrap_or(1);
    let groups = usize::try_from(groups).ok().filter(|g| *g > 0 && out.is_multiple_of(*g));
    let groups = groups.ok_or_else(|| format!("`groups` does not divide the {out} output channels"))?;
    let axes = (0..spatial).map(|i| axis(args, i, spatial)).collect::<Result<Vec<_>, _>>()?;
    let point = weight[2..].iter().all(|k| *k == Some(1)) && axes.iter().all(is_plain) && groups == 1;
    match args.weights.get("weight") {
        Some(weight) if point => {
            let weight = Arc::clone(weight);
            return Ok(Planned::Project(Projection { weight, bias, channels: Channels::Second }));
        }
        None if point => return Ok(Planned::Computed(Box::new(Pointwise { bias }))),
        _ => {}
    }
    let dummy = Axis { stride: 1, dilation: 1, pad: Pad::Given(0, 0) };
    let axes = if let [h, w] = axes[..] { [h, w] } else { [dummy, axes[0]] };
    Ok(Planned::Computed(Box::new(Conv { axes, groups, bias })))
}

fn is_plain(axis: &Axis) -> bool {
    axis.stride == 1 && !matches!(axis.pad, Pad::Given(a, b) if a + b > 0)
}

/// The parameters of spatial axis `i` of `count`.
fn axis(args: &Arguments<'_>, i: usize, count: usize) -> Result<Axis, Problem> {
    let entry = |name: &str, i: usize, len: usize, least: usize| -> Result<Option<usize>, Problem> {
        let Some(values) = args.i32s(name)? else { return Ok(None) };
        let value = values.get(i).and_then(|v| usize::try_from(*v).ok());
        let bad =
            || Problem::Malformed(format!("`{name}` {values:?}: expected {len} entries of at least {least}"));
        value.filter(|v| values.len() == len && *v >= least).map(Some).ok_or_else(bad)
    };
    let pad = match args.text("pad_type")?.unwrap_or("valid") {
        "valid" => Pad::Given(0, 0),
        "custom" => Pad::Given(
            entry("pad", 2 * i, 2 * count, 0)?.unwrap_or(0),
            entry("pad", 2 * i + 1, 2 * count, 0)?.unwrap_or(0),
        ),
        "same" => Pad::Same,
        "same_lower" => Pad::SameLower,
        other => {
            return Err(Problem::Unsupported(format!(
                "`pad_type` is \"{other}\", expected \"valid\", \"custom\", \"same\" or \"same_lower\""
            )));
        }
    };
    let stride = entry("strides", i, count, 1)?.unwrap_or(1);
    let dilation = entry("dilations", i, count, 1)?.unwrap_or(1);
    Ok(Axis { stride, dilation, pad })
}

/// The batch, the channels and the product of the spatial extents.
pub(super) fn extents(x: &Tensor) -> Result<[usize; 3], String> {
    match x.shape() {
        [n, c, spatial @ ..] => Ok([*n, *c, spatial.iter().product()]),
        other => Err(format!("an operand has shape {other:?}, expected batch and channels")),
    }
}

/// Adds to each channel of `y`, a run of `run` elements, its bias.
pub(super) fn add_bias(y: &mut [f32], run: usize, bias: Option<&Tensor>) -> Result<(), String> {
    let Some(bias) = bias.map(Tensor::f32s).transpose()? else { return Ok(()) };
    if run > 0 {
        let channels = y.chunks_exact_mut(run).zip(bias.iter().cycle());
        channels.for_each(|(channel, b)| channel.iter_mut().for_each(|v| *v += b));
    }
    Ok(())
}

impl Operation for Pointwise {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, weight] = operands(inputs)?;
        let [batch, channels, points] = extents(&x)?;
        let [out, taken, _] = extents(&weight)?;
        if channels != taken {
            return Err(format!("`x` has {channels} channels, `weight` takes {taken}"));
        }
        let mut shape = x.shape().to_vec();
        shape[1] = out;
        let mut y = vec![0f32; room_for(&shape)?];
        if channels > 0 && !y.is_empty() {
            let rows = Tensor::made(vec![batch, channels, points], Arc::unwrap_or_clone(x).into_data())?;
            let rows = transposed(Arc::new(rows), &[0, 2, 1])?;
            let items = rows.f32s()?.chunks_exact(points * channels);
            for (item, y) in items.zip(y.chunks_exact_mut(out * points)) {
                kernels::matmul_transposed(weight.f32s()?, item, channels, y);
            }
        }
        add_bias(&mut y, points, self.bias.as_deref())?;
        Ok(vec![Tensor::made(shape, y)?])
    }
}

impl Axis {
    /// The zeros before an axis of `extent` and the extent of the result, for a kernel of `kernel` points.
    fn geometry(&self, extent: usize, kernel: usize) -> Option<(usize, usize)> {
        let span = kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)?;
        let (before, after) = match self.pad {
            Pad::Given(before, after) => (before, after),
            Pad::Same | Pad::SameLower => {
                let out = extent.div_ceil(self.stride);
                let covered = out.checked_sub(1)?.checked_mul(self.stride)?.checked_add(span)?;
                let total = covered.saturating_sub(extent);
                let less = total / 2;
                if matches!(self.pad, Pad::Same) { (less, total - less) } else { (total - less, less) }
            }
        };
        let padded = extent.checked_add(before)?.checked_add(after)?;
        Some((before, padded.checked_sub(span)? / self.stride + 1))
    }

    /// Where point `k` of the kernel falls for position `o` of the result; `None` on the padding.
    fn source(&self, o: usize, k: usize, before: usize, extent: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(before).filter(|i| *i < extent)
    }
}

/// A tensor as channels of planes: `[batch, channels, height, width]`, height 1 for one spatial axis.
fn planes(x: &Tensor) -> Result<[usize; 4], String> {
    match *x.shape() {
        [n, c, w] => Ok([n, c, 1, w]),
        [n, c, h, w] => Ok([n, c, h, w]),
        ref other => Err(format!("an operand has shape {other:?}, expected 3 or 4 dimensions")),
    }
}

impl Operation for Conv {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, weight] = operands(inputs)?;
        let ([batch, channels, height, width], [out, taken, kh, kw]) = (planes(&x)?, planes(&weight)?);
        if taken.checked_mul(self.groups) != Some(channels) {
            let groups = self.groups;
            return Err(format!("`x` has {channels} channels, `weight` takes {taken} in {groups} groups"));
        }
        let fit = || format!("a kernel of {kh} by {kw} does not fit {height} by {width}");
        let (top, rows) = self.axes[0].geometry(height, kh).ok_or_else(fit)?;
        let (left, columns) = self.axes[1].geometry(width, kw).ok_or_else(fit)?;
        let mut shape = vec![batch, out, rows, columns];
        let mut y = vec![0f32; room_for(&shape)?];
        let window =
            Window { axes: self.axes, before: [top, left], extents: [height, width], out: [rows, columns] };
        let (x_all, w_all) = (x.f32s()?, weight.f32s()?);
        let plane = height * width;
        for (i, y) in y.chunks_exact_mut((rows * columns).max(1)).enumerate() {
            let (n, o) = (i / out, i % out);
            let first = n * channels + o / (out / self.groups) * taken;
            for c in 0..taken {
                let x = &x_all[(first + c) * plane..(first + c + 1) * plane];
                let w = &w_all[(o * taken + c) * kh * kw..(o * taken + c + 1) * kh * kw];
                window.accumulate(x, w, [kh, kw], y);
            }
        }
        add_bias(&mut y, rows * columns, self.bias.as_deref())?;
        if x.shape().len() == 3 {
            shape.remove(2);
        }
        Ok(vec![Tensor::made(shape, y)?])
    }
}

/// The geometry of one convolution.
struct Window {
    axes: [Axis; 2],
    before: [usize; 2],
    extents: [usize; 2],
    out: [usize; 2],
}

impl Window {
    /// Adds to the plane `y` the correlation of the plane `x` with the kernel `w`.
    fn accumulate(&self, x: &[f32], w: &[f32], kernel: [usize; 2], y: &mut [f32]) {
        for (i, sum) in y.iter_mut().enumerate() {
            let (row, column) = (i / self.out[1], i % self.out[1]);
            for (k, weight) in w.iter().enumerate() {
                let (kr, kc) = (k / kernel[1], k % kernel[1]);
                let r = self.axes[0].source(row, kr, self.before[0], self.extents[0]);
                let c = self.axes[1].source(column, kc, self.before[1], self.extents[1]);
                if let (Some(r), Some(c)) = (r, c) {
                    *sum += weight * x[r * self.extents[1] + c];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], v: &[f32]) -> Arc<Tensor> {
        Arc::new(Tensor::new(shape, v.to_vec()).unwrap())
    }

    fn numbers(shape: &[usize]) -> Arc<Tensor> {
        let count = shape.iter().product::<usize>();
        floats(shape, &(0..count).map(|i| (i * 7 % 11) as f32 - 4.0).collect::<Vec<_>>())
    }

    fn line(stride: usize, dilation: usize, pad: Pad, groups: usize) -> Conv {
        let dummy = Axis { stride: 1, dilation: 1, pad: Pad::Given(0, 0) };
        Conv { axes: [dummy, Axis { stride, dilation, pad }], groups, bias: None }
    }

    #[test]
    fn one_point_agrees_with_the_plain_loops() {
        for (x, w) in
            [([1, 6, 1, 5], [4, 6, 1, 1]), ([2, 3, 2, 2], [5, 3, 1, 1]), ([1, 9, 1, 1], [3, 9, 1, 1])]
        {
            let (x, w) = (numbers(&x), numbers(&w));
            let bias = Some(numbers(&w.shape()[..1]));
            let fast = Pointwise { bias: bias.clone() }.run(vec![x.clone(), w.clone()]).unwrap();
            let slow = Conv { bias, ..line(1, 1, Pad::Given(0, 0), 1) }.run(vec![x, w]).unwrap();
            assert_eq!(fast, slow);
        }
    }

    #[test]
    fn strides_dilations_and_padding() {
        let x = floats(&[1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
        let w = floats(&[1, 1, 2], &[1.0, 10.0]);
        let cases = [
            (line(1, 1, Pad::Given(0, 0), 1), vec![21.0, 32.0, 43.0, 54.0]),
            (line(2, 1, Pad::Given(1, 0), 1), vec![10.0, 32.0, 54.0]),
            (line(1, 2, Pad::Given(0, 0), 1), vec![31.0, 42.0, 53.0]),
            (line(1, 1, Pad::Same, 1), vec![21.0, 32.0, 43.0, 54.0, 5.0]),
            (line(1, 1, Pad::SameLower, 1), vec![10.0, 21.0, 32.0, 43.0, 54.0]),
        ];
        for (op, expected) in cases {
            let out = op.run(vec![x.clone(), w.clone()]).unwrap();
            assert_eq!(out[0].as_f32s().unwrap(), expected, "{op:?}");
        }
        let wide = line(1, 5, Pad::Given(0, 0), 1).run(vec![x, w]).unwrap_err();
        assert_eq!(wide, "a kernel of 1 by 2 does not fit 1 by 5");
    }

    #[test]
    fn groups_see_their_own_channels() {
        let x = floats(&[1, 2, 2], &[1.0, 2.0, 10.0, 20.0]);
        let w = floats(&[2, 1, 1], &[3.0, 5.0]);
        let out = line(1, 1, Pad::Given(0, 0), 2).run(vec![x, w]).unwrap();
        assert_eq!(out[0], *floats(&[1, 2, 2], &[3.0, 6.0, 50.0, 100.0]));
    }
}
