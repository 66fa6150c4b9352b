//! What one step of a fast plan does.

use std::sync::Arc;

use super::chain::Chain;
use super::operand::{Call, Operand, Place};
use crate::kernels::{self, Attention, Cache, Inputs, Isa, Matrix, Pool, Product, Queries};
use crate::ops::Operation;
use crate::ops::slice::SliceUpdate;
use crate::ops::weights::Lookup;
use crate::plan::{Finish, finish};
use crate::tensor::Tensor;
use anelith_mil::TensorType;

/// Rows of activations that are prepared for products at a time: so few that they take no more memory than the weights
/// of a model do, so many that to read the weights again for the next costs nothing beside the products.
pub(super) const AT_ONCE: usize = 1024;

/// A step. Numbers of buffers are where it writes; every operand has the layout that its kernel needs.
#[derive(Debug)]
pub(super) enum Action {
    /// Any op, on tensors.
    Run { operation: Box<dyn Operation>, inputs: Vec<Operand>, outputs: Vec<Target> },
    /// A state that is held as a tensor, handed out; `take` when it is written before it is read again.
    Read { state: String, take: bool, slot: Option<usize> },
    /// A state replaced.
    Write { state: String, data: Operand },
    /// `x` in row-major order.
    Copy { x: Operand, out: usize },
    /// Products of the rows of `x` with one or several weights.
    Multiply { x: Operand, columns: usize, products: Vec<Weighted> },
    /// Rows of a weight.
    PickRows { lookup: Lookup, indices: Operand, out: usize },
    /// Each row over the root of its mean square, times the weight.
    Normalize { x: Operand, weight: Option<Arc<Tensor>>, epsilon: f32, out: usize },
    /// Pairs of each row turned by the angles of its token.
    Rotate { x: Operand, cos: Operand, sin: Operand, out: usize },
    /// Attention of the queries over rows of a state.
    Attend(Box<Attend>),
    /// `silu(gate) · up`.
    Gate { gate: Operand, up: Operand, out: usize },
    /// The sum of two.
    Add { x: Operand, y: Operand, out: usize },
    /// Functions of elements, one upon the other.
    Chain(Box<Chain>),
    /// A box of an fp16 state, replaced.
    Store { state: String, place: SliceUpdate, update: Operand, begin: Operand, end: Operand },
}

/// Where a result of `Run` goes: nowhere if nothing reads it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) slot: Option<usize>,
    pub(super) ty: TensorType,
    pub(super) finish: Finish,
}

/// One product of `Multiply`: `out[t][r]` for each row `t` of `x` and each row `r` of the weight.
#[derive(Debug)]
pub(super) struct Weighted {
    pub(super) weight: Arc<Matrix>,
    pub(super) bias: Option<Arc<Tensor>>,
    pub(super) out: usize,
}

/// The operands of `Action::Attend`.
#[derive(Debug)]
pub(super) struct Attend {
    /// `[1, heads, tokens, size]`.
    pub(super) queries: Operand,
    pub(super) keys: Rows,
    pub(super) values: Rows,
    /// `[1, 1, tokens, rows]`.
    pub(super) mask: Operand,
    pub(super) scale: f32,
    pub(super) out: usize,
}

/// Rows of an fp16 state for each of `heads` heads.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) state: String,
    pub(super) offset: usize,
    pub(super) heads: usize,
    /// Elements from the first row of a head to that of the next.
    pub(super) head_stride: usize,
    /// How many rows each head has.
    pub(super) count: usize,
}

impl Rows {
    /// The rows that `operand` is: `[heads, 1, rows, size]` or `[1, heads, rows, size]` of a state.
    pub(super) fn of(operand: &Operand) -> Option<Rows> {
        let Place::State(state) = &operand.place else { return None };
        let layout = &operand.layout;
        let [first, second, count, _] = layout.shape[..] else { return None };
        let axis = usize::from(first == 1);
        Some(Rows {
            state: state.clone(),
            offset: layout.offset,
            heads: first * second,
            head_stride: layout.strides[axis],
            count,
        })
    }

