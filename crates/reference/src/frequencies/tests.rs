//! Frequencies against the formulas of transformers, written out as they stand there.

use std::f64::consts::PI;

use super::*;

const THETA: f64 = 10_000.0;

fn rope(scaling: RopeScaling) -> Rope {
    Rope { theta: THETA, scaling }
}

fn inv_freq(pair: usize, head_dim: usize) -> f64 {
    1.0 / THETA.powf(2.0 * pair as f64 / head_dim as f64)
}

/// Holds the frequencies against a formula, and against those that conversions use.
fn check(scaling: RopeScaling, head_dim: usize, expected: impl Fn(usize) -> f64) {
    let rope = rope(scaling);
    let found = frequencies(&rope, head_dim);
    assert_eq!(found.len(), head_dim / 2);
    let converted = rope.inverse_frequencies(head_dim);
    for (pair, found) in found.iter().enumerate() {
        for expected in [expected(pair), f64::from(converted[pair])] {
            let error = (f64::from(*found) / expected - 1.0).abs();
            assert!(error < 1e-6, "{:?}: pair {pair}: {found} for {expected}", rope.scaling);
        }
    }
    assert_eq!(attention_factor(&rope), rope.attention_scaling());
}

#[test]
fn without_scaling_frequencies_are_a_geometric_series() {
    for scaling in [RopeScaling::Default, RopeScaling::Dynamic { factor: 4.0 }] {
        for head_dim in [2, 8, 64, 128] {
            check(scaling.clone(), head_dim, |pair| inv_freq(pair, head_dim));
        }
    }
}

#[test]
fn linear_scaling_divides_all() {
    let scaling = RopeScaling::Linear { factor: 2.5, original_max_position_embeddings: 64 };
    check(scaling, 64, |pair| inv_freq(pair, 64) / 2.5);
}

#[test]
fn llama3_divides_low_frequencies_and_passes_smoothly_to_high_ones() {
    let (factor, low, high, length) = (8.0, 1.0, 4.0, 512.0);
    let mut bands = [0; 3];
    let mut formula = |pair: usize| {
        let inv_freq = inv_freq(pair, 64);
        let wavelen = 2.0 * PI / inv_freq;
        if wavelen < length / high {
            bands[0] += 1;
            return inv_freq;
        }
        if wavelen > length / low {
            bands[1] += 1;
            return inv_freq / factor;
        }
        bands[2] += 1;
        let smooth = (length / wavelen - low) / (high - low);
        (1.0 - smooth) * inv_freq / factor + smooth * inv_freq
    };
    let expected: Vec<f64> = (0..32).map(&mut formula).collect();
    assert!(bands.iter().all(|count| *count > 3), "{bands:?} frequencies in the bands");
    let scaling = RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: length as usize,
    };
    check(scaling, 64, |pair| expected[pair]);
}

fn yarn(factor: f64) -> Yarn {
    Yarn {
        factor,
        original_max_position_embeddings: 2048,
        attention_factor: None,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: None,
        mscale_all_dim: None,
    }
}

#[test]
fn yarn_divides_between_two_pairs_more_and_more() {
    // dim ln(length / (beta 2 pi)) / (2 ln theta): 16.1 for 32 turns, 40.2 for one.
    let (first, last, factor) = (16.0, 41.0, 4.0);
    let formula = |pair: usize| {
        let ramp = ((pair as f64 - first) / (last - first)).clamp(0.0, 1.0);
        let extrapolation = inv_freq(pair, 128);
        let interpolation = 1.0 / (factor / inv_freq(pair, 128));
        interpolation * ramp + extrapolation * (1.0 - ramp)
    };
    check(RopeScaling::Yarn(yarn(factor)), 128, formula);
}

/// Over four positions not even the fastest pair makes a turn: the ramp begins and ends with it.
#[test]
fn a_ramp_without_width_divides_all_behind_it() {
    let narrow = Yarn { original_max_position_embeddings: 4, ..yarn(4.0) };
    check(RopeScaling::Yarn(narrow), 16, |pair| inv_freq(pair, 16) / if pair == 0 { 1.0 } else { 4.0 });
}

#[test]
fn the_attention_factor_is_given_or_follows_from_the_scaling() {
    let factor = |yarn| attention_factor(&rope(RopeScaling::Yarn(yarn)));
    let near =
        |found: f32, expected: f64| assert!((f64::from(found) / expected - 1.0).abs() < 1e-7, "{found}");
    near(factor(yarn(4.0)), 0.1 * 4f64.ln() + 1.0);
    near(factor(yarn(1.0)), 1.0);
    near(factor(Yarn { attention_factor: Some(1.5), ..yarn(4.0) }), 1.5);
    let both = Yarn { mscale: Some(2.0), mscale_all_dim: Some(0.5), ..yarn(4.0) };
    near(factor(both.clone()), (0.2 * 4f64.ln() + 1.0) / (0.05 * 4f64.ln() + 1.0));
    near(factor(Yarn { mscale_all_dim: None, ..both }), 0.1 * 4f64.ln() + 1.0);
    assert_eq!(attention_factor(&rope(RopeScaling::Default)), 1.0);
}
