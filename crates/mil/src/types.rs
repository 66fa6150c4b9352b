//! Types of MIL values: tensors, states, and the containers that attributes use.

use std::fmt;

use crate::dtype::DataType;

/// One extent of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// A fixed extent.
    Known(u64),
    /// An extent known only at run time (flexible inputs); `?` in text.
    Unknown,
}

/// The type of a tensor: element type and shape. Rank 0 is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DataType,
    /// Extents, outermost first.
    pub shape: Vec<Dim>,
}

/// The type of a value or variable.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// A mutable tensor that outlives a call; only function inputs have this type.
    State(TensorType),
    /// Values of one type; `None` is an unknown length.
    List(Box<Type>, Option<u64>),
    /// Values of several types.
    Tuple(Vec<Type>),
    /// Pairs of keys and values.
    Dict(Box<Type>, Box<Type>),
}

/// How many dimensions a tensor may have in a file; Core ML's own limit is lower.
pub(crate) const MAX_RANK: usize = 16;

impl TensorType {
    /// A tensor of fixed shape.
    pub fn new(dtype: DataType, shape: &[u64]) -> TensorType {
        TensorType { dtype, shape: shape.iter().copied().map(Dim::Known).collect() }
    }

    /// A scalar (rank 0).
    pub fn scalar(dtype: DataType) -> TensorType {
        TensorType { dtype, shape: Vec::new() }
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The extents, or `None` when one of them is unknown.
    pub fn fixed_shape(&self) -> Option<Vec<u64>> {
        let known = |d: &Dim| match d {
            Dim::Known(n) => Some(*n),
            Dim::Unknown => None,
        };
        self.shape.iter().map(known).collect()
    }

    /// The number of elements, or `None` when a dimension is unknown or the product overflows.
    pub fn element_count(&self) -> Option<u64> {
        self.fixed_shape()?.iter().try_fold(1u64, |n, d| n.checked_mul(*d))
    }

    /// The size of the elements in packed storage, or `None` as for `element_count` and for strings.
    pub fn byte_len(&self) -> Option<u64> {
        self.dtype.byte_len(self.element_count()?)
    }
}

impl Type {
    /// A tensor type of fixed shape.
    pub fn tensor(dtype: DataType, shape: &[u64]) -> Type {
        Type::Tensor(TensorType::new(dtype, shape))
    }

    /// A scalar type.
    pub fn scalar(dtype: DataType) -> Type {
        Type::Tensor(TensorType::scalar(dtype))
    }

    /// The tensor type, if this is a tensor.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            _ => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
    }
    Ok(())
}

impl fmt::Display for TensorType {
    /// The form of `program(1.3)`: a scalar is its bare element type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shape.is_empty() {
            return write!(f, "{}", self.dtype);
        }
        write!(f, "tensor<{}, [", self.dtype)?;
        separated(f, &self.shape)?;
        f.write_str("]>")
    }
}

impl fmt::Display for Type {
    /// The form of `program(1.3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => write!(f, "{t}"),
            Type::State(t) => write!(f, "state<{t}>"),
            Type::List(t, Some(n)) => write!(f, "list<{t}, {n}>"),
            Type::List(t, None) => write!(f, "list<{t}, ?>"),
            Type::Tuple(ts) => {
                f.write_str("tuple<")?;
                separated(f, ts)?;
                f.write_str(">")
            }
            Type::Dict(k, v) => write!(f, "dict<{k}, {v}>"),
        }
    }
}
