//! `model.safetensors`: every tensor that is accepted has the shape, the place and the values of the format.

use std::path::Path;

use anelith_checkpoint::{Dtype, TensorRef, Tensors};
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::scratch;

/// Reads `bytes` as the only weights of a model directory.
///
/// # Panics
/// When a file is accepted that the format's own library refuses, or a tensor reads as something else.
pub fn check(bytes: &[u8]) {
    scratch::write("model.safetensors", bytes);
    check_dir(scratch::dir(), bytes);
}

/// Checks the tensors of `dir`, whose weights are `bytes`.
pub(crate) fn check_dir(dir: &Path, bytes: &[u8]) {
    let Ok(tensors) = Tensors::open(dir) else { return };
    let reference = SafeTensors::deserialize(bytes).expect("what is accepted is well formed");
    assert_eq!(tensors.names().count(), reference.len());
    for (name, view) in reference.tensors() {
        assert!(tensors.get(&name, &[1, 2, 3, 4, 5, 6, 7]).is_err() || view.shape().len() == 7);
        let Ok(tensor) = tensors.get(&name, view.shape()) else { continue };
        assert_eq!(tensor.shape(), view.shape());
        assert_eq!(Some(tensor.element_count()), count(view.shape()));
        assert!(tensor.element_count() * tensor.dtype().size() <= bytes.len());
        check_values(&tensor, &view);
    }
}

fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

fn check_values(tensor: &TensorRef, view: &TensorView<'_>) {
    let expected = values(tensor.dtype(), view.data());
    let all = 0..tensor.element_count();
    let mut wide = Vec::new();
    tensor.read_f32(all.clone(), &mut wide).expect("the data are in the file");
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&wide), bits(&expected));
    let mut half = Vec::new();
    let rounded: Vec<f16> = expected.iter().map(|v| f16::from_f32(*v)).collect();
    match tensor.read_f16(all.clone(), &mut half) {
        Ok(()) => assert_eq!(half, rounded),
        Err(_) => assert!(rounded.iter().any(|v| !v.is_finite())),
    }
    let (middle, end) = (all.end / 2, all.end);
    tensor.read_f32(middle..end, &mut wide).expect("a part of the data");
    assert_eq!(bits(&wide), bits(&expected[middle..]));
    assert!(tensor.read_f32(end..end + 1, &mut wide).is_err());
}

fn values(dtype: Dtype, data: &[u8]) -> Vec<f32> {
    let halves = data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match dtype {
        Dtype::F16 => halves.map(|b| f16::from_bits(b).to_f32()).collect(),
        Dtype::Bf16 => halves.map(|b| bf16::from_bits(b).to_f32()).collect(),
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
    }
}
