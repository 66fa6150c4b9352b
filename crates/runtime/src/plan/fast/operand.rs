//! What steps read: values in buffers, tensors, constants and states, in any layout.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use anelith_mil::DataType;

use super::layout::Layout;
use crate::kernels::{self, Isa, Pool, Rows};
use crate::plan::States;
use crate::tensor::{Tensor, TensorData, map_elements, stretch};

/// The memory that a value is in.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Constant(Arc<Tensor>),
    /// A tensor that an op made; given up at its `last` use.
    Slot {
        slot: usize,
        last: bool,
    },
    /// The same, of a shape that is known only when the program runs; only taken whole.
    Flexible {
        slot: usize,
        last: bool,
    },
    /// Numbers that a fused step wrote.
    Buffer(usize),
    /// An fp16 state.
    State(String),
}

/// A value as a step reads it.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) place: Place,
    pub(super) layout: Layout,
}

/// A state of type fp16, as its bits.
#[derive(Clone, Debug)]
pub(crate) struct Half {
    pub(crate) shape: Vec<usize>,
    pub(crate) bits: Vec<u16>,
}

/// What an instance holds between calls, and the room that its calls work in.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The states that are held as tensors.
    pub(crate) states: States,
    /// The states that are held as fp16.
    pub(crate) halves: BTreeMap<String, Half>,
    pub(super) buffers: Vec<Vec<f32>>,
    /// The activations of the product that is being taken.
    pub(super) rows: Rows,
}

/// What the values of one call are in.
#[derive(Debug)]
pub(super) struct Call<'m> {
    pub(super) memory: &'m mut Memory,
    pub(super) slots: Vec<Option<Arc<Tensor>>>,
    pub(super) isa: Isa,
}

impl Half {
    /// The numbers that the bits stand for.
    pub(crate) fn tensor(&self) -> Tensor {
        let mut tensor = Tensor::zeros(DataType::Fp16, self.shape.clone());
        if let TensorData::F32(numbers) = tensor.data_mut() {
            kernels::from_fp16(Isa::best(), Pool::shared(), &self.bits, numbers);
        }
        tensor
    }
}

impl Memory {
    /// No states, and no room yet.
    pub(crate) fn empty() -> Memory {
        Memory { states: States::new(), halves: BTreeMap::new(), buffers: Vec::new(), rows: Rows::empty() }
    }

    /// Makes the buffers at least as large as `sizes`.
    ///
    /// # Errors
    /// Memory that cannot be had.
    pub(super) fn make_room(&mut self, sizes: &[usize]) -> Result<(), String> {
        if self.buffers.len() < sizes.len() {
            self.buffers.resize_with(sizes.len(), Vec::new);
        }
        for (buffer, size) in self.buffers.iter_mut().zip(sizes) {
            stretch(buffer, buffer.len().max(*size), 0.0)?;
        }
        Ok(())
    }
}

impl Operand {
    /// The whole of a constant.
    pub(super) fn constant(tensor: &Arc<Tensor>) -> Operand {
        Operand { layout: Layout::plain(tensor.shape()), place: Place::Constant(Arc::clone(tensor)) }
    }

    /// Whether the layout says where the elements are.
    pub(super) fn has_shape(&self) -> bool {
        !matches!(self.place, Place::Flexible { .. })
    }

    /// Whether the other is the same value in the same layout.
    pub(super) fn is_same(&self, other: &Operand) -> bool {
        let place = match (&self.place, &other.place) {
            (Place::Buffer(a), Place::Buffer(b)) => a == b,
            (Place::Slot { slot: a, .. }, Place::Slot { slot: b, .. }) => a == b,
            _ => false,
        };
        place && self.layout == other.layout
    }

    /// The same memory in another layout.
    pub(super) fn with(&self, layout: Layout) -> Operand {
        Operand { place: self.place.clone(), layout }
    }
}

