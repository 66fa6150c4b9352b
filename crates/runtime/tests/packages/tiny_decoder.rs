//! The tiny decoder of coremltools in every compression scheme that it has, against PyTorch on the
//! decompressed weights.

use anelith_runtime::Precision;

use super::npz::Npz;
use super::{Package, shared, step};

const SCHEMES: [&str; 11] = [
    "fp16",
    "int4_block16",
    "int8_channel",
    "lut2_uniform",
    "lut3_tensor",
    "lut4_g8",
    "lut4_g8_pcs",
    "lut4_vec2",
    "lut6_g16",
    "sparse50",
    "sparse50_lut4",
];

/// The largest difference, as a part of the largest number expected.
fn relative(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|v| v.is_finite()));
    let range = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max) / range
}

/// Prefill of eight tokens, then one token at each of the positions 8 to 13, then the state.
fn check(scheme: &str, precision: Precision, tolerance: f32) {
    let Some(folder) = shared(&format!("vectors/ct_tiny_llama/{scheme}")) else { return };
    let expected = Npz::open(&folder.join("expected.npz"));
    let mut instance = Package::open(&folder.join("model.mlpackage")).instance(precision).unwrap();
    let prompt = expected.i32s("prefill_tokens");
    let prefill = step(&mut instance, "prefill", 0, &prompt, -1e4);
    let decode = |(i, token): (usize, i32)| step(&mut instance, "infer", prompt.len() + i, &[token], -1e4);
    let infer: Vec<f32> = expected.i32s("infer_tokens").into_iter().enumerate().flat_map(decode).collect();
    let cache = instance.state("kv_cache").unwrap();
    let state = cache.as_f32s().unwrap();
    let found = [("prefill_logits", &prefill[..]), ("infer_logits", &infer), ("final_kv", state)];
    for (name, found) in found {
        let worst = relative(found, &expected.f32s(name));
        println!("{scheme} {precision:?} {name}: {worst:.1e} of the range");
        assert!(worst <= tolerance, "{scheme} {precision:?} {name}: {worst} of the range");
    }
}

/// The package holds its rotary tables and norms in fp16, and PyTorch in fp32: so much `fp16` differs, which unpacks
/// nothing. PyTorch has weights that were scaled rounded to fp16; here they are not.
#[test]
fn all_schemes_agree_with_pytorch_without_rounding() {
    for scheme in SCHEMES {
        let scaled = ["int4_block16", "int8_channel", "lut4_g8_pcs"].contains(&scheme);
        check(scheme, Precision::F32, if scaled { 1e-3 } else { 3e-4 });
    }
}

#[test]
fn all_schemes_agree_with_pytorch_in_fp16() {
    SCHEMES.iter().for_each(|scheme| check(scheme, Precision::Exact, 5e-3));
    SCHEMES.iter().for_each(|scheme| check(scheme, Precision::Fast, 5e-3));
}
