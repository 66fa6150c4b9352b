//! Ranks, element types and extents.

use anelith_mil::{DataType, Model, Op, Opcode, Operand, TensorType, Type, Var};

use crate::finding::Findings;
use crate::rule;
use crate::view::{View, known};

/// The largest rank that Core ML takes.
const MAX_RANK: usize = 5;

/// The largest extent that the Neural Engine takes.
const MAX_EXTENT: u64 = 65_536;

/// The largest extent that it takes by all accounts.
const SAFE_EXTENT: u64 = 16_384;

/// Elements of fp16 that fill the 64 bytes to which the last axis is rounded up.
const FULL_AXIS: u64 = 32;

/// Elements of int32 that are no tensor of numbers but begin, end or shape of one.
const INDICES: u64 = 16;

pub(super) fn check(view: &View<'_>, model: &Model, findings: &mut Findings) {
    let interface = model.description.interface(&view.function.name);
    for var in view.inputs() {
        let (Type::Tensor(ty) | Type::State(ty)) = &var.ty else { continue };
        let feature = interface.and_then(|i| i.inputs.iter().find(|f| f.name == var.name));
        let is_flexible = feature.is_some_and(|f| f.flexibility.is_some());
        input(view, var, ty, is_flexible, findings);
    }
    for op in &view.function.ops {
        if op.kind.is_constant() {
            constant(view, op, findings);
        } else {
            computed(view, op, findings);
        }
    }
}

fn input(view: &View<'_>, var: &Var, ty: &TensorType, is_flexible: bool, findings: &mut Findings) {
    let kind = if matches!(var.ty, Type::State(_)) { "state" } else { "input" };
    let mut add = |rule, expected: &str| {
        let at = format!("{kind} `{}`", var.name);
        findings.in_function(rule, view.function, at, expected, ty.to_string());
    };
    if ty.rank() > MAX_RANK {
        add(&rule::RANK, "at most 5 dimensions");
    }
    if is_wide_float(ty.dtype) {
        add(&rule::FP32, "fp16");
    }
    if is_foreign(ty.dtype) {
        add(&rule::DTYPE, "fp16, int32 or less");
    }
    if is_flexible || ty.fixed_shape().is_none() {
        add(&rule::STATIC_SHAPE, "fixed extents");
    }
    extents(ty, |rule, expected, _| add(rule, expected));
}

fn computed(view: &View<'_>, op: &Op, findings: &mut Findings) {
    let mut add = |rule, expected: &str, ty: &TensorType| {
        findings.at_op(rule, view.function, op, expected, ty.to_string());
    };
    for (_, ty) in view.results(op) {
        let is_large = ty.element_count().is_some_and(|count| count > INDICES);
        if ty.rank() > MAX_RANK {
            add(&rule::RANK, "at most 5 dimensions", ty);
        }
        if is_wide_float(ty.dtype) {
            add(&rule::FP32, "fp16", ty);
        }
        if is_foreign(ty.dtype) {
            add(&rule::DTYPE, "fp16, int32 or less", ty);
        }
        if ty.dtype == DataType::Int32 && is_large {
            add(&rule::INT32, "int16 or uint16", ty);
        }
        let last = ty.shape.last().and_then(known).filter(|_| ty.rank() > 1);
        if ty.dtype == DataType::Fp16 && is_large && last.is_some_and(|extent| extent < FULL_AXIS) {
            add(&rule::LAST_AXIS, "a last axis of 32 or more", ty);
        }
        extents(ty, &mut add);
    }
    for (parameter, operand) in op.operands() {
        if let Operand::Value(value) = operand
            && value.dtype().is_some_and(is_wide_float)
        {
            let found = format!("{parameter} = {}", value.ty);
            findings.at_op(&rule::FP32, view.function, op, "literals of fp16", found);
        }
    }
}

fn constant(view: &View<'_>, op: &Op, findings: &mut Findings) {
    for (id, ty) in view.results(op) {
        let readers = view.readers(id);
        // What an op unpacks it to counts, not what it is packed as.
        if readers.is_empty() || readers.iter().all(|(reader, _)| reader.kind.is_constant()) {
            continue;
        }
        let mut add = |rule, expected: &str, ty: &TensorType| {
            findings.at_op(rule, view.function, op, expected, ty.to_string());
        };
        if is_wide_float(ty.dtype) {
            add(&rule::FP32, "literals of fp16", ty);
        }
        if ty.rank() > MAX_RANK {
            add(&rule::RANK, "at most 5 dimensions", ty);
        }
        let gathers = [Opcode::Gather, Opcode::GatherAlongAxis, Opcode::GatherNd];
        let is_table = |reader: &Op, parameter: &str| {
            parameter == "x" && gathers.iter().any(|opcode| reader.kind.is(*opcode))
        };
        if !readers.iter().all(|(reader, parameter)| is_table(reader, parameter)) {
            extents(ty, add);
        }
    }
}

fn extents(ty: &TensorType, mut add: impl FnMut(&'static rule::Rule, &str, &TensorType)) {
    let extent = largest(ty);
    if extent > MAX_EXTENT {
        add(&rule::DIMENSION, "extents up to 65536", ty);
    } else if extent > SAFE_EXTENT {
        add(&rule::WIDE, "extents up to 16384", ty);
    }
}

fn largest(ty: &TensorType) -> u64 {
    ty.shape.iter().filter_map(known).max().unwrap_or(0)
}

fn is_wide_float(dtype: DataType) -> bool {
    dtype.is_float() && dtype != DataType::Fp16
}

/// Integer types that no op of Core ML computes with.
fn is_foreign(dtype: DataType) -> bool {
    matches!(dtype, DataType::Int64 | DataType::UInt64 | DataType::UInt32)
}