    fn cache<'a>(&self, call: &'a Call<'_>) -> Result<Cache<'a>, String> {
        let bits = call.half(&self.state)?.bits.get(self.offset..).ok_or("a state is too short")?;
        Ok(Cache { data: bits, head_stride: self.head_stride })
    }
}

impl Action {
    /// What the step reads.
    pub(super) fn inputs_mut(&mut self) -> Vec<&mut Operand> {
        match self {
            Action::Run { inputs, .. } => inputs.iter_mut().collect(),
            Action::Read { .. } => Vec::new(),
            Action::Write { data: x, .. }
            | Action::Copy { x, .. }
            | Action::Multiply { x, .. }
            | Action::PickRows { indices: x, .. }
            | Action::Normalize { x, .. } => vec![x],
            Action::Rotate { x, cos, sin, .. } => vec![x, cos, sin],
            Action::Attend(attend) => vec![&mut attend.queries, &mut attend.mask],
            Action::Chain(chain) => chain.operands.iter_mut().collect(),
            Action::Gate { gate: x, up: y, .. } | Action::Add { x, y, .. } => vec![x, y],
            Action::Store { update, begin, end, .. } => vec![update, begin, end],
        }
    }

    /// The buffers that the step writes.
    pub(super) fn outputs_mut(&mut self) -> Vec<&mut usize> {
        match self {
            Action::Run { .. } | Action::Read { .. } | Action::Write { .. } | Action::Store { .. } => {
                Vec::new()
            }
            Action::Multiply { products, .. } => products.iter_mut().map(|p| &mut p.out).collect(),
            Action::Attend(attend) => vec![&mut attend.out],
            Action::Chain(chain) => vec![&mut chain.out],
            Action::Copy { out, .. }
            | Action::PickRows { out, .. }
            | Action::Normalize { out, .. }
            | Action::Rotate { out, .. }
            | Action::Gate { out, .. }
            | Action::Add { out, .. } => vec![out],
        }
    }

    /// The bytes of the weights that it reads whole.
    pub(super) fn weight_bytes(&self) -> u64 {
        match self {
            Action::Multiply { products, .. } => products.iter().map(|p| p.weight.byte_len() as u64).sum(),
            _ => 0,
        }
    }

    /// Does the step; the bytes that it read from memory, as far as they are known.
    pub(super) fn run(&self, call: &mut Call<'_>) -> Result<u64, String> {
        match self {
            Action::Run { operation, inputs, outputs } => run(operation.as_ref(), inputs, outputs, call),
            Action::Read { state, take, slot } => read(state, *take, *slot, call),
            Action::Write { state, data } => write(state, data, call),
            Action::Copy { x, out } => {
                let count = x.layout.count();
                call.write(*out, count, |call, out| {
                    call.gather(x, out)?;
                    Ok(bytes(count))
                })
            }
            Action::Multiply { x, columns, products } => multiply(x, *columns, products, call),
            Action::PickRows { lookup, indices, out } => pick_rows(lookup, indices, *out, call),
            Action::Normalize { x, weight, epsilon, out } => {
                let row = x.layout.shape.last().copied().unwrap_or(1);
                call.write(*out, x.layout.count(), |call, out| {
                    let weight = weight.as_deref().map(Tensor::f32s).transpose()?;
                    kernels::rms_norm(call.isa, Pool::shared(), call.dense(x)?, row, weight, *epsilon, out);
                    Ok(bytes(out.len()))
                })
            }
            Action::Rotate { x, cos, sin, out } => rotate(x, [cos, sin], *out, call),
            Action::Attend(attend) => attend.run(call),
            Action::Chain(chain) => chain.run(call),
            Action::Gate { gate, up, out } => call.write(*out, gate.layout.count(), |call, out| {
                kernels::silu_mul(call.isa, Pool::shared(), call.dense(gate)?, call.dense(up)?, out);
                Ok(2 * bytes(out.len()))
            }),
            Action::Add { x, y, out } => call.write(*out, x.layout.count(), |call, out| {
                kernels::add(call.isa, Pool::shared(), call.dense(x)?, call.dense(y)?, out);
                Ok(2 * bytes(out.len()))
            }),
            Action::Store { state, place, update, begin, end } => {
                store(state, place, update, [begin, end], call)
            }
        }
    }
}

