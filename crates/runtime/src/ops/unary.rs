//! Functions of one operand, element by element.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::sync::Arc;

use anelith_mil::Opcode;

use super::arguments::Arguments;
use super::{Function, Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData};

/// A function of one floating-point number, with its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OfOne {
    Plain(Unary),
    WithEpsilon(WithEpsilon),
    Clip(Clip),
    Number(Number),
}

/// A function of floating-point numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unary {
    /// The smallest integer that is not below `x`.
    Ceil,
    /// The cosine of `x` in radians.
    Cos,
    /// The error function.
    Erf,
    /// `e^x`.
    Exp,
    /// The largest integer that is not above `x`.
    Floor,
    /// `x` times the normal distribution of `x`.
    Gelu(Gelu),
    /// `x`, or 0 where it is negative.
    Relu,
    /// The integer next to `x`, the even one of two.
    Round,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x / (1 + e^-x)`.
    Silu,
    /// The sine of `x` in radians.
    Sin,
    /// The square root; NaN of a negative number.
    Sqrt,
    /// The hyperbolic tangent.
    Tanh,
}

/// How `gelu` takes the normal distribution.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gelu {
    /// By the error function.
    Exact,
    /// By a hyperbolic tangent.
    Tanh,
    /// By a sigmoid.
    Sigmoid,
}

/// A function of floating-point numbers to which a small number is added first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shifted {
    /// `1 / (x + epsilon)`.
    Inverse,
    /// The natural logarithm of `x + epsilon`.
    Log,
    /// `1 / √(x + epsilon)`.
    Rsqrt,
}

/// A function of numbers of any type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// `x` without its sign.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// `x · x`.
    Square,
}

/// A [`Shifted`] with what is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithEpsilon {
    function: Shifted,
    epsilon: f32,
}

/// The nearest number to `x` of those from `least` to `most`; both are numbers, and in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clip {
    least: f32,
    most: f32,
}

/// `logical_not`: true where the operand is false.
#[derive(Debug)]
struct Not;

impl OfOne {
    /// Replaces each number by the function of it.
    pub(super) fn apply(self, v: &mut [f32]) {
        match self {
            OfOne::Plain(function) => function.apply(v),
            OfOne::WithEpsilon(function) => function.apply(v),
            OfOne::Clip(function) => function.apply(v),
            OfOne::Number(function) => function.apply(v),
        }
    }

    /// About how many sums take as long as the function.
    pub(super) fn cost(self) -> usize {
        match self {
            OfOne::Plain(Unary::Ceil | Unary::Floor | Unary::Relu | Unary::Round | Unary::Sqrt) => 1,
            OfOne::Plain(_) => 16,
            OfOne::WithEpsilon(WithEpsilon { function: Shifted::Log, .. }) => 16,
            OfOne::WithEpsilon(_) | OfOne::Clip(_) | OfOne::Number(_) => 1,
        }
    }
}

/// `function` of each element, in place where nobody else holds them.
fn in_place(x: Arc<Tensor>, function: OfOne) -> Result<Vec<Tensor>, String> {
    let mut x = Arc::unwrap_or_clone(x);
    match x.data_mut() {
        TensorData::F32(v) => function.apply(v),
        other => return Err(format!("a tensor holds {}, expected floating-point numbers", other.class())),
    }
    Ok(vec![x])
}

fn map(v: &mut [f32], f: impl Fn(f32) -> f32) {
    v.iter_mut().for_each(|v| *v = f(*v));
}

/// Plans a function of floating-point numbers.
pub(super) fn unary(args: &Arguments<'_>, op: Unary) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    Ok(Box::new(op))
}

/// Plans `gelu`.
pub(super) fn gelu(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let mode = match args.text("mode")?.unwrap_or("EXACT") {
        "EXACT" => Gelu::Exact,
        "TANH_APPROXIMATION" => Gelu::Tanh,
        "SIGMOID_APPROXIMATION" => Gelu::Sigmoid,
        other => {
            return Err(Problem::Unsupported(format!(
                "`mode` is \"{other}\", expected \"EXACT\", \"TANH_APPROXIMATION\" or \"SIGMOID_APPROXIMATION\""
            )));
        }
    };
    unary(args, Unary::Gelu(mode))
}

impl Operation for Unary {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        in_place(x, OfOne::Plain(*self))
    }

    fn function(&self) -> Option<Function> {
        Some(Function::One(OfOne::Plain(*self)))
    }
}

impl Unary {
    fn apply(self, v: &mut [f32]) {
        match self {
            Unary::Ceil => map(v, f32::ceil),
            Unary::Cos => map(v, f32::cos),
            Unary::Erf => map(v, |v| narrow(erf(f64::from(v)))),
            Unary::Exp => map(v, f32::exp),
            Unary::Floor => map(v, f32::floor),
            Unary::Gelu(Gelu::Exact) => map(v, |v| gelu_of(v, |v| 0.5 + 0.5 * erf(v * FRAC_1_SQRT_2))),
            Unary::Gelu(Gelu::Tanh) => map(v, |v| gelu_of(v, tanh_distribution)),
            Unary::Gelu(Gelu::Sigmoid) => map(v, |v| gelu_of(v, |v| 1.0 / (1.0 + (-1.702 * v).exp()))),
            Unary::Relu => map(v, |v| if v < 0.0 { 0.0 } else { v }),
            Unary::Round => map(v, f32::round_ties_even),
            Unary::Sigmoid => map(v, sigmoid),
            Unary::Silu => map(v, |v| v / (1.0 + (-v).exp())),
            Unary::Sin => map(v, f32::sin),
            Unary::Sqrt => map(v, f32::sqrt),
            Unary::Tanh => map(v, f32::tanh),
        }
    }
}

/// `1 / (1 + e^-x)`.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[allow(clippy::cast_possible_truncation, reason = "the one rounding of a function taken in f64")]
fn narrow(x: f64) -> f32 {
    x as f32
}

/// `x` times `distribution(x)`, which is taken in `f64` since it is a difference for negative `x`.
fn gelu_of(x: f32, distribution: impl Fn(f64) -> f64) -> f32 {
    let x = f64::from(x);
    narrow(x * distribution(x))
}

fn tanh_distribution(x: f64) -> f64 {
    0.5 * (1.0 + (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044_715 * x.powi(3))).tanh())
}

/// The error function by its series of positive terms, `2/√π e^-x² Σ (2^n x^(2n+1)) / (1 · 3 · … · (2n+1))`.
fn erf(x: f64) -> f64 {
    // From here on the result is 1 in f64, and the series would be long.
    const SATURATED: f64 = 6.0;
    if x.is_nan() {
        return x;
    }
    if x.abs() >= SATURATED {
        return x.signum();
    }
    let square = x * x;
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > f64::EPSILON * sum.abs() {
        odd += 2.0;
        term *= 2.0 * square / odd;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-square).exp() * sum
}

/// Plans `inverse`, `log` and `rsqrt`.
pub(super) fn shifted(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    let (function, default) = match args.opcode {
        Opcode::Inverse => (Shifted::Inverse, 1e-4),
        Opcode::Log => (Shifted::Log, 1e-45),
        _ => (Shifted::Rsqrt, 1e-12),
    };
    Ok(Box::new(WithEpsilon { function, epsilon: args.f32("epsilon")?.unwrap_or(default) }))
}

impl Operation for WithEpsilon {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        in_place(x, OfOne::WithEpsilon(*self))
    }

    fn function(&self) -> Option<Function> {
        Some(Function::One(OfOne::WithEpsilon(*self)))
    }
}

impl WithEpsilon {
    fn apply(self, v: &mut [f32]) {
        let epsilon = self.epsilon;
        match self.function {
            Shifted::Inverse => map(v, |v| 1.0 / (v + epsilon)),
            Shifted::Log => map(v, |v| (v + epsilon).ln()),
            Shifted::Rsqrt => map(v, |v| 1.0 / (v + epsilon).sqrt()),
        }
    }
}

/// Plans `clip`.
pub(super) fn clip(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x"])?;
    let bound = |name: &str| -> Result<f32, Problem> {
        let missing = || Problem::Malformed(format!("parameter `{name}` is missing"));
        args.f32(name)?.ok_or_else(missing)
    };
    let (least, most) = (bound("alpha")?, bound("beta")?);
    if least <= most {
        return Ok(Box::new(Clip { least, most }));
    }
    Err(Problem::Malformed(format!("`alpha` is {least} and `beta` is {most}, expected `alpha` <= `beta`")))
}

impl Operation for Clip {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        in_place(x, OfOne::Clip(*self))
    }

    fn function(&self) -> Option<Function> {
        Some(Function::One(OfOne::Clip(*self)))
    }
}

impl Clip {
    fn apply(self, v: &mut [f32]) {
        // Both bounds are numbers and in order, without which `clamp` panics. NaN stays NaN.
        map(v, |v| v.clamp(self.least, self.most));
    }
}

/// Plans `abs`, `sign` and `square`.
pub(super) fn number(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_numbers(&["x"])?;
    Ok(Box::new(match args.opcode {
        Opcode::Abs => Number::Abs,
        Opcode::Sign => Number::Sign,
        _ => Number::Square,
    }))
}

impl Operation for Number {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        if matches!(x.data(), TensorData::F32(_)) {
            return in_place(x, OfOne::Number(*self));
        }
        let f = match self {
            Number::Abs => i32::wrapping_abs,
            Number::Sign => i32::signum,
            Number::Square => |v: i32| v.wrapping_mul(v),
        };
        let data: Vec<i32> = x.i32s()?.iter().map(|v| f(*v)).collect();
        Ok(vec![Tensor::made(x.shape().to_vec(), data)?])
    }

    fn function(&self) -> Option<Function> {
        Some(Function::One(OfOne::Number(*self)))
    }
}

impl Number {
    fn apply(self, v: &mut [f32]) {
        match self {
            Number::Abs => map(v, f32::abs),
            Number::Sign => map(v, |v| if v == 0.0 || v.is_nan() { v } else { v.signum() }),
            Number::Square => map(v, |v| v * v),
        }
    }
}

/// Plans `logical_not`.
pub(super) fn not(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_bools(&["x"])?;
    Ok(Box::new(Not))
}

impl Operation for Not {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x] = operands(inputs)?;
        let data: Vec<bool> = x.bools()?.iter().map(|v| !v).collect();
        Ok(vec![Tensor::made(x.shape().to_vec(), data)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: &dyn Operation, v: &[f32]) -> Vec<f32> {
        let x = Arc::new(Tensor::new(&[v.len()], v.to_vec()).unwrap());
        op.run(vec![x]).unwrap()[0].as_f32s().unwrap().to_vec()
    }

    #[test]
    fn silu_and_exp_at_the_ends() {
        let x = [0.0, f32::NEG_INFINITY, 1.0];
        assert_eq!(run(&Unary::Exp, &x), [1.0, 0.0, std::f32::consts::E]);
        let silu = run(&Unary::Silu, &x);
        assert!((silu[2] - 0.731_058_6).abs() < 1e-6 && silu[1].is_nan());
        assert_eq!(run(&Unary::Sigmoid, &[f32::NEG_INFINITY, 0.0, f32::INFINITY]), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn erf_agrees_with_published_values() {
        // Abramowitz and Stegun, table 7.1, and the ends.
        let table = [(0.0, 0.0), (0.1, 0.112_462_916), (0.5, 0.520_499_878), (1.0, 0.842_700_793)];
        let table = [table, [(2.0, 0.995_322_265), (3.5, 0.999_999_257), (6.5, 1.0), (5.9, 1.0)]].concat();
        for (x, expected) in table {
            assert!((erf(x) - expected).abs() < 1e-9, "erf({x}) = {}", erf(x));
            assert!((erf(-x) + expected).abs() < 1e-9, "erf(-{x})");
        }
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn rounding_goes_to_the_even_neighbour() {
        assert_eq!(run(&Unary::Round, &[0.5, 1.5, 2.5, -0.5, -1.5, 2.4]), [0.0, 2.0, 2.0, 0.0, -2.0, 2.0]);
    }

    #[test]
    fn nan_stays_and_bounds_hold() {
        let clip = Clip { least: -1.0, most: 2.0 };
        assert_eq!(run(&clip, &[-5.0, 0.5, f32::INFINITY]), [-1.0, 0.5, 2.0]);
        for op in [&clip as &dyn Operation, &Unary::Relu, &Number::Sign, &Number::Abs] {
            assert!(run(op, &[f32::NAN])[0].is_nan(), "{op:?}");
        }
    }
}
