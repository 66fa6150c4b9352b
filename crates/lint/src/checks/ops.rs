//! Ops that leave the Neural Engine, or lose numbers there.

use anelith_mil::{DataType, Op, OpKind, Opcode, Value};

use crate::finding::Findings;
use crate::rule;
use crate::view::{View, known};

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for op in view.computing() {
        match &op.kind {
            OpKind::Foreign(name) if name == "scaled_dot_product_attention" => {
                findings.at_op(&rule::SDPA, view.function, op, "matmul, softmax and matmul", name.as_str());
            }
            OpKind::Foreign(name) if name == "reduce_sum_square" || name == "reduce_l2_norm" => {
                squares(view, op, findings);
            }
            OpKind::Known(Opcode::Linear) => linear(view, op, findings),
            OpKind::Known(Opcode::Matmul) if ["x", "y"].iter().any(|p| is_weight(view, op, p)) => {
                linear(view, op, findings);
            }
            OpKind::Known(Opcode::ReduceMean | Opcode::ReduceSum) if is_square(view, op) => {
                squares(view, op, findings);
            }
            OpKind::Known(Opcode::Gather | Opcode::GatherAlongAxis) => gather(view, op, findings),
            _ => {}
        }
    }
}

fn is_weight(view: &View<'_>, op: &Op, parameter: &str) -> bool {
    view.source(op, parameter).is_some_and(|source| source.kind.is_constant())
        || view.literal(op, parameter).is_some()
}

fn linear(view: &View<'_>, op: &Op, findings: &mut Findings) {
    let expected = "a conv of 1 x 1";
    findings.at_op(&rule::LINEAR, view.function, op, expected, format!("{} of a weight", op.kind.name()));
}

/// Whether what is reduced is a product of something with itself.
fn is_square(view: &View<'_>, op: &Op) -> bool {
    let Some(source) = view.source(op, "x") else { return false };
    match &source.kind {
        OpKind::Known(Opcode::Square) => true,
        OpKind::Known(Opcode::Mul) => {
            let factor = view.read(source, "x");
            factor.is_some() && factor == view.read(source, "y")
        }
        OpKind::Known(Opcode::Pow) => {
            let exponent = view.literal(source, "y").and_then(Value::as_f32s);
            exponent.is_some_and(|exponent| exponent == [2.0])
        }
        _ => false,
    }
}

fn squares(view: &View<'_>, op: &Op, findings: &mut Findings) {
    let is_fp16 = view.tensor(op, "x").is_some_and(|ty| ty.dtype == DataType::Fp16);
    if is_fp16 {
        let found = format!("{} of squares in fp16", op.kind.name());
        findings.at_op(&rule::SQUARES, view.function, op, "a norm that scales first, e.g. layer_norm", found);
    }
}

/// Indices whose type cannot name all rows of the table.
fn gather(view: &View<'_>, op: &Op, findings: &mut Findings) {
    let (Some(table), Some(indices)) = (view.tensor(op, "x"), view.tensor(op, "indices")) else { return };
    let rows: u64 = match indices.dtype {
        DataType::Int8 => 1 << 7,
        DataType::UInt8 => 1 << 8,
        DataType::Int16 => 1 << 15,
        DataType::UInt16 => 1 << 16,
        _ => return,
    };
    let axis = match op.inputs.contains_key("axis") {
        true => view.literal(op, "axis").and_then(Value::as_i32),
        false => Some(0),
    };
    let Some(axis) = axis.and_then(|axis| place(axis, table.rank())) else { return };
    if let Some(extent) = table.shape.get(axis).and_then(known)
        && extent > rows
    {
        let expected = format!("indices of a type that reaches to {}", extent - 1);
        let found = format!("{}, which reaches to {}", indices.dtype, rows - 1);
        findings.at_op(&rule::GATHER_INDEX, view.function, op, expected, found);
    }
}

/// The place of an axis that may be counted from the end.
fn place(axis: i32, rank: usize) -> Option<usize> {
    let place = if axis < 0 { i64::from(axis) + rank as i64 } else { i64::from(axis) };
    usize::try_from(place).ok()
}
