//! Rotary position embeddings: the scaling types, and their inverse frequencies in transformers' own f32 arithmetic.

pub(super) mod parse;

use std::f64::consts::PI;

/// How a model rotates its queries and keys by position.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the geometric series of wavelengths (`rope_theta`).
    pub theta: f64,
    /// How the series is stretched for contexts beyond the original one.
    pub scaling: RopeScaling,
}

/// The `rope_type` of a model, with its parameters resolved.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// No scaling.
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor, at least 1.
        factor: f64,
        /// The length in tokens before stretching.
        original_max_position_embeddings: usize,
    },
    /// Equal to no scaling within `max_position_embeddings`, beyond which no static table exists.
    Dynamic {
        /// The stretch beyond the original length; without effect within it.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a smooth passage between.
    Llama3 {
        /// The divisor of the low frequencies, at least 1.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` count as low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` count as high frequencies.
        high_freq_factor: f64,
        /// The length in tokens before stretching.
        original_max_position_embeddings: usize,
    },
    /// YaRN.
    Yarn(Yarn),
}

/// The parameters of YaRN scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct Yarn {
    /// The stretch, at least 1: an explicit `factor`, else `max_position_embeddings` over the original length.
    pub factor: f64,
    /// The length in tokens before stretching.
    pub original_max_position_embeddings: usize,
    /// What cos and sin are multiplied by; `None` derives it from `factor` and the mscales.
    pub attention_factor: Option<f64>,
    /// Rotations over the original length above which a dimension is not interpolated.
    pub beta_fast: f64,
    /// Rotations over the original length below which a dimension is wholly interpolated.
    pub beta_slow: f64,
    /// Numerator of the derived attention factor, where both mscales are given and not 0.
    pub mscale: Option<f64>,
    /// Denominator of the derived attention factor, where both mscales are given and not 0.
    pub mscale_all_dim: Option<f64>,
}

impl Rope {
    /// The `head_dim / 2` angles per position, from the highest frequency to the lowest.
    ///
    /// Computed as transformers 4.52.4 does: f32 throughout, except that an explicit YaRN `factor` wins over the ratio
    /// of the lengths. Powers are taken in f64 and rounded once, so that every machine gives the same bits.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let default = self.default_frequencies(head_dim);
        match &self.scaling {
            RopeScaling::Default | RopeScaling::Dynamic { .. } => default,
            RopeScaling::Linear { factor, .. } => {
                let factor = *factor as f32;
                default.into_iter().map(|f| f / factor).collect()
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let bands = Llama3Bands {
                    factor: *factor,
                    low: *low_freq_factor,
                    high: *high_freq_factor,
                    length: *original_max_position_embeddings as f64,
                };
                default.into_iter().map(|f| bands.scale(f)).collect()
            }
            RopeScaling::Yarn(yarn) => yarn.inverse_frequencies(self.theta, head_dim),
        }
    }

    /// What cos and sin of every angle are multiplied by: 1 except under YaRN.
    pub fn attention_scaling(&self) -> f32 {
        match &self.scaling {
            RopeScaling::Yarn(yarn) => yarn.attention_scaling() as f32,
            _ => 1.0,
        }
    }

    /// The longest context in tokens, given the model's `max_position_embeddings`.
    ///
    /// Where the type extends the length (linear, yarn) that is the original length times the factor, rounded down,
    /// if it is more. The `max_position_embeddings` of a llama3 model is the extended length already.
    pub fn max_positions(&self, max_position_embeddings: usize) -> usize {
        let extended = match &self.scaling {
            RopeScaling::Linear { factor, original_max_position_embeddings } => {
                *original_max_position_embeddings as f64 * factor
            }
            RopeScaling::Yarn(yarn) => yarn.original_max_position_embeddings as f64 * yarn.factor,
            _ => 0.0,
        };
        max_position_embeddings.max(extended as usize)
    }

    fn default_frequencies(&self, head_dim: usize) -> Vec<f32> {
        powers(self.theta, head_dim).map(|p| 1.0 / p).collect()
    }
}

/// `theta ^ (2i / head_dim)` for every pair of dimensions.
fn powers(theta: f64, head_dim: usize) -> impl Iterator<Item = f32> {
    let base = f64::from(theta as f32);
    (0..head_dim / 2).map(move |pair| {
        let exponent = (2 * pair) as f32 / head_dim as f32;
        base.powf(f64::from(exponent)) as f32
    })
}

struct Llama3Bands {
    factor: f64,
    low: f64,
    high: f64,
    length: f64,
}

impl Llama3Bands {
    fn scale(&self, frequency: f32) -> f32 {
        let factor = self.factor as f32;
        // torch divides a scalar by a tensor as reciprocal times scalar; the roundings differ from a plain division.
        let wavelength = (1.0 / frequency) * (2.0 * PI) as f32;
        let low_wavelength = (self.length / self.low) as f32;
        let high_wavelength = (self.length / self.high) as f32;
        if wavelength > low_wavelength {
            return frequency / factor;
        }
        if wavelength < high_wavelength {
            return frequency;
        }
        let rotations = (1.0 / wavelength) * self.length as f32;
        let smooth = (rotations - self.low as f32) / (self.high - self.low) as f32;
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

impl Yarn {
    fn inverse_frequencies(&self, theta: f64, head_dim: usize) -> Vec<f32> {
        let (low, high) = self.ramp_bounds(theta, head_dim);
        let (start, width) = (low as f32, (high - low) as f32);
        let factor = self.factor as f32;
        powers(theta, head_dim)
            .enumerate()
            .map(|(pair, power)| {
                let ramp = ((pair as f32 - start) / width).clamp(0.0, 1.0);
                let keep = 1.0 - ramp;
                let interpolated = 1.0 / (factor * power);
                interpolated * (1.0 - keep) + (1.0 / power) * keep
            })
            .collect()
    }

    /// The dimensions between which frequencies pass from kept to interpolated; the second is above the first.
    fn ramp_bounds(&self, theta: f64, head_dim: usize) -> (f64, f64) {
        let dim = head_dim as f64;
        let length = self.original_max_position_embeddings as f64;
        let dimension_of =
            |rotations: f64| (dim * (length / (rotations * 2.0 * PI)).ln()) / (2.0 * theta.ln());
        // Rounded outward always: the field `truncate` came after transformers 4.52.4.
        let low = dimension_of(self.beta_fast).floor().max(0.0);
        let high = dimension_of(self.beta_slow).ceil().min(dim - 1.0);
        // transformers' own guard against a ramp of width 0.
        (low, if low == high { high + 0.001 } else { high })
    }

    fn attention_scaling(&self) -> f64 {
        if let Some(given) = self.attention_factor {
            return given;
        }
        let mscale = |weight: f64| match self.factor {
            factor if factor <= 1.0 => 1.0,
            factor => 0.1 * weight * factor.ln() + 1.0,
        };
        let given = |weight: Option<f64>| weight.filter(|w| *w != 0.0);
        match (given(self.mscale), given(self.mscale_all_dim)) {
            (Some(over), Some(under)) => mscale(over) / mscale(under),
            _ => mscale(1.0),
        }
    }
}
