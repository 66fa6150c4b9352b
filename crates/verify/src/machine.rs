//! A function of a program, ready to be called as consumers call it.

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

    /// How far two caches are apart over the positions `rows`: the largest difference, divided by the largest value of
    /// this one. States of other shapes than [.., .., positions, ..] are compared whole.
    pub(crate) fn cache_distance(&self, other: &Machine, rows: std::ops::Range<usize>) -> Result<f64> {
        let plan = self.instance.plan(INFER)?;
        let (mut apart, mut largest) = (0f64, 0f64);
        for feature in plan.states() {
            let [ours, theirs] = [self, other].map(|machine| machine.instance.state(&feature.name));
            let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
            let (Some(x), Some(y)) = (ours.as_f32s(), theirs.as_f32s()) else { continue };
            let (extent, width) = match ours.shape() {
                [_, _, extent, width] => (*extent, *width),
                _ => (1, 1),
            };
            for (row, (x, y)) in x.chunks(width.max(1)).zip(y.chunks(width.max(1))).enumerate() {
                if extent > 1 && !rows.contains(&(row % extent)) {
                    continue;
                }
                for (x, y) in x.iter().zip(y) {
                    let (x, difference) = (f64::from(x.abs()), f64::from((x - y).abs()));
                    apart = if difference.is_nan() { f64::INFINITY } else { apart.max(difference) };
                    largest = largest.max(x);
                }
            }
        }
        Ok(if apart == 0.0 { 0.0 } else { apart / largest })
    }
}
