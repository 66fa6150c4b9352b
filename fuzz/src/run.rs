//! The executor on arbitrary small programs: a valid one is refused when it is planned, or runs, and then always
//! gives the same.

use std::path::Path;

use anelith_mil::blob::WeightStore;
use anelith_mil::{DataType, Program, TensorType, Type, text, validate};
use anelith_runtime::{Instance, Precision, Tensor, TensorData};

/// Programs with more elements than this are not run, only planned: time is not what is searched.
const MAX_ELEMENTS: u64 = 1 << 14;
/// Nor are those with more ops.
const MAX_OPS: usize = 64;

/// Runs every function of the program in `bytes`, MIL text, on small numbers.
///
/// # Panics
/// When the executor does, or when a second run gives something else.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(program) = text::parse(text, "program") else { return };
    let Ok(info) = validate(&program) else { return };
    let Ok(weights) = WeightStore::open(Path::new("no-such-directory"), &program) else { return };
    if !is_small(&program) {
        return;
    }
    let names: Vec<&str> = program.functions.iter().map(|f| f.name.as_str()).collect();
    let Ok(mut instance) = Instance::new(&program, &info, &weights, &names, Precision::Exact) else { return };
    for name in names {
        let first = outputs(&mut instance, name);
        instance.reset();
        assert_eq!(first, outputs(&mut instance, name));
    }
}

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

/// What `function` answers; `None` where it fails.
fn outputs(instance: &mut Instance, function: &str) -> Option<Vec<Answer>> {
    let plan = instance.plan(function).ok()?;
    let inputs: Vec<(String, Tensor)> =
        plan.inputs().map(|f| Some((f.name.clone(), input(&f.ty)?))).collect::<Option<_>>()?;
    let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let answers = instance.run(function, &inputs).ok()?;
    let answer = |(name, t): (String, Tensor)| Answer { name, shape: t.shape().to_vec(), bits: bits(&t) };
    Some(answers.into_iter().map(answer).collect())
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
