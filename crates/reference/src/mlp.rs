//! The MLP of all families: `down(silu(gate(x)) * up(x))`.

use anelith_checkpoint::{Config, Tensors};
use rayon::prelude::*;

use crate::error::Result;
use crate::family::Family;
use crate::linear::Linear;
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::product::Panels;

/// The MLP of one layer.
#[derive(Debug)]
pub(crate) struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    /// The tensors below `name`: `model.layers.3.mlp`.
    pub(crate) fn open(tensors: &Tensors, name: &str, config: &Config) -> Result<Mlp> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let bias = Family::of(config).mlp_bias;
        let linear = |projection, shape| Linear::open(tensors, &format!("{name}.{projection}"), shape, bias);
        Ok(Mlp {
            gate_proj: linear("gate_proj", [inner, hidden])?,
            up_proj: linear("up_proj", [inner, hidden])?,
            down_proj: linear("down_proj", [hidden, inner])?,
        })
    }

    /// The number of weights.
    pub(crate) fn weights(&self) -> u64 {
        [&self.gate_proj, &self.up_proj, &self.down_proj].map(Linear::weights).iter().sum()
    }

    /// [tokens, hidden_size] to the same.
    pub(crate) fn apply(&self, x: &Matrix, observer: &mut dyn Observer) -> Result<Matrix> {
        let x = Panels::new(x)?;
        let mut gate = self.gate_proj.apply(&x, observer)?;
        let up = self.up_proj.apply(&x, observer)?;
        gate.values_mut().par_iter_mut().zip(up.values()).for_each(|(gate, up)| *gate = silu(*gate) * up);
        // Both are as wide as the MLP: no more of them at once than needed.
        drop((x, up));
        let x = Panels::new(&gate)?;
        drop(gate);
        self.down_proj.apply(&x, observer)
    }
}

/// `x * sigmoid(x)`; the exponential is that of f64, so that machines do not differ in it.
fn silu(x: f32) -> f32 {
    x / (1.0 + f64::from(-x).exp() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silu_is_the_identity_far_above_zero_and_nothing_far_below() {
        assert_eq!([0.0, 100.0, -200.0, 1e30, -1e30].map(silu), [0.0, 100.0, 0.0, 1e30, 0.0]);
        assert!((silu(1.0) - 0.731_058_6).abs() < 1e-7 && (silu(-1.0) + 0.268_941_43).abs() < 1e-7);
    }
}
