//! What an op knows before the program runs: declared types, and the values of constant parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use anelith_mil::{DataType, Dim, Opcode, Opset, TensorType};

use super::Problem;
use crate::kernels::Matrix;
use crate::tensor::Tensor;

/// The arguments of one op when the plan is made.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    /// Which op.
    pub(crate) opcode: Opcode,
    /// The opset of the function: some ops changed their meaning.
    pub(crate) opset: Opset,
    /// The declared type of each tensor operand, by parameter.
    pub(crate) types: BTreeMap<&'a str, Vec<&'a TensorType>>,
    /// The values of the operands known by now, by parameter.
    pub(crate) constants: BTreeMap<&'a str, Constant<'a>>,
    /// The weights among the operands that can be worked with as they are stored, by parameter.
    pub(crate) weights: BTreeMap<&'a str, Arc<Matrix>>,
}

/// The value of a constant operand.
#[derive(Clone, Debug)]
pub(crate) enum Constant<'a> {
    /// Numbers.
    Tensor(Arc<Tensor>),
    /// A string, e.g. the mode of an op.
    Text(&'a str),
}

impl<'a> Arguments<'a> {
    /// The declared type of the operand bound to `name`.
    pub(crate) fn ty(&self, name: &str) -> Result<&'a TensorType, Problem> {
        let ty = self.types.get(name).and_then(|t| t.first()).copied();
        ty.ok_or_else(|| Problem::Malformed(format!("parameter `{name}` is missing")))
    }

    /// The rank of the operand bound to `name`.
    pub(crate) fn rank(&self, name: &str) -> Result<usize, Problem> {
        Ok(self.ty(name)?.rank())
    }

    /// The extents of the operand bound to `name`; `None` where they are known only when the program runs.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<Option<usize>>, Problem> {
        let extent = |d: &Dim| match d {
            Dim::Known(n) => usize::try_from(*n).ok(),
            Dim::Unknown => None,
        };
        Ok(self.ty(name)?.shape.iter().map(extent).collect())
    }

    /// Refuses operands that are not floating-point numbers.
    pub(crate) fn expect_floats(&self, names: &[&str]) -> Result<(), Problem> {
        for name in names {
            let dtype = self.ty(name)?.dtype;
            if !dtype.is_float() {
                return Err(Problem::Unsupported(format!(
                    "`{name}` has type {dtype}, expected fp16 or fp32"
                )));
            }
        }
        Ok(())
    }

    /// Refuses booleans, on which arithmetic is not defined.
    pub(crate) fn expect_numbers(&self, names: &[&str]) -> Result<(), Problem> {
        for name in names {
            if self.ty(name)?.dtype == DataType::Bool {
                return Err(Problem::Unsupported(format!("`{name}` has type bool, expected numbers")));
            }
        }
        Ok(())
    }

    /// Refuses operands that are not booleans.
    pub(crate) fn expect_bools(&self, names: &[&str]) -> Result<(), Problem> {
        for name in names {
            let dtype = self.ty(name)?.dtype;
            if dtype != DataType::Bool {
                return Err(Problem::Malformed(format!("`{name}` has type {dtype}, expected bool")));
            }
        }
        Ok(())
    }

    /// The constant bound to `name`, if the parameter is given at all.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Arc<Tensor>>, Problem> {
        match self.constants.get(name) {
            Some(Constant::Tensor(t)) => Ok(Some(Arc::clone(t))),
            Some(Constant::Text(_)) => Err(Problem::Malformed(format!("`{name}` is a string"))),
            None if self.types.contains_key(name) => {
                Err(Problem::Unsupported(format!("`{name}` is computed, expected a constant")))
            }
            None => Ok(None),
        }
    }

    /// The integers bound to `name`.
    pub(crate) fn i32s(&self, name: &str) -> Result<Option<Vec<i32>>, Problem> {
        let tensor = self.tensor(name)?;
        tensor.map(|t| t.i32s().map(<[i32]>::to_vec)).transpose().map_err(|p| wrong(name, &p))
    }

    /// The one integer bound to `name`.
    pub(crate) fn i32(&self, name: &str) -> Result<Option<i32>, Problem> {
        self.i32s(name)?.map(|v| single(name, &v)).transpose()
    }

    /// The one number bound to `name`.
    pub(crate) fn f32(&self, name: &str) -> Result<Option<f32>, Problem> {
        let Some(tensor) = self.tensor(name)? else { return Ok(None) };
        single(name, tensor.f32s().map_err(|p| wrong(name, &p))?).map(Some)
    }

    /// The booleans bound to `name`.
    pub(crate) fn bools(&self, name: &str) -> Result<Option<Vec<bool>>, Problem> {
        let tensor = self.tensor(name)?;
        tensor.map(|t| t.bools().map(<[bool]>::to_vec)).transpose().map_err(|p| wrong(name, &p))
    }

    /// The one boolean bound to `name`, or false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        self.bools(name)?.map_or(Ok(false), |v| single(name, &v))
    }

    /// The string bound to `name`.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Problem> {
        match self.constants.get(name) {
            Some(Constant::Text(s)) => Ok(Some(s)),
            Some(Constant::Tensor(_)) => Err(Problem::Malformed(format!("`{name}` is not a string"))),
            None => Ok(None),
        }
    }

    /// The axis bound to `name`, counted from the front, of an operand of rank `rank`.
    pub(crate) fn axis(&self, name: &str, rank: usize, default: i32) -> Result<usize, Problem> {
        Ok(normalize_axis(self.i32(name)?.unwrap_or(default), rank)?)
    }

    /// The axes bound to `name`, counted from the front, in the order given; `None` when left out.
    pub(crate) fn axes(&self, name: &str, rank: usize) -> Result<Option<Vec<usize>>, Problem> {
        let Some(axes) = self.i32s(name)? else { return Ok(None) };
        let axes = axes.iter().map(|a| normalize_axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
        match axes.iter().enumerate().find(|(i, a)| axes[..*i].contains(a)) {
            Some((_, twice)) => Err(Problem::Malformed(format!("`{name}` names axis {twice} twice"))),
            None => Ok(Some(axes)),
        }
    }
}

fn wrong(name: &str, problem: &str) -> Problem {
    Problem::Malformed(format!("`{name}`: {problem}"))
}

fn single<T: Copy>(name: &str, values: &[T]) -> Result<T, Problem> {
    match values {
        [v] => Ok(*v),
        _ => Err(Problem::Malformed(format!("`{name}` has {} elements, expected one", values.len()))),
    }
}

/// The index of dimension `axis` (negative counts from the end) among `rank` dimensions.
pub(crate) fn normalize_axis(axis: i32, rank: usize) -> Result<usize, String> {
    let index = i64::from(axis);
    let extent = i64::try_from(rank).map_err(|e| e.to_string())?;
    let wrapped = if index < 0 { index + extent } else { index };
    usize::try_from(wrapped)
        .ok()
        .filter(|a| *a < rank)
        .ok_or_else(|| format!("axis {axis} is out of range for rank {rank}"))
}
