//! A function of a program, ready to be called as consumers call it.

use std::ops::Range;

use anelith_mil::blob::WeightStore;
use anelith_mil::{Program, ProgramInfo};
use anelith_report::Report;
use anelith_runtime::{Instance, Precision, Tensor};

use crate::error::{Error, Result};

/// The function that takes one token, and the one that takes a batch.
pub(crate) const INFER: &str = "infer";
pub(crate) const PREFILL: &str = "prefill";

/// What a call returns, by name.
#[derive(Debug)]
pub(crate) struct Outputs(pub(crate) Vec<(String, Tensor)>);

impl Outputs {
    /// The elements of an output of floating-point numbers.
    pub(crate) fn f32s(&self, name: &str) -> Result<&[f32]> {
        let found = self.0.iter().find(|(n, _)| n == name).and_then(|(_, tensor)| tensor.as_f32s());
        found.ok_or_else(|| Error::input(Report::new(format!("the function returns no numbers `{name}`"))))
    }

    /// The elements of several outputs, one after the other.
    pub(crate) fn joined(&self, names: &[String]) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for name in names {
            all.extend_from_slice(self.f32s(name)?);
        }
        Ok(all)
    }
}

/// Functions of a program with a cache.
#[derive(Debug)]
pub(crate) struct Machine {
    instance: Instance,
    context: usize,
}

impl Machine {
    /// Plans `functions` of `program`, whose mask has `context` columns.
    ///
    /// # Errors
    /// `Runtime` where one of them cannot be run.
    pub(crate) fn new(
        (program, info): (&Program, &ProgramInfo),
        weights: &WeightStore,
        functions: &[&str],
        context: usize,
        precision: Precision,
    ) -> Result<Machine> {
        let instance = Instance::new(program, info, weights, functions, precision)?;
        Ok(Machine { instance, context })
    }

    /// Forgets every position.
    pub(crate) fn reset(&mut self) {
        self.instance.reset();
    }

    /// Calls `function` with tokens at the positions from `start` on, and `more` inputs.
    ///
    /// # Errors
    /// `Runtime` where it fails.
    pub(crate) fn call(
        &mut self,
        function: &str,
        tokens: &[u32],
        start: usize,
        more: Vec<(String, Tensor)>,
    ) -> Result<Outputs> {
        let count = tokens.len();
        let ids: Vec<i32> = tokens.iter().map(|id| i32::try_from(*id).unwrap_or(i32::MAX)).collect();
        let positions: Vec<i32> = (start..start + count).map(|p| p as i32).collect();
        let mut mask = vec![f32::NEG_INFINITY; count * self.context];
        for (i, row) in mask.chunks_mut(self.context).enumerate() {
            row.iter_mut().take(start + i + 1).for_each(|v| *v = 0.0);
        }
        let mut inputs = vec![
            ("input_ids", Tensor::new(&[1, count], ids)?),
            ("position_ids", Tensor::new(&[count], positions)?),
            ("causal_mask", Tensor::new(&[1, 1, count, self.context], mask)?),
            ("current_pos", Tensor::new(&[1], vec![start as i32])?),
        ];
        inputs.extend(more.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())));
        Ok(Outputs(self.instance.run(function, &inputs)?))
    }

    /// How far two caches are apart over the positions `rows`: the largest of what [`distance`] says of their states.
    pub(crate) fn cache_distance(&self, other: &Machine, rows: Range<usize>) -> Result<f64> {
        let mut largest = 0f64;
        for feature in self.instance.plan(INFER)?.states() {
            let [ours, theirs] = [self, other].map(|machine| machine.instance.state(&feature.name));
            let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
            let (Some(x), Some(y)) = (ours.as_f32s(), theirs.as_f32s()) else { continue };
            largest = largest.max(distance(ours.shape(), x, y, &rows));
        }
        Ok(largest)
    }
}

/// How far two states [layers, heads, positions, head_dim] are apart over the positions `rows`: in each layer the
/// largest difference, divided by the largest value of `x` there, and of these the largest. Keys and values, and those of
/// different layers, may be of very different sizes, so each is held against its own. States of other shapes are
/// compared whole.
fn distance(shape: &[usize], x: &[f32], y: &[f32], rows: &Range<usize>) -> f64 {
    let (layer, extent, width) = match shape {
        [_, heads, extent, width] => (heads * extent * width, *extent, *width),
        _ => (x.len(), 1, 1),
    };
    let of_layer = |(x, y): (&[f32], &[f32])| {
        let (mut apart, mut largest) = (0f64, 0f64);
        let pairs = x.chunks(width.max(1)).zip(y.chunks(width.max(1))).enumerate();
        for (_, (x, y)) in pairs.filter(|(row, _)| extent == 1 || rows.contains(&(row % extent))) {
            for (x, y) in x.iter().zip(y) {
                let difference = f64::from((x - y).abs());
                apart = if difference.is_nan() { f64::INFINITY } else { apart.max(difference) };
                largest = largest.max(f64::from(x.abs()));
            }
        }
        if apart == 0.0 { 0.0 } else { apart / largest }
    };
    x.chunks(layer.max(1)).zip(y.chunks(layer.max(1))).map(of_layer).fold(0.0, |most, of| {
        // Infinity over infinity.
        if of.is_nan() { f64::INFINITY } else { most.max(of) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_is_held_against_its_own_size() {
        // Two layers of one head, three positions, two numbers each: the second is a thousandth of the first.
        let shape = [2, 1, 3, 2];
        let x = [100.0, 50.0, 100.0, 50.0, 1.0, 1.0, 0.1, 0.05, 0.1, 0.05, 0.0, 0.0];
        assert_eq!(distance(&shape, &x, &x, &(0..3)), 0.0);
        let with = |at: usize, value: f32| {
            let mut y = x;
            y[at] = value;
            distance(&shape, &x, &y, &(0..2))
        };
        assert!((with(0, 99.0) - 0.01).abs() < 1e-7);
        assert!((with(7, 0.0) - 0.5).abs() < 1e-7);
        assert_eq!(with(10, 7.0), 0.0, "a position that is not asked for");
        assert_eq!(with(3, f32::NAN), f64::INFINITY);
    }
}
