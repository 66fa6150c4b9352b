//! Arithmetic, comparisons and logic on two operands that broadcast.

use std::sync::Arc;

use anelith_mil::Opcode;

use super::arguments::Arguments;
use super::elementwise::{broadcast, result_shape, zip};
use super::{Function, Operation, Problem, operands};
use crate::tensor::{Tensor, TensorData};

/// An arithmetic op.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Binary {
    /// `x + y`.
    Add,
    /// The largest integer that is not above `x / y`.
    FloorDiv,
    /// The larger of the two; NaN if one is.
    Maximum,
    /// The smaller of the two; NaN if one is.
    Minimum,
    /// What `FloorDiv` leaves of `x`: it has the sign of `y`.
    Mod,
    /// `x · y`.
    Mul,
    /// `x` to the power `y`.
    Pow,
    /// `x / y`, of floating-point numbers only.
    RealDiv,
    /// `x - y`.
    Sub,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each variant is the MIL op of the same name")]
enum Comparison {
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    NotEqual,
}

/// An op on two booleans.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each variant is the MIL op of the same name")]
enum Logical {
    And,
    Or,
    Xor,
}

/// Plans an arithmetic op.
pub(super) fn binary(args: &Arguments<'_>, op: Binary) -> Result<Box<dyn Operation>, Problem> {
    match op {
        Binary::RealDiv => args.expect_floats(&["x", "y"])?,
        _ => args.expect_numbers(&["x", "y"])?,
    }
    Ok(Box::new(op))
}

impl Operation for Binary {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, y] = operands(inputs)?;
        let shape = result_shape(&x, &y)?;
        let data: TensorData = match (x.data(), y.data()) {
            (TensorData::F32(a), TensorData::F32(b)) => {
                self.floats((a, x.shape()), (b, y.shape()), &shape).into()
            }
            _ => self.integers((x.i32s()?, x.shape()), (y.i32s()?, y.shape()), &shape)?.into(),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }

    fn function(&self) -> Option<Function> {
        Some(Function::Two(*self))
    }
}

impl Binary {
    fn floats(self, x: (&[f32], &[usize]), y: (&[f32], &[usize]), shape: &[usize]) -> Vec<f32> {
        let (x, y) = (broadcast(x.0, x.1, shape), broadcast(y.0, y.1, shape));
        let mut out = vec![0.0; x.len()];
        self.apply(&x, &y, &mut out);
        out
    }

    /// Writes the function of each element of `x` and `y`, which are as long as `out`.
    pub(super) fn apply(self, x: &[f32], y: &[f32], out: &mut [f32]) {
        match self {
            Binary::Add => each(x, y, out, |a, b| a + b),
            Binary::FloorDiv => each(x, y, out, floor_div),
            Binary::Maximum => each(x, y, out, |a, b| if a >= b || a.is_nan() { a } else { b }),
            Binary::Minimum => each(x, y, out, |a, b| if a <= b || a.is_nan() { a } else { b }),
            Binary::Mod => each(x, y, out, modulo),
            Binary::Mul => each(x, y, out, |a, b| a * b),
            Binary::Pow => each(x, y, out, f32::powf),
            Binary::RealDiv => each(x, y, out, |a, b| a / b),
            Binary::Sub => each(x, y, out, |a, b| a - b),
        }
    }

    /// About how many sums of floating-point numbers take as long.
    pub(super) fn cost(self) -> usize {
        match self {
            Binary::FloorDiv | Binary::Mod | Binary::Pow => 16,
            _ => 1,
        }
    }

    fn integers(
        self,
        x: (&[i32], &[usize]),
        y: (&[i32], &[usize]),
        shape: &[usize],
    ) -> Result<Vec<i32>, String> {
        match self {
            Binary::FloorDiv | Binary::Mod if y.0.contains(&0) && !shape.contains(&0) => {
                return Err("an integer is divided by 0".to_owned());
            }
            Binary::Pow if y.0.iter().any(|y| *y < 0) => {
                return Err("an integer is raised to a negative power".to_owned());
            }
            Binary::RealDiv => return Err("cannot divide integers".to_owned()),
            _ => {}
        }
        Ok(match self {
            Binary::Add => zip(x, y, shape, i32::wrapping_add),
            Binary::FloorDiv => zip(x, y, shape, |a, b| floor_divided(a, b).0),
            Binary::Maximum => zip(x, y, shape, i32::max),
            Binary::Minimum => zip(x, y, shape, i32::min),
            Binary::Mod => zip(x, y, shape, |a, b| floor_divided(a, b).1),
            Binary::Mul => zip(x, y, shape, i32::wrapping_mul),
            Binary::Pow => zip(x, y, shape, |a, b| a.wrapping_pow(b.unsigned_abs())),
            Binary::RealDiv | Binary::Sub => zip(x, y, shape, i32::wrapping_sub),
        })
    }
}

