//! The words for numeric precision in `metadata.json`.

use std::collections::BTreeSet;

use crate::dtype::DataType;
use crate::program::{Function, Op};
use crate::value::{Data, Value};

/// `Float16`, `UInt4` and so on; `None` for bool and string.
fn name_of(dtype: DataType) -> Option<String> {
    let word = match dtype {
        DataType::Bool | DataType::String => return None,
        d if d.is_float() => "Float",
        d if d.name().starts_with('u') => "UInt",
        _ => "Int",
    };
    Some(format!("{word}{}", dtype.bits()))
}

/// The precision that the function computes in: the types of all that its ops yield.
///
/// Elements of less than a byte are left out: only compressed weights have them, and nothing computes in them.
pub(super) fn compute(function: &Function) -> Option<String> {
    let outputs = function.ops.iter().flat_map(|op| &op.outputs);
    let types = outputs.filter_map(|id| function.vars.get(id.0 as usize)?.ty.as_tensor());
    mixed(types.filter(|t| t.dtype.bits() >= 8).filter_map(|t| name_of(t.dtype)).collect())
}

/// The precision that the function's weights are stored in; `None` when none are in weight files.
pub(super) fn storage(function: &Function) -> Option<String> {
    mixed(function.ops.iter().flat_map(stored).collect())
}

/// One name stands alone, several are listed.
fn mixed(names: BTreeSet<String>) -> Option<String> {
    match names.len() {
        0 | 1 => names.into_iter().next(),
        _ => Some(format!("Mixed ({})", names.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

/// How the op stores the weights it brings.
///
/// A compressed weight counts as what its elements are; tables, scales and masks do not count, as far as real
/// files tell. Those files are of iOS 16: that the newer compressions are spelled alike is an assumption.
fn stored(op: &Op) -> Vec<String> {
    let blobs: Vec<(&str, &Value)> = op.literals().filter(|(_, v)| matches!(v.data, Data::Blob(_))).collect();
    if blobs.is_empty() {
        return Vec::new();
    }
    let counts = |parameter: &str| match op.kind.name() {
        "constexpr_affine_dequantize" => parameter == "quantized_data",
        "constexpr_blockwise_shift_scale" => parameter == "data",
        _ => true,
    };
    match op.kind.name() {
        "constexpr_lut_to_dense" | "constexpr_lut_to_sparse" => palettized(op).into_iter().collect(),
        "constexpr_sparse_to_dense" | "constexpr_sparse_blockwise_shift_scale" => vec!["Sparse".to_owned()],
        _ => blobs.iter().filter(|(n, _)| counts(n)).filter_map(|(_, v)| name_of(v.dtype()?)).collect(),
    }
}

/// The width of an index into the op's table: since iOS 18 that of the index type, before by the table's size.
fn palettized(op: &Op) -> Option<String> {
    let tensor = |name: &str| op.literals().find(|(n, _)| *n == name).and_then(|(_, v)| v.ty.as_tensor());
    let bits = if op.inputs.is_empty() {
        tensor("lut")?.element_count()?.checked_ilog2()?
    } else {
        ["indices", "indices_nonzero_data"].into_iter().find_map(tensor)?.dtype.bits()
    };
    Some(format!("Palettized ({bits} bits)"))
}
