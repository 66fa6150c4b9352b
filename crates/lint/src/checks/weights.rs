//! Weights: how they are palettized, and how large they are.

use anelith_mil::{Data, DataType, Op, OpKind, Opcode, TensorType, Type};

use crate::finding::Findings;
use crate::rule;
use crate::view::{View, known};

/// The largest weight that Core ML loads, in bytes.
const MAX_BLOB: u64 = 1 << 31;

/// Elements below which palettization leaves a tensor alone, as coremltools does by default.
const SMALL: u64 = 2048;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let is_lut = |op: &&Op| op.kind.name().starts_with("constexpr_lut_");
    let has_luts = view.function.ops.iter().any(|op| is_lut(&op));
    for op in &view.function.ops {
        size(view, op, findings);
        if is_lut(&op) {
            groups(view, op, findings);
        }
        scales(view, op, findings);
        if has_luts {
            dense(view, op, findings);
        }
    }
}

fn size(view: &View<'_>, op: &Op, findings: &mut Findings) {
    for (parameter, value) in op.literals() {
        let (Data::Blob(_), Type::Tensor(ty)) = (&value.data, &value.ty) else { continue };
        if ty.byte_len().is_none_or(|bytes| bytes > MAX_BLOB) {
            let found = format!("{parameter} of type {ty}");
            findings.at_op(&rule::BLOB_SIZE, view.function, op, "at most 2 GiB", found);
        }
    }
}

/// A lookup table for each group of channels: its shape divides that of the weight.
fn groups(view: &View<'_>, op: &Op, findings: &mut Findings) {
    let indices = view.tensor(op, "indices").or_else(|| view.tensor(op, "indices_mask"));
    let (Some(indices), Some(lut)) = (indices, view.tensor(op, "lut")) else { return };
    // Before iOS 18 there was one table, a vector.
    if lut.rank() < 2 || indices.rank() + 2 != lut.rank() {
        return;
    }
    let divides = |(extent, groups): (u64, u64)| groups > 0 && extent.is_multiple_of(groups);
    let pairs = indices.shape.iter().zip(&lut.shape).filter_map(|(i, l)| Some((known(i)?, known(l)?)));
    if !pairs.into_iter().all(divides) {
        let expected = "extents of the table that divide those of the indices";
        let found = format!("a table of {lut} for indices of {indices}");
        findings.at_op(&rule::LUT_GROUP, view.function, op, expected, found);
    }
}

/// Scales of a palettized weight, or of its table.
fn scales(view: &View<'_>, op: &Op, findings: &mut Findings) {
    let names = |op: &Op| -> (&'static [&'static str], &'static str) {
        match op.kind.name() {
            "constexpr_blockwise_shift_scale" => (&["data", "scale", "offset"], "constexpr_lut_"),
            "constexpr_lut_to_dense" | "constexpr_lut_to_sparse" => (&["lut"], "constexpr_"),
            _ => (&[], ""),
        }
    };
    let (parameters, prefix) = names(op);
    for parameter in parameters {
        let Some(source) = view.source(op, parameter) else { continue };
        if source.kind.name().starts_with(prefix) {
            let found = format!("{parameter} is the result of {}", source.kind.name());
            findings.at_op(&rule::LUT_SCALE, view.function, op, "one op that unpacks the weight", found);
        }
    }
}

/// A large weight of a palettized program that is not palettized itself.
fn dense(view: &View<'_>, op: &Op, findings: &mut Findings) {
    if !op.kind.is(Opcode::Const) {
        return;
    }
    let is_large = |ty: &TensorType| {
        ty.rank() >= 2 && ty.dtype == DataType::Fp16 && ty.element_count().is_some_and(|n| n > SMALL)
    };
    for (id, ty) in view.results(op).filter(|(_, ty)| is_large(ty)) {
        let is_weight = view.readers(id).iter().any(|(reader, parameter)| match &reader.kind {
            OpKind::Known(Opcode::Conv | Opcode::Linear) => *parameter == "weight",
            OpKind::Known(Opcode::Matmul) => true,
            OpKind::Known(Opcode::Gather) => *parameter == "x" && ty.rank() == 2,
            _ => false,
        });
        if is_weight {
            let found = format!("{ty} as it is");
            findings.at_op(&rule::UNPALETTIZED, view.function, op, "a palettized weight", found);
        }
    }
}
