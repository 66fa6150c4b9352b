//! What ops do to each element alone, for steps that do several of them at once.

use super::binary::Binary;
use super::elementwise::pick;
use super::unary::OfOne;

/// A function of floating-point numbers that an op takes of each element of operands that broadcast.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    /// The number itself, as a cast from one width to the other where nothing is rounded.
    Same,
    /// A function of one number.
    One(OfOne),
    /// A function of two.
    Two(Binary),
    /// The second of three numbers where the first is not 0, else the third.
    Select,
}

impl Function {
    /// Writes the function of `operands`, which are as long as `out` and as many as it takes.
    pub(crate) fn apply(self, operands: &[&[f32]], out: &mut [f32]) {
        match (self, operands) {
            (Function::Same, [x]) => out.copy_from_slice(x),
            (Function::One(function), [x]) => {
                out.copy_from_slice(x);
                function.apply(out);
            }
            (Function::Two(function), [x, y]) => function.apply(x, y, out),
            (Function::Select, [flags, x, y]) => pick(flags, |flag| flag != 0.0, x, y, out),
            _ => unreachable!("{self:?} of {} operands", operands.len()),
        }
    }

    /// How many operands it takes.
    pub(crate) fn arity(self) -> usize {
        match self {
            Function::Same | Function::One(_) => 1,
            Function::Two(_) => 2,
            Function::Select => 3,
        }
    }

    /// About how many sums take as long.
    pub(crate) fn cost(self) -> usize {
        match self {
            Function::One(function) => function.cost(),
            Function::Two(function) => function.cost(),
            Function::Same | Function::Select => 1,
        }
    }
}
