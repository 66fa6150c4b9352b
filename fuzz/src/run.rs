//! The executor on arbitrary small programs: a valid one is refused when it is planned, or runs, and then always
//! gives the same; in fast mode too, which accepts what exact mode accepts.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{
    DataType, Function, Op, OpKind, Opcode, Program, ProgramInfo, TensorType, Type, text, validate,
};
use anelith_runtime::{Instance, Precision, Tensor, TensorData};

/// Programs with more elements than this are not run, only planned: time is not what is searched.
const MAX_ELEMENTS: u64 = 1 << 14;
/// Nor are those with more ops.
const MAX_OPS: usize = 192;

/// Runs every function of the program in `bytes`, MIL text, on small numbers.
///
/// # Panics
/// When the executor does; when a second run gives something else; when fast mode refuses what exact mode plans,
/// gives other shapes, or other numbers where it has nothing to do faster.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(program) = text::parse(text, "program") else { return };
    let Ok(info) = validate(&program) else { return };
    let Ok(weights) = WeightStore::open(Path::new("no-such-directory"), &program) else { return };
    if !is_small(&program) {
        return;
    }
    let run = |precision| run_twice(&program, &info, &weights, precision);
    let (exact, fast) = (run(Precision::Exact), run(Precision::Fast));
    assert_eq!(exact.is_some(), fast.is_some(), "one mode refuses what the other plans");
    let (Some(exact), Some(fast)) = (exact, fast) else { return };
    for (exact, fast) in exact.iter().zip(&fast) {
        assert_shapes_equal(exact, fast);
    }
    if is_plain(&program) {
        assert_eq!(run(Precision::F32), Some(fast), "fast mode gives other numbers where it fuses nothing");
    }
}

/// What two calls give, one after the other; `None` for a call that fails.
type Calls = [Option<Vec<Answer>>; 2];

/// What each function gives, the states as they are after its calls among it; `None` where the program is refused.
fn run_twice(
    program: &Program,
    info: &ProgramInfo,
    weights: &WeightStore,
    precision: Precision,
) -> Option<Vec<Calls>> {
    let names: Vec<&str> = program.functions.iter().map(|f| f.name.as_str()).collect();
    let mut instance = Instance::new(program, info, weights, &names, precision).ok()?;
    let mut calls = |name: &str| {
        instance.reset();
        [outputs(&mut instance, name), outputs(&mut instance, name)]
    };
    let check_function = |name: &&str| {
        let first = calls(name);
        assert_eq!(first, calls(name), "two runs differ ({precision:?})");
        first
    };
    Some(names.iter().map(check_function).collect())
}

fn assert_shapes_equal(exact: &Calls, fast: &Calls) {
    let shapes = |answers: &[Answer]| -> Vec<(String, Vec<usize>)> {
        answers.iter().map(|a| (a.name.clone(), a.shape.clone())).collect()
    };
    for (exact, fast) in exact.iter().zip(fast) {
        // What fails in one mode may run in the other: an index may be a number that was rounded.
        if let (Some(exact), Some(fast)) = (exact, fast) {
            assert_eq!(shapes(exact), shapes(fast));
        }
    }
}

/// Whether fast mode promises the bits of `Precision::F32`: it fuses nothing, and states hold nothing that must be
/// rounded to become fp16.
fn is_plain(program: &Program) -> bool {
    program.functions.iter().all(|function| {
        let has = |opcode| function.ops.iter().any(|op| op.kind.is(opcode));
        let fuses = [Opcode::Conv, Opcode::Linear, Opcode::Matmul, Opcode::LayerNorm, Opcode::Silu];
        let may_rotate = has(Opcode::Concat) && has(Opcode::Mul) && has(Opcode::Add);
        let only_moves = function.ops.iter().all(|op| moves_only(function, op));
        !fuses.into_iter().any(has) && !may_rotate && (only_moves || !has(Opcode::WriteState))
    })
}