fn each(x: &[f32], y: &[f32], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = f(*x, *y);
    }
}

/// The quotient is taken in `f64`, which tells those just below an integer from the integer.
#[allow(clippy::cast_possible_truncation, reason = "the result is rounded to f32 once")]
fn floor_div(x: f32, y: f32) -> f32 {
    (f64::from(x) / f64::from(y)).floor() as f32
}

fn modulo(x: f32, y: f32) -> f32 {
    let rest = x % y;
    if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest }
}

/// The quotient rounded down, and the rest; `y` is not 0.
fn floor_divided(x: i32, y: i32) -> (i32, i32) {
    let (quotient, rest) = (x.wrapping_div(y), x.wrapping_rem(y));
    if rest != 0 && (rest < 0) != (y < 0) { (quotient.wrapping_sub(1), rest + y) } else { (quotient, rest) }
}

/// Plans a comparison; booleans are equal or not, but none is greater.
pub(super) fn comparison(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    let op = match args.opcode {
        Opcode::Equal => Comparison::Equal,
        Opcode::Greater => Comparison::Greater,
        Opcode::GreaterEqual => Comparison::GreaterEqual,
        Opcode::Less => Comparison::Less,
        Opcode::LessEqual => Comparison::LessEqual,
        _ => Comparison::NotEqual,
    };
    if !matches!(op, Comparison::Equal | Comparison::NotEqual) {
        args.expect_numbers(&["x", "y"])?;
    }
    Ok(Box::new(op))
}

impl Comparison {
    /// With NaN, every comparison but `NotEqual` is false.
    fn of<T: PartialOrd>(self) -> fn(T, T) -> bool {
        match self {
            Comparison::Equal => |a, b| a == b,
            Comparison::Greater => |a, b| a > b,
            Comparison::GreaterEqual => |a, b| a >= b,
            Comparison::Less => |a, b| a < b,
            Comparison::LessEqual => |a, b| a <= b,
            Comparison::NotEqual => |a, b| a != b,
        }
    }
}

impl Operation for Comparison {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, y] = operands(inputs)?;
        let shape = result_shape(&x, &y)?;
        let data = match (x.data(), y.data()) {
            (TensorData::F32(a), TensorData::F32(b)) => {
                zip((a, x.shape()), (b, y.shape()), &shape, self.of::<f32>())
            }
            (TensorData::Bool(a), TensorData::Bool(b)) => {
                zip((a, x.shape()), (b, y.shape()), &shape, self.of::<bool>())
            }
            _ => zip((x.i32s()?, x.shape()), (y.i32s()?, y.shape()), &shape, self.of::<i32>()),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
}

/// Plans an op on two booleans.
pub(super) fn logical(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_bools(&["x", "y"])?;
    Ok(Box::new(match args.opcode {
        Opcode::LogicalAnd => Logical::And,
        Opcode::LogicalOr => Logical::Or,
        _ => Logical::Xor,
    }))
}