/// The bytes of `count` numbers.
fn bytes(count: usize) -> u64 {
    (count * size_of::<f32>()) as u64
}

fn run(
    operation: &dyn Operation,
    inputs: &[Operand],
    outputs: &[Target],
    call: &mut Call<'_>,
) -> Result<u64, String> {
    let read = inputs.iter().map(|x| bytes(x.layout.count())).sum();
    let inputs = inputs.iter().map(|x| call.take(x)).collect::<Result<Vec<_>, _>>()?;
    let results = operation.run(inputs)?;
    if results.len() != outputs.len() {
        return Err(format!("it has {} results, expected {}", results.len(), outputs.len()));
    }
    for (mut result, target) in results.into_iter().zip(outputs) {
        result.expect_type(&target.ty)?;
        finish(&mut result, target.finish);
        if let Some(slot) = target.slot {
            call.slots[slot] = Some(Arc::new(result));
        }
    }
    Ok(read)
}

fn read(state: &str, take: bool, slot: Option<usize>, call: &mut Call<'_>) -> Result<u64, String> {
    let states = &mut call.memory.states;
    let tensor = if take { states.remove(state) } else { states.get(state).cloned() };
    let tensor = tensor.ok_or("the state is lost")?;
    if let Some(slot) = slot {
        call.slots[slot] = Some(tensor);
    }
    Ok(0)
}

fn write(state: &str, data: &Operand, call: &mut Call<'_>) -> Result<u64, String> {
    let tensor = call.take(data)?;
    let isa = call.isa;
    match call.memory.halves.get_mut(state) {
        Some(half) if half.shape != tensor.shape() => {
            return Err(format!("`data` has shape {:?}, the state {:?}", tensor.shape(), half.shape));
        }
        Some(half) => kernels::to_fp16(isa, Pool::shared(), tensor.f32s()?, &mut half.bits),
        None => drop(call.memory.states.insert(state.to_owned(), tensor)),
    }
    Ok(bytes(data.layout.count()))
}

fn multiply(x: &Operand, columns: usize, products: &[Weighted], call: &mut Call<'_>) -> Result<u64, String> {
    let mut outs: Vec<Vec<f32>> =
        products.iter().map(|p| std::mem::take(&mut call.memory.buffers[p.out])).collect();
    let mut rows = std::mem::replace(&mut call.memory.rows, kernels::Rows::empty());
    let result = call.dense(x).and_then(|x| {
        for (i, x) in x.chunks(AT_ONCE * columns).enumerate() {
            multiply_rows(call.isa, x, columns, products, &mut rows, &mut outs, i * AT_ONCE)?;
        }
        Ok(bytes(x.len()) + products.iter().map(|p| p.weight.read_bytes() as u64).sum::<u64>())
    });
    call.memory.rows = rows;
    for (product, out) in products.iter().zip(outs) {
        call.memory.buffers[product.out] = out;
    }
    result
}

/// The products of rows `x` of activations, which are the rows from `first` on of all.
fn multiply_rows(
    isa: Isa,
    x: &[f32],
    columns: usize,
    products: &[Weighted],
    rows: &mut kernels::Rows,
    outs: &mut [Vec<f32>],
    first: usize,
) -> Result<(), String> {
    let forms = kernels::forms_for(products.iter().map(|p| p.weight.as_ref()));
    rows.fill(isa, forms, x, columns, Pool::shared())?;
    let mut jobs = Vec::with_capacity(products.len());
    for (product, out) in products.iter().zip(outs) {
        let (weight, count) = (product.weight.as_ref(), rows.count());
        let out = out.get_mut(first * weight.rows()..(first + count) * weight.rows());
        jobs.push(Product { weight, out: out.ok_or("a buffer is too short")? });
    }
    kernels::multiply(isa, Pool::shared(), rows, &mut jobs);
    products.iter().zip(jobs).try_for_each(|(product, job)| add_bias(product, job.out))
}

