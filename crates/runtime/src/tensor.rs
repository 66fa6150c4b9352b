//! Tensors: a shape and its elements in row-major order.

use anelith_mil::{DataType, Dim, TensorType};

use crate::error::{Error, Result};

/// A dense tensor in row-major order. The fields are private so that shape and elements always match.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// The elements of a tensor, by the class of its MIL type.
#[derive(Clone, PartialEq, Debug)]
pub enum TensorData {
    /// fp16 and fp32.
    F32(Vec<f32>),
    /// Integers of 8, 16 and 32 bits.
    I32(Vec<i32>),
    /// Booleans.
    Bool(Vec<bool>),
}

/// Rebuilds tensor data of the same class: `$body` maps the elements `$v` of any class to a vector.
macro_rules! map_elements {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::tensor::TensorData::F32($v) => $crate::tensor::TensorData::F32($body),
            $crate::tensor::TensorData::I32($v) => $crate::tensor::TensorData::I32($body),
            $crate::tensor::TensorData::Bool($v) => $crate::tensor::TensorData::Bool($body),
        }
    };
}
pub(crate) use map_elements;

impl TensorData {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            TensorData::F32(v) => v.len(),
            TensorData::I32(v) => v.len(),
            TensorData::Bool(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the elements are, for messages.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            TensorData::F32(_) => "floating-point numbers",
            TensorData::I32(_) => "integers",
            TensorData::Bool(_) => "booleans",
        }
    }
}

impl From<Vec<f32>> for TensorData {
    fn from(v: Vec<f32>) -> TensorData {
        TensorData::F32(v)
    }
}

impl From<Vec<i32>> for TensorData {
    fn from(v: Vec<i32>) -> TensorData {
        TensorData::I32(v)
    }
}

impl From<Vec<bool>> for TensorData {
    fn from(v: Vec<bool>) -> TensorData {
        TensorData::Bool(v)
    }
}

impl Tensor {
    /// A tensor of `shape`; the empty shape is a scalar.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape does not ask for exactly the elements given, or for more than 2^31.
    pub fn new(shape: &[usize], data: impl Into<TensorData>) -> Result<Tensor> {
        let data = data.into();
        if element_count(shape) != Some(data.len()) {
            return Err(Error::Shape { shape: shape.to_vec(), count: data.len() });
        }
        Ok(Tensor { shape: shape.to_vec(), data })
    }

    /// As `new`, with the error as a sentence for the op that made the tensor.
    pub(crate) fn made(shape: Vec<usize>, data: impl Into<TensorData>) -> Result<Tensor, String> {
        Tensor::new(&shape, data).map_err(|e| e.to_string())
    }

    /// Zeros (false) of `shape`, in the class of `dtype`.
    pub(crate) fn zeros(dtype: DataType, shape: Vec<usize>) -> Tensor {
        let count = shape.iter().product();
        let data = match dtype {
            DataType::Bool => vec![false; count].into(),
            dtype if dtype.is_float() => vec![0f32; count].into(),
            _ => vec![0i32; count].into(),
        };
        Tensor { shape, data }
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements of a floating-point tensor; `None` for other tensors.
    pub fn as_f32s(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements of an integer tensor; `None` for other tensors.
    pub fn as_i32s(&self) -> Option<&[i32]> {
        match &self.data {
            TensorData::I32(v) => Some(v),
            _ => None,
        }
    }

    /// Whether the tensor is one of type `ty`, as far as rank, known extents and class of elements go.
    pub(crate) fn expect_type(&self, ty: &TensorType) -> Result<(), String> {
        let fits = |(dim, extent): (&Dim, &usize)| match dim {
            Dim::Known(n) => usize::try_from(*n) == Ok(*extent),
            Dim::Unknown => true,
        };
        if ty.rank() != self.shape.len() || !ty.shape.iter().zip(&self.shape).all(fits) {
            return Err(format!("it has shape {:?}, expected {ty}", self.shape));
        }
        let class = match (ty.dtype, &self.data) {
            (DataType::Bool, TensorData::Bool(_)) => true,
            (dtype, TensorData::F32(_)) => dtype.is_float(),
            (dtype, TensorData::I32(_)) => dtype.is_integer(),
            _ => false,
        };
        if class { Ok(()) } else { Err(format!("it holds {}, expected {ty}", self.data.class())) }
    }

    /// The bytes that the elements take.
    pub(crate) fn byte_len(&self) -> usize {
        match &self.data {
            TensorData::F32(v) => size_of_val(v.as_slice()),
            TensorData::I32(v) => size_of_val(v.as_slice()),
            TensorData::Bool(v) => v.len(),
        }
    }

    pub(crate) fn f32s(&self) -> Result<&[f32], String> {
        self.as_f32s().ok_or_else(|| self.wrong_class("floating-point numbers"))
    }

    pub(crate) fn i32s(&self) -> Result<&[i32], String> {
        self.as_i32s().ok_or_else(|| self.wrong_class("integers"))
    }

    pub(crate) fn bools(&self) -> Result<&[bool], String> {
        match &self.data {
            TensorData::Bool(v) => Ok(v),
            _ => Err(self.wrong_class("booleans")),
        }
    }

    fn wrong_class(&self, expected: &str) -> String {
        format!("a tensor holds {}, expected {expected}", self.data.class())
    }

    pub(crate) fn data_mut(&mut self) -> &mut TensorData {
        &mut self.data
    }

    pub(crate) fn into_data(self) -> TensorData {
        self.data
    }
}

/// Tensors have no more elements than this: 8 GiB as `f32`.
pub(crate) const MAX_ELEMENTS: usize = 1 << 31;

/// The number of elements of `shape`, or `None` when it is above `MAX_ELEMENTS`.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    // Axes of no elements count as one, so that the product of any of the axes stays in range too.
    let most = shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)))?;
    (most <= MAX_ELEMENTS).then(|| shape.iter().product())
}