impl Operation for Logical {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, y] = operands(inputs)?;
        let shape = result_shape(&x, &y)?;
        let (a, b) = ((x.bools()?, x.shape()), (y.bools()?, y.shape()));
        let data = match self {
            Logical::And => zip(a, b, &shape, |a, b| a & b),
            Logical::Or => zip(a, b, &shape, |a, b| a | b),
            Logical::Xor => zip(a, b, &shape, |a, b| a ^ b),
        };
        Ok(vec![Tensor::made(shape, data)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], v: &[f32]) -> Arc<Tensor> {
        Arc::new(Tensor::new(shape, v.to_vec()).unwrap())
    }

    fn integers(shape: &[usize], v: &[i32]) -> Arc<Tensor> {
        Arc::new(Tensor::new(shape, v.to_vec()).unwrap())
    }

    #[test]
    fn operands_broadcast_from_either_side() {
        let column = floats(&[2, 1], &[1.0, 2.0]);
        let row = floats(&[3], &[10.0, 20.0, 30.0]);
        let out = Binary::Add.run(vec![column.clone(), row.clone()]).unwrap();
        assert_eq!(out[0].shape(), [2, 3]);
        assert_eq!(out[0].as_f32s().unwrap(), [11.0, 21.0, 31.0, 12.0, 22.0, 32.0]);
        let out = Binary::Sub.run(vec![row, column]).unwrap();
        assert_eq!(out[0].as_f32s().unwrap(), [9.0, 19.0, 29.0, 8.0, 18.0, 28.0]);
        let clash = Binary::Mul.run(vec![floats(&[2], &[0.0; 2]), floats(&[3], &[0.0; 3])]);
        assert_eq!(clash.unwrap_err(), "shapes [2] and [3] do not broadcast");
    }

    #[test]
    fn integers_wrap() {
        let cases = [(Binary::Add, i32::MIN), (Binary::Mul, i32::MAX), (Binary::Pow, i32::MAX)];
        for (op, expected) in cases {
            let out = op.run(vec![integers(&[1], &[i32::MAX]), integers(&[], &[1])]).unwrap();
            assert_eq!(out[0].as_i32s().unwrap(), [expected], "{op:?}");
        }
        for (op, expected) in [(Binary::FloorDiv, i32::MIN), (Binary::Mod, 0)] {
            let out = op.run(vec![integers(&[1], &[i32::MIN]), integers(&[], &[-1])]).unwrap();
            assert_eq!(out[0].as_i32s().unwrap(), [expected], "{op:?}");
        }
    }

    #[test]
    fn quotients_round_down_and_rests_have_the_sign_of_the_divisor() {
        let run = |op: Binary, x: &Arc<Tensor>, y: &Arc<Tensor>| {
            op.run(vec![x.clone(), y.clone()]).unwrap().remove(0)
        };
        let (x, y) = (integers(&[4], &[7, -7, 7, -7]), integers(&[4], &[2, 2, -2, -2]));
        assert_eq!(run(Binary::FloorDiv, &x, &y).as_i32s().unwrap(), [3, -4, -4, 3]);
        assert_eq!(run(Binary::Mod, &x, &y).as_i32s().unwrap(), [1, 1, -1, -1]);
        // 1 / 0.1 is just below 10, since the f32 next to 0.1 is above it.
        let (x, y) = (floats(&[4], &[1.0, -7.0, 7.0, 6.0]), floats(&[4], &[0.1, 2.0, -2.0, 2.0]));
        assert_eq!(run(Binary::FloorDiv, &x, &y).as_f32s().unwrap(), [9.0, -4.0, -4.0, 3.0]);
        assert_eq!(run(Binary::Mod, &x, &y).as_f32s().unwrap()[1..], [1.0, -1.0, 0.0]);
        for (op, y, problem) in [
            (Binary::Mod, 0, "an integer is divided by 0"),
            (Binary::FloorDiv, 0, "an integer is divided by 0"),
            (Binary::Pow, -1, "an integer is raised to a negative power"),
        ] {
            assert_eq!(op.run(vec![integers(&[], &[1]), integers(&[1], &[y])]).unwrap_err(), problem);
        }
    }

    #[test]
    fn nan_wins_and_compares_with_nothing() {
        let (x, y) = (floats(&[3], &[f32::NAN, 1.0, 2.0]), floats(&[3], &[1.0, f32::NAN, 2.0]));
        for op in [Binary::Maximum, Binary::Minimum] {
            let out = op.run(vec![x.clone(), y.clone()]).unwrap().remove(0);
            let out = out.as_f32s().unwrap();
            assert!(out[0].is_nan() && out[1].is_nan() && out[2] == 2.0, "{op:?}: {out:?}");
        }
        for (op, equal) in
            [(Comparison::GreaterEqual, true), (Comparison::Less, false), (Comparison::Equal, true)]
        {
            let out = op.run(vec![x.clone(), y.clone()]).unwrap().remove(0);
            assert_eq!(out.bools().unwrap(), [false, false, equal], "{op:?}");
        }
        let out = Comparison::NotEqual.run(vec![x, y]).unwrap().remove(0);
        assert_eq!(out.bools().unwrap(), [true, true, false]);
    }
}
