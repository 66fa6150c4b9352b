//! How near what a model computes comes to the end of fp16, and where it first goes beyond.

use anelith_mil::VarId;

use crate::block::Block;
use crate::error::Result;
use crate::graph::Activation;
use crate::machine::Outputs;

/// The largest number that fp16 has. In exact mode nothing finite is above; in f32 what is above would be infinite.
pub(crate) const LARGEST: f32 = 65504.0;

/// A number that is not finite in fp16.
#[derive(Clone, Debug, PartialEq)]
pub struct Beyond {
    /// The token, counted over the whole text.
    pub token: usize,
    /// The block.
    pub block: Block,
    /// The op.
    pub op: String,
    /// What it has computed.
    pub value: f32,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saturation {
    /// How many numbers were not finite in fp16, other than minus infinity where the mask is added.
    pub beyond: u64,
    /// How many numbers were looked at.
    pub seen: u64,
    /// The first of those that are not finite.
    pub first: Option<Beyond>,
}

/// Looks at everything that `infer` computes.
#[derive(Debug)]
pub(crate) struct Gauge {
    activations: Vec<Activation>,
    layers: usize,
    /// For each block the largest magnitude, and which activation it is in.
    pub(crate) largest: Vec<(f32, Option<usize>)>,
    pub(crate) saturation: Saturation,
}

impl Gauge {
    pub(crate) fn new(activations: Vec<Activation>, layers: usize) -> Gauge {
        let largest = vec![(0.0, None); Block::count(layers)];
        Gauge { activations, layers, largest, saturation: Saturation::default() }
    }

    /// The variables that it looks at.
    pub(crate) fn vars(&self) -> impl Iterator<Item = VarId> {
        self.activations.iter().map(|activation| activation.var)
    }

    /// Takes in what a call has returned for `token`.
    pub(crate) fn take(&mut self, outputs: &Outputs, token: usize) -> Result<()> {
        for number in 0..self.activations.len() {
            let values = outputs.f32s(&self.activations[number].name)?;
            self.look(number, values, token);
        }
        Ok(())
    }

    fn look(&mut self, number: usize, values: &[f32], token: usize) {
        let activation = &self.activations[number];
        let is_beyond = |v: &&f32| {
            let is_masked = activation.is_masked && **v == f32::NEG_INFINITY;
            !(v.abs() <= LARGEST || is_masked)
        };
        let beyond = values.iter().filter(is_beyond).count() as u64;
        self.saturation.seen += values.len() as u64;
        self.saturation.beyond += beyond;
        if beyond > 0 && self.saturation.first.is_none() {
            let value = values.iter().find(is_beyond).copied().unwrap_or(f32::NAN);
            let block = Block::at(activation.block, self.layers);
            self.saturation.first = Some(Beyond { token, block, op: activation.op.clone(), value });
        }
        let finite = values.iter().map(|v| v.abs()).filter(|v| v.is_finite());
        let largest = finite.fold(0.0, f32::max);
        if let Some(known) = self.largest.get_mut(activation.block)
            && largest > known.0
        {
            *known = (largest, Some(number));
        }
    }

    /// The op that computed the largest number of a block.
    pub(crate) fn largest_at(&self, block: usize) -> String {
        let at = self.largest.get(block).and_then(|(_, at)| *at);
        at.and_then(|at| self.activations.get(at)).map_or_else(String::new, |a| a.op.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_are_found_but_not_those_of_the_mask() {
        let (var, name, op) = (VarId(0), "x", "`x` (add)");
        let activation =
            |is_masked| Activation { var, name: name.into(), op: op.into(), block: 1, is_masked };
        for (is_masked, values, beyond) in [
            (false, [1.0, -65504.0], 0),
            (false, [1.0, 65536.0], 1),
            (false, [f32::NAN, f32::NEG_INFINITY], 2),
            (true, [f32::NEG_INFINITY, 3.0], 0),
            (true, [f32::INFINITY, f32::NAN], 2),
        ] {
            let mut gauge = Gauge::new(vec![activation(is_masked)], 1);
            gauge.look(0, &values, 7);
            assert_eq!(gauge.saturation.beyond, beyond, "{values:?}");
            let first = gauge.saturation.first.map(|f| (f.token, f.block));
            assert_eq!(first, (beyond > 0).then_some((7, Block::Attention(0))));
        }
    }
}