/// From this size on, memory is asked for before it is taken: 64 MiB. The standard library aborts the process
/// where there is none.
const LARGE_BYTES: usize = 64 << 20;

/// The number of elements of `shape`, for which there is room.
///
/// # Errors
/// When the shape has more than `MAX_ELEMENTS`, or the memory for its elements cannot be had.
pub(crate) fn room_for(shape: &[usize]) -> Result<usize, String> {
    let count = element_count(shape).ok_or("the result has too many elements")?;
    ask_for(count.saturating_mul(size_of::<f32>()))?;
    Ok(count)
}

/// Whether `bytes` can be allocated twice, since an op may hold an intermediate as large as its result.
pub(crate) fn ask_for(bytes: usize) -> Result<(), String> {
    if bytes < LARGE_BYTES {
        return Ok(());
    }
    let mut room = [Vec::<u8>::new(), Vec::new()];
    for part in &mut room {
        let asked = part.try_reserve_exact(bytes);
        asked.map_err(|_| format!("it needs {bytes} bytes of memory twice, which are not to be had"))?;
    }
    // The optimizer may drop an allocation that nobody looks at, and with it the answer.
    std::hint::black_box(&room);
    Ok(())
}

/// Makes `numbers` `length` long, whatever they are then.
///
/// # Errors
/// When the memory for them cannot be had.
pub(crate) fn stretch<T: Clone>(numbers: &mut Vec<T>, length: usize, zero: T) -> Result<(), String> {
    if numbers.capacity() < length {
        // What is there is not kept, so that memory never holds both.
        *numbers = Vec::new();
        let bytes = length.saturating_mul(size_of::<T>());
        let asked = numbers.try_reserve_exact(length);
        asked.map_err(|_| format!("it needs {bytes} bytes of memory, which are not to be had"))?;
    }
    numbers.resize(length, zero);
    Ok(())
}

/// The bytes that a tensor of type `ty` takes; extents that are not known count as one.
pub(crate) fn held_bytes(ty: &TensorType) -> u64 {
    let element = if ty.dtype == DataType::Bool { size_of::<bool>() } else { size_of::<f32>() };
    let extents = ty.shape.iter().map(|d| if let Dim::Known(n) = d { *n } else { 1 });
    extents.fold(element as u64, u64::saturating_mul)
}

/// For each axis of `shape`, how many elements apart its neighbours lie.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_elements_must_match() {
        assert!(Tensor::new(&[], vec![1.0f32]).is_ok());
        assert!(Tensor::new(&[0, 5], Vec::<i32>::new()).is_ok());
        let error = Tensor::new(&[2, 3], vec![true; 5]).unwrap_err();
        assert_eq!(error.to_string(), "a tensor of shape [2, 3] cannot hold 5 elements");
        assert!(Tensor::new(&[usize::MAX, 2], vec![0i32; 2]).is_err());
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_and_no_abort() {
        assert_eq!(room_for(&[3, 5]), Ok(15));
        assert_eq!(room_for(&[1 << 16, 1 << 16]), Err("the result has too many elements".to_owned()));
        let problem = ask_for(isize::MAX as usize).unwrap_err();
        assert!(problem.contains("bytes of memory"), "{problem}");
    }
}