impl Call<'_> {
    /// The numbers of the memory that `operand` is in, which is no state.
    pub(super) fn floats<'a>(&'a self, operand: &'a Operand) -> Result<&'a [f32], String> {
        match &operand.place {
            Place::Constant(tensor) => tensor.f32s(),
            Place::Slot { slot, .. } | Place::Flexible { slot, .. } => self.tensor(*slot)?.f32s(),
            Place::Buffer(buffer) => Ok(&self.memory.buffers[*buffer]),
            Place::State(state) => Err(format!("the state `{state}` is fp16")),
        }
    }

    /// The booleans of the memory that `operand` is in.
    pub(super) fn flags<'a>(&'a self, operand: &'a Operand) -> Result<&'a [bool], String> {
        match &operand.place {
            Place::Constant(tensor) => tensor.bools(),
            Place::Slot { slot, .. } | Place::Flexible { slot, .. } => self.tensor(*slot)?.bools(),
            Place::Buffer(_) | Place::State(_) => Err("a buffer holds floating-point numbers".to_owned()),
        }
    }

    /// The numbers of a dense operand, in the order in which they lie in memory.
    pub(super) fn dense<'a>(&'a self, operand: &'a Operand) -> Result<&'a [f32], String> {
        let (from, count) = (operand.layout.offset, operand.layout.count());
        self.floats(operand)?.get(from..from + count).ok_or_else(|| "an operand is too short".to_owned())
    }

    /// The elements of `operand` in row-major order.
    pub(super) fn gathered<'a>(&'a self, operand: &'a Operand) -> Result<Cow<'a, [f32]>, String> {
        let is_state = matches!(operand.place, Place::State(_));
        if !is_state && operand.layout.is_row_major() {
            return self.dense(operand).map(Cow::Borrowed);
        }
        let mut out = vec![0.0; operand.layout.count()];
        self.gather(operand, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// Writes the elements of `operand` in row-major order to `out`, which has as many.
    pub(super) fn gather(&self, operand: &Operand, out: &mut [f32]) -> Result<(), String> {
        match &operand.place {
            Place::State(state) => {
                let mut bits = vec![0; out.len()];
                operand.layout.gather(&self.half(state)?.bits, &mut bits);
                kernels::from_fp16(self.isa, Pool::shared(), &bits, out);
            }
            _ => operand.layout.gather(self.floats(operand)?, out),
        }
        Ok(())
    }

    /// The operand as a tensor of its own; at its last use without a copy, where it lies as tensors do.
    pub(super) fn take(&mut self, operand: &Operand) -> Result<Arc<Tensor>, String> {
        let shape = operand.layout.shape.clone();
        match &operand.place {
            Place::Constant(tensor) if operand.layout == Layout::plain(tensor.shape()) => {
                Ok(Arc::clone(tensor))
            }
            Place::Constant(tensor) => part(tensor, &operand.layout).map(Arc::new),
            Place::Flexible { slot, last } => self.tensor_of(*slot, *last),
            Place::Slot { slot, last } => {
                let tensor = self.tensor_of(*slot, *last)?;
                let is_whole = tensor.data().len() == operand.layout.count() && operand.layout.is_row_major();
                match is_whole {
                    true if tensor.shape() == shape => Ok(tensor),
                    true => Tensor::made(shape, Arc::unwrap_or_clone(tensor).into_data()).map(Arc::new),
                    false => part(&tensor, &operand.layout).map(Arc::new),
                }
            }
            Place::Buffer(_) | Place::State(_) => {
                let elements = self.gathered(operand)?.into_owned();
                Tensor::made(shape, elements).map(Arc::new)
            }
        }
    }

    fn tensor_of(&mut self, slot: usize, last: bool) -> Result<Arc<Tensor>, String> {
        let tensor = if last { self.slots[slot].take() } else { self.slots[slot].clone() };
        tensor.ok_or_else(lost)
    }

    fn tensor(&self, slot: usize) -> Result<&Tensor, String> {
        self.slots[slot].as_deref().ok_or_else(lost)
    }

    pub(super) fn half(&self, state: &str) -> Result<&Half, String> {
        self.memory.halves.get(state).ok_or_else(|| "the state is lost".to_owned())
    }

    /// Hands `work` a buffer to write `count` numbers to, apart from all others.
    pub(super) fn write<T>(
        &mut self,
        buffer: usize,
        count: usize,
        work: impl FnOnce(&mut Self, &mut [f32]) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut own = std::mem::take(&mut self.memory.buffers[buffer]);
        let result = match own.get_mut(..count) {
            Some(out) => work(self, out),
            None => Err("a buffer is too short".to_owned()),
        };
        self.memory.buffers[buffer] = own;
        result
    }
}

fn lost() -> String {
    "an operand has no value".to_owned()
}

/// The elements of `tensor` that `layout` names.
fn part(tensor: &Tensor, layout: &Layout) -> Result<Tensor, String> {
    let data: TensorData = map_elements!(tensor.data(), v => {
        let mut out = vec![Default::default(); layout.count()];
        layout.gather(v, &mut out);
        out
    });
    Tensor::made(layout.shape.clone(), data)
}
