//! How fast each pair of channels turns from position to position.
//!
//! Every kind of scaling divides frequencies by a factor, all of them or some more than others. So each is stated as
//! the part of a frequency that is kept as it is, from 0 to 1; the rest is divided.

use std::f64::consts::TAU;

use anelith_checkpoint::{Rope, RopeScaling, Yarn};

/// Radians per position of the `head_dim / 2` pairs of channels, the fastest first.
pub(crate) fn frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    let factor = match &rope.scaling {
        RopeScaling::Default | RopeScaling::Dynamic { .. } => 1.0,
        RopeScaling::Linear { factor, .. } | RopeScaling::Llama3 { factor, .. } => *factor,
        RopeScaling::Yarn(yarn) => yarn.factor,
    };
    let scaled = |pair| {
        let plain = f64::from(plain(rope.theta, pair, head_dim));
        let kept = kept(rope, pair, head_dim, plain);
        (plain * kept + plain / factor * (1.0 - kept)) as f32
    };
    (0..head_dim / 2).map(scaled).collect()
}

/// `1 / theta^(2 pair / head_dim)`, rounded where transformers rounds: over thousands of positions it is seen.
fn plain(theta: f64, pair: usize, head_dim: usize) -> f32 {
    let exponent = (2 * pair) as f32 / head_dim as f32;
    let power = f64::from(theta as f32).powf(f64::from(exponent));
    1.0 / power as f32
}

/// The part of a frequency that is not divided by the factor.
fn kept(rope: &Rope, pair: usize, head_dim: usize, frequency: f64) -> f64 {
    match &rope.scaling {
        // Dynamic scaling begins beyond the original length, and no window is longer.
        RopeScaling::Default | RopeScaling::Dynamic { .. } => 1.0,
        RopeScaling::Linear { .. } => 0.0,
        RopeScaling::Llama3 {
            low_freq_factor, high_freq_factor, original_max_position_embeddings, ..
        } => {
            let turns = *original_max_position_embeddings as f64 * frequency / TAU;
            ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0)
        }
        RopeScaling::Yarn(yarn) => 1.0 - divided_by_yarn(yarn, rope.theta, pair, head_dim),
    }
}

/// The part that YaRN divides: it grows from 0 at the pair that makes `beta_fast` turns over the original length to
/// 1 at the pair that makes `beta_slow`, both moved outward to whole numbers.
fn divided_by_yarn(yarn: &Yarn, theta: f64, pair: usize, head_dim: usize) -> f64 {
    let length = yarn.original_max_position_embeddings as f64;
    let pair_of = |turns: f64| head_dim as f64 * (length / (turns * TAU)).ln() / (2.0 * theta.ln());
    let first = pair_of(yarn.beta_fast).floor().max(0.0);
    let last = pair_of(yarn.beta_slow).ceil().min(head_dim as f64 - 1.0);
    // As in transformers, which must not divide by 0 either.
    let last = if first == last { last + 0.001 } else { last };
    ((pair as f64 - first) / (last - first)).clamp(0.0, 1.0)
}

/// What cosines and sines are multiplied by: 1, but for YaRN.
pub(crate) fn attention_factor(rope: &Rope) -> f32 {
    let RopeScaling::Yarn(yarn) = &rope.scaling else { return 1.0 };
    let grown = |weight: f64| 1.0 + 0.1 * weight * yarn.factor.max(1.0).ln();
    let derived = match (yarn.mscale, yarn.mscale_all_dim) {
        (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => grown(mscale) / grown(all),
        _ => grown(1.0),
    };
    yarn.attention_factor.unwrap_or(derived) as f32
}

#[cfg(test)]
mod tests;