fn add_bias(product: &Weighted, out: &mut [f32]) -> Result<(), String> {
    let Some(bias) = product.bias.as_deref().map(Tensor::f32s).transpose()? else { return Ok(()) };
    for row in out.chunks_exact_mut(bias.len().max(1)) {
        row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
    }
    Ok(())
}

fn pick_rows(lookup: &Lookup, indices: &Operand, out: usize, call: &mut Call<'_>) -> Result<u64, String> {
    let indices = call.take(indices)?;
    let count = indices.data().len() * lookup.weight.columns();
    call.write(out, count, |call, out| {
        lookup.fill(call.isa, &indices, out)?;
        Ok(bytes(count))
    })
}

fn rotate(x: &Operand, angles: [&Operand; 2], out: usize, call: &mut Call<'_>) -> Result<u64, String> {
    let [_, heads, tokens, size] = x.layout.shape[..] else { return Err("it has no heads".to_owned()) };
    let [_, head_step, token_step, _] = x.layout.strides[..] else {
        return Err("it has no heads".to_owned());
    };
    call.write(out, x.layout.count(), |call, out| {
        let x = call.dense(x)?;
        let [cos, sin] = angles.map(|angle| call.dense(angle));
        let (cos, sin) = (cos?, sin?);
        for token in 0..tokens {
            let angle = token * size..(token + 1) * size;
            for head in 0..heads {
                let at = head * head_step + token * token_step;
                let row = at..at + size;
                kernels::rotate(
                    call.isa,
                    &x[row.clone()],
                    &cos[angle.clone()],
                    &sin[angle.clone()],
                    &mut out[row],
                );
            }
        }
        Ok(bytes(out.len()))
    })
}

impl Attend {
    fn run(&self, call: &mut Call<'_>) -> Result<u64, String> {
        let [_, heads, tokens, size] = self.queries.layout.shape[..] else {
            return Err("it has no heads".to_owned());
        };
        let (kv_heads, context) = (self.keys.heads, self.keys.count);
        let strides = &self.queries.layout.strides;
        call.write(self.out, heads * tokens * size, |call, out| {
            let shape = Attention { heads, kv_heads, head_dim: size, scale: self.scale };
            let queries = Queries {
                data: &call.floats(&self.queries)?[self.queries.layout.offset..],
                count: tokens,
                token_stride: strides[2],
                head_stride: strides[1],
            };
            let mask = call.dense(&self.mask)?;
            let (keys, values) = (self.keys.cache(call)?, self.values.cache(call)?);
            let inputs = Inputs { queries, keys, values, mask, context };
            kernels::attend(call.isa, Pool::shared(), &shape, &inputs, out, heads * size);
            let filled = mask.chunks_exact(context).map(seen).max().unwrap_or(0);
            Ok((2 * kv_heads * filled * size * size_of::<u16>()) as u64)
        })
    }
}

/// The number of positions up to the last one that a row of a mask shows.
fn seen(mask: &[f32]) -> usize {
    mask.iter().rposition(|m| *m > f32::NEG_INFINITY).map_or(0, |last| last + 1)
}

fn store(
    state: &str,
    place: &SliceUpdate,
    update: &Operand,
    bounds: [&Operand; 2],
    call: &mut Call<'_>,
) -> Result<u64, String> {
    let begin = call.take(bounds[0])?;
    let end = call.take(bounds[1])?;
    let numbers = call.gathered(update)?.into_owned();
    let isa = call.isa;
    let half = call.memory.halves.get_mut(state).ok_or("the state is lost")?;
    let mut rest = numbers.as_slice();
    place.for_each_run(&half.shape, &update.layout.shape, [&begin, &end], |at, run| {
        let (now, later) = rest.split_at(run);
        kernels::to_fp16(isa, Pool::shared(), now, &mut half.bits[at..at + run]);
        rest = later;
    })?;
    Ok(bytes(numbers.len()))
}
