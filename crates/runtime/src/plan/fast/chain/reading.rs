//! How a chain reads an operand: tiles of it, in the order of the chain's result.

use crate::plan::fast::layout::Layout;
use crate::plan::fast::operand::{Call, Operand};

use super::TILE;

/// The memory that an operand is in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbers<'a> {
    Floats(&'a [f32]),
    Flags(&'a [bool]),
}

/// Where the elements of an operand are that come together with those of the result, from the first to the last.
#[derive(Debug)]
pub(super) struct Reading {
    offset: usize,
    /// Extent and stride of each axis, outermost first; neighbours that are one run are one axis. A stride of 0 is
    /// that of an axis along which the operand is repeated.
    axes: Vec<(usize, usize)>,
    /// Whether it is of booleans.
    is_flags: bool,
}

impl Reading {
    /// How an operand that lies as `from` is read beside a result that lies as `to`, to whose shape it broadcasts.
    pub(super) fn new(from: &Layout, to: &Layout, is_flags: bool) -> Reading {
        let missing = to.shape.len() - from.shape.len();
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if from.shape[own] != 1 => from.strides[own],
            _ => 0,
        };
        // The axes of the result, from the one along which neighbours are farthest apart.
        let mut order: Vec<usize> = (0..to.shape.len()).filter(|axis| to.shape[*axis] != 1).collect();
        order.sort_by_key(|axis| std::cmp::Reverse(to.strides[*axis]));
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (extent, step) in order.into_iter().map(|axis| (to.shape[axis], stride(axis))) {
            match axes.last_mut() {
                Some((count, outer)) if *outer == extent * step => (*count, *outer) = (*count * extent, step),
                _ => axes.push((extent, step)),
            }
        }
        Reading { offset: from.offset, axes, is_flags }
    }

    /// The memory of `operand`, which reaches as far as it is read.
    pub(super) fn open<'a>(&self, call: &'a Call<'_>, operand: &'a Operand) -> Result<Numbers<'a>, String> {
        let (numbers, length) = if self.is_flags {
            let flags = call.flags(operand)?;
            (Numbers::Flags(flags), flags.len())
        } else {
            let floats = call.floats(operand)?;
            (Numbers::Floats(floats), floats.len())
        };
        let last =
            self.offset + self.axes.iter().map(|(extent, stride)| (extent - 1) * stride).sum::<usize>();
        if last < length { Ok(numbers) } else { Err("an operand is too short".to_owned()) }
    }

    /// Whether all elements are neighbours, in order, or there is one only: then a tile of it need not be made anew.
    fn is_run(&self) -> bool {
        matches!(self.axes[..], [(_, 1)])
    }

    /// The elements from `start` on, where they need not be gathered.
    pub(super) fn in_place<'a>(
        &self,
        numbers: &Numbers<'a>,
        start: usize,
        length: usize,
    ) -> Option<&'a [f32]> {
        match numbers {
            Numbers::Floats(floats) if self.is_run() => floats.get(self.offset + start..)?.get(..length),
            _ => None,
        }
    }

    /// The tile that elements are gathered in; empty where they are read where they lie.
    pub(super) fn scratch(&self) -> Vec<f32> {
        if self.is_run() && !self.is_flags { Vec::new() } else { vec![0.0; TILE] }
    }

    /// Writes the elements from `start` on to `out`, booleans as 1 and 0.
    pub(super) fn read(&self, numbers: &Numbers<'_>, start: usize, out: &mut [f32]) {
        match numbers {
            Numbers::Floats(floats) => self.gather(floats, start, out, |number| number),
            Numbers::Flags(flags) => self.gather(flags, start, out, |flag| f32::from(u8::from(flag))),
        }
    }

    fn gather<T: Copy>(&self, memory: &[T], start: usize, out: &mut [f32], number: impl Fn(T) -> f32) {
        let Some((&(length, step), outer)) = self.axes.split_last() else {
            return out.fill(number(memory[self.offset]));
        };
        let mut index = vec![0; outer.len()];
        let (mut column, mut rest, mut row) = (start % length, start / length, self.offset);
        for (index, (extent, stride)) in index.iter_mut().zip(outer).rev() {
            *index = rest % extent;
            rest /= extent;
            row += *index * stride;
        }
        let mut out = out;
        while !out.is_empty() {
            let (now, later) = out.split_at_mut((length - column).min(out.len()));
            let from = &memory[row + column * step..];
            match step {
                0 => now.fill(number(from[0])),
                _ => now.iter_mut().zip(from.iter().step_by(step)).for_each(|(out, x)| *out = number(*x)),
            }
            out = later;
            column = 0;
            for (index, (extent, stride)) in index.iter_mut().zip(outer).rev() {
                *index += 1;
                row += stride;
                if *index < *extent {
                    break;
                }
                row -= extent * stride;
                *index = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements by `Layout::gather`, repeated as broadcasting says, in the order of a result that lies as `to`.
    fn expected(from: &Layout, to: &Layout, memory: &[f32]) -> Vec<f32> {
        let missing = to.shape.len() - from.shape.len();
        let strides = (0..to.shape.len()).map(|axis| match axis.checked_sub(missing) {
            Some(own) if from.shape[own] != 1 => from.strides[own],
            _ => 0,
        });
        let repeated = Layout { offset: from.offset, shape: to.shape.clone(), strides: strides.collect() };
        let mut perm: Vec<usize> = (0..to.shape.len()).collect();
        perm.sort_by_key(|axis| std::cmp::Reverse(to.strides[*axis]));
        let mut out = vec![0.0; repeated.count()];
        repeated.transposed(&perm).gather(memory, &mut out);
        out
    }

    #[test]
    fn tiles_of_any_layout_are_what_broadcasting_makes() {
        let memory: Vec<f32> = (0u16..1000).map(f32::from).collect();
        let plain = Layout::plain(&[2, 3, 5]);
        let turned = Layout::plain(&[5, 2, 3]).transposed(&[1, 2, 0]);
        let operands = [
            plain.clone(),
            turned.clone(),
            Layout::plain(&[5]),
            Layout::plain(&[3, 1]),
            Layout::plain(&[2, 1, 5]),
            Layout::plain(&[]),
            Layout::plain(&[1, 1, 1]),
            Layout::plain(&[4, 4, 7]).cut(&[1, 1, 2], &[2, 3, 5]),
        ];
        for to in [&plain, &turned] {
            for from in &operands {
                let reading = Reading::new(from, to, false);
                let whole = expected(from, to, &memory);
                for (start, length) in [(0, 30), (0, 1), (7, 11), (29, 1), (4, 6)] {
                    let numbers = Numbers::Floats(&memory);
                    let mut out = vec![f32::NAN; length];
                    reading.read(&numbers, start, &mut out);
                    assert_eq!(out, whole[start..start + length], "{from:?} as {to:?}");
                    let in_place = reading.in_place(&numbers, start, length);
                    assert!(in_place.is_none_or(|place| place == out), "{from:?} as {to:?}");
                }
            }
        }
    }
}
