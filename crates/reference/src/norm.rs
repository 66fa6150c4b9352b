//! The norm of all families: division by the root mean square, times a weight.

use anelith_checkpoint::{Config, Tensors};
use rayon::prelude::*;

use crate::error::Result;
use crate::matrix::Matrix;
use crate::weight::Weight;

/// `x / sqrt(mean(x^2) + rms_norm_eps) * weight`, over as many channels as the weight has.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Weight,
    eps: f32,
}

impl Norm {
    /// The tensor `name.weight` [width].
    pub(crate) fn open(tensors: &Tensors, name: &str, width: usize, config: &Config) -> Result<Norm> {
        let weight = Weight::open(tensors, &format!("{name}.weight"), &[width])?;
        Ok(Norm { weight, eps: config.rms_norm_eps as f32 })
    }

    /// Norms each row of `x`; or each head, where a row holds several that are as wide as the weight.
    pub(crate) fn apply(&self, x: &mut Matrix) -> Result<()> {
        let weight = self.weight.read()?;
        x.values_mut().par_chunks_mut(weight.len()).for_each(|x| rms_norm(x, &weight, self.eps));
        Ok(())
    }
}

/// The mean is taken in f64, the rest in f32.
fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32) {
    let squares: f64 = x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    let mean = (squares / x.len() as f64) as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    x.iter_mut().zip(weight).for_each(|(x, weight)| *x = *x * scale * weight);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_divides_by_the_root_mean_square() {
        // The mean of the squares is 12.5.
        let mut x = [3.0, -4.0];
        rms_norm(&mut x, &[1.0, 0.5], 0.0);
        assert!((x[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-7 && (x[1] + 2.0 / 12.5f32.sqrt()).abs() < 1e-7);
    }

    #[test]
    fn eps_is_added_to_the_mean() {
        let mut x = [1.0; 4];
        rms_norm(&mut x, &[2.0; 4], 3.0);
        assert_eq!(x, [1.0; 4]);
        let mut zero = [0.0; 3];
        rms_norm(&mut zero, &[1.0; 3], 1e-6);
        assert_eq!(zero, [0.0; 3]);
    }

    /// One large channel, as trained models have, must not swallow the others.
    #[test]
    fn the_mean_is_not_lost_in_a_large_channel() {
        let mut x = [1.0; 4097];
        x[0] = 4096.0;
        rms_norm(&mut x, &[1.0; 4097], 0.0);
        let mean = (4096.0f64 * 4096.0 + 4096.0) / 4097.0;
        assert!((f64::from(x[1]) * mean.sqrt() - 1.0).abs() < 2e-7);
    }
}