/// Whether `op` makes no number that its operands do not hold, or nothing but integers of integers.
fn moves_only(function: &Function, op: &Op) -> bool {
    let is_float = |ty: &Type| matches!(ty, Type::Tensor(t) | Type::State(t) if t.dtype.is_float());
    let mut vars = op.reads().chain(op.outputs.iter().copied());
    let OpKind::Known(opcode) = op.kind else { return false };
    MOVES.contains(&opcode) || !vars.any(|var| is_float(&function.var(var).ty))
}

const MOVES: &[Opcode] = &[
    Opcode::Concat,
    Opcode::Const,
    Opcode::ExpandDims,
    Opcode::Gather,
    Opcode::GatherAlongAxis,
    Opcode::GatherNd,
    Opcode::Identity,
    Opcode::ReadState,
    Opcode::Reshape,
    Opcode::Reverse,
    Opcode::Select,
    Opcode::SliceByIndex,
    Opcode::SliceBySize,
    Opcode::SliceUpdate,
    Opcode::Split,
    Opcode::Squeeze,
    Opcode::Stack,
    Opcode::Tile,
    Opcode::Transpose,
    Opcode::WriteState,
];

fn is_small(program: &Program) -> bool {
    let elements = |ty: &Type| match ty {
        Type::Tensor(t) | Type::State(t) => t.element_count().unwrap_or(u64::MAX),
        _ => 0,
    };
    let vars = program.functions.iter().flat_map(|f| &f.vars);
    let total = vars.fold(0u64, |sum, var| sum.saturating_add(elements(&var.ty)));
    total <= MAX_ELEMENTS && program.functions.iter().map(|f| f.ops.len()).sum::<usize>() <= MAX_OPS
}

/// An output: what two runs must have in common.
#[derive(PartialEq, Debug)]
struct Answer {
    name: String,
    shape: Vec<usize>,
    bits: Vec<u32>,
}

/// What `function` answers, and the states after it; `None` where it fails.
fn outputs(instance: &mut Instance, function: &str) -> Option<Vec<Answer>> {
    let plan = instance.plan(function).ok()?;
    let inputs: Vec<(String, Tensor)> =
        plan.inputs().map(|f| Some((f.name.clone(), input(&f.ty)?))).collect::<Option<_>>()?;
    let states: Vec<String> = plan.states().map(|f| f.name.clone()).collect();
    let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let answer = |name, t: &Tensor| Answer { name, shape: t.shape().to_vec(), bits: bits(t) };
    let answers = instance.run(function, &inputs).ok()?;
    let mut answers: Vec<Answer> = answers.into_iter().map(|(name, t)| answer(name, &t)).collect();
    for name in states {
        let state = instance.state(&name).expect("a call that ends well leaves every state");
        answers.push(answer(name, &state));
    }
    Some(answers)
}

fn input(ty: &TensorType) -> Option<Tensor> {
    let shape: Vec<usize> =
        ty.fixed_shape()?.into_iter().map(|d| usize::try_from(d).ok()).collect::<Option<_>>()?;
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    let data: TensorData = match ty.dtype {
        DataType::Bool => (0..count).map(|i| i % 3 == 0).collect::<Vec<bool>>().into(),
        DataType::Fp16 | DataType::Fp32 => {
            (0..count).map(|i| (i % 7) as f32 * 0.5 - 1.0).collect::<Vec<f32>>().into()
        }
        _ => (0..count).map(|i| (i % 5) as i32).collect::<Vec<i32>>().into(),
    };
    Tensor::new(&shape, data).ok()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    match tensor.data() {
        // Which NaN comes out is not promised.
        TensorData::F32(v) => v.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect(),
        TensorData::I32(v) => v.iter().map(|x| *x as u32).collect(),
        TensorData::Bool(v) => v.iter().map(|x| u32::from(*x)).collect(),
    }
}
