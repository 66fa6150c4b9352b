//! Chains: ops that do something to each element alone, done together tile by tile.
//!
//! One op after the other would read and write memory for each of them. A chain takes a tile of every operand, does
//! all ops to it while it is in the cache nearest to the core, and writes a tile of the result. Tiles depend on
//! nothing but their own elements, and functions are those of the ops (`ops/function.rs`), so the result has the
//! bits that the ops would give one by one, at any number of threads.

mod find;
mod reading;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::layout::Layout;
use super::operand::{Call, Operand, Place};
use crate::kernels::Pool;
use crate::ops::Function;
use crate::plan::Source;
use reading::{Numbers, Reading};

pub(super) use find::find;

/// The elements of a tile: 4 KiB, so that the operands and inner results of common chains fit into 32 KiB together.
const TILE: usize = 1 << 10;

/// The sums that are worth a thread.
const PART: usize = 1 << 14;

/// The ops that are one chain at most; inner results of more would leave the cache.
const MOST_OPS: usize = 32;

/// An op of a chain that is to be.
pub(super) struct Member {
    /// MIL's name of the op.
    pub(super) name: String,
    pub(super) function: Function,
    pub(super) operands: Vec<Source>,
    /// The slot of its result.
    pub(super) result: usize,
}

/// Functions of elements, one upon the other.
#[derive(Debug)]
pub(super) struct Chain {
    /// The ops, for whoever looks at the plan.
    pub(super) names: String,
    pub(super) operands: Vec<Operand>,
    /// How each operand is read.
    readings: Vec<Reading>,
    functions: Vec<Step>,
    /// How many inner results there are at a time.
    tiles: usize,
    /// The shape of the result.
    shape: Vec<usize>,
    pub(super) out: usize,
}

/// One function.
#[derive(Debug)]
struct Step {
    function: Function,
    from: Vec<Value>,
    /// The tile that it writes; the last function writes the result.
    to: usize,
}

/// What a function reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    Operand(usize),
    /// The result of an earlier function: while a chain is made, which function; then, in which tile.
    Inner(usize),
}

impl Chain {
    /// The chain of `members`, each of which stands after those that it reads, with results of `shape`; its result is
    /// that of the last one. `operand` tells where operands are. The other answer is how the result lies.
    pub(super) fn new(
        members: Vec<Member>,
        shape: &[usize],
        mut operand: impl FnMut(&Source) -> Operand,
    ) -> (Chain, Layout) {
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let names = names.join("+");
        let mut known: Vec<(Key, Value)> = Vec::new();
        let mut operands = Vec::new();
        let mut functions: Vec<Step> = Vec::new();
        let mut flags = Vec::new();
        for member in members {
            let is_select = matches!(member.function, Function::Select);
            let mut read = |(index, source): (usize, &Source)| {
                let key = Key::of(source);
                if let Some((_, value)) = known.iter().find(|(k, _)| *k == key) {
                    return *value;
                }
                let value = Value::Operand(operands.len());
                known.push((key, value));
                operands.push(operand(source));
                flags.push(is_select && index == 0);
                value
            };
            let from: Vec<Value> = member.operands.iter().enumerate().map(&mut read).collect();
            let value = match (member.function, &from[..]) {
                (Function::Same, [value]) => *value,
                (function, _) => {
                    functions.push(Step { function, from, to: 0 });
                    Value::Inner(functions.len() - 1)
                }
            };
            known.push((Key::Slot(member.result), value));
        }
        let tiles = share_tiles(&mut functions);
        let layout = order(&operands, shape);
        let reading =
            |(operand, is_flag): (&Operand, &bool)| Reading::new(&operand.layout, &layout, *is_flag);
        let readings = operands.iter().zip(&flags).map(reading).collect();
        let chain = Chain { names, operands, readings, functions, tiles, shape: shape.to_vec(), out: 0 };
        (chain, layout)
    }

    /// The extents of the result, in words.
    pub(super) fn shape(&self) -> String {
        let extents: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        extents.join(" x ")
    }

    /// Computes the chain; the bytes that it read.
    pub(super) fn run(&self, call: &mut Call<'_>) -> Result<u64, String> {
        call.write(self.out, self.shape.iter().product(), |call, out| {
            let pairs = self.operands.iter().zip(&self.readings);
            let numbers = pairs.map(|(operand, reading)| reading.open(call, operand));
            let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
            self.compute(Pool::shared(), &numbers, out);
            let read: usize = self.operands.iter().map(|operand| operand.layout.count()).sum();
            Ok((read * size_of::<f32>()) as u64)
        })
    }

    /// Writes the result to `out`, the memory of the operands being `numbers`.
    fn compute(&self, pool: &Pool, numbers: &[Numbers<'_>], out: &mut [f32]) {
        let cost: usize = self.functions.iter().map(|step| step.function.cost()).sum();
        let part = (PART / cost.max(1)).next_multiple_of(TILE);
        pool.for_each_chunk(out, part, &|index, out| {
            let mut scratch = Scratch {
                operands: self.readings.iter().map(Reading::scratch).collect(),
                inner: vec![vec![0.0; TILE]; self.tiles],
            };
            for (tile, out) in out.chunks_mut(TILE).enumerate() {
                self.tile(numbers, index * part + tile * TILE, &mut scratch, out);
            }
        });
    }

    /// Computes the elements from `start` on.
    fn tile(&self, numbers: &[Numbers<'_>], start: usize, scratch: &mut Scratch, out: &mut [f32]) {
        let length = out.len();
        for ((reading, numbers), tile) in self.readings.iter().zip(numbers).zip(&mut scratch.operands) {
            if !tile.is_empty() {
                reading.read(numbers, start, &mut tile[..length]);
            }
        }
        let last = self.functions.len().saturating_sub(1);
        for (index, step) in self.functions.iter().enumerate() {
            // Taken out, so that the others can be read while it is written; it is none of those that are.
            let mut own =
                if index == last { Vec::new() } else { std::mem::take(&mut scratch.inner[step.to]) };
            let mut from: [&[f32]; 3] = [&[]; 3];
            for (from, value) in from.iter_mut().zip(&step.from) {
                *from = match *value {
                    Value::Inner(tile) => &scratch.inner[tile][..length],
                    Value::Operand(operand) => {
                        match self.readings[operand].in_place(&numbers[operand], start, length) {
                            Some(numbers) => numbers,
                            None => &scratch.operands[operand][..length],
                        }
                    }
                };
            }
            let to = if index == last { &mut *out } else { &mut own[..length] };
            step.function.apply(&from[..step.from.len()], to);
            if index != last {
                scratch.inner[step.to] = own;
            }
        }
    }
}

/// The tiles that a thread works in.
struct Scratch {
    /// One for each operand that is not read where it lies; the others are empty.
    operands: Vec<Vec<f32>>,
    inner: Vec<Vec<f32>>,
}

/// What makes two operands of a chain one.
#[derive(PartialEq, Eq)]
enum Key {
    Slot(usize),
    /// The address of a constant.
    Constant(usize),
}

impl Key {
    fn of(source: &Source) -> Key {
        match source {
            Source::Slot { slot, .. } => Key::Slot(*slot),
            Source::Constant(tensor) => Key::Constant(Arc::as_ptr(tensor) as usize),
        }
    }
}

/// Gives each function a tile for its result that nobody needs any more when it runs, and that it does not read;
/// answers how many there are.
fn share_tiles(functions: &mut [Step]) -> usize {
    let mut last_reads = vec![0; functions.len()];
    for (index, step) in functions.iter().enumerate() {
        for value in &step.from {
            if let Value::Inner(made) = value {
                last_reads[*made] = index;
            }
        }
    }
    let mut free: Vec<usize> = Vec::new();
    let mut tiles = 0;
    let mut places = vec![0; functions.len()];
    for (index, step) in functions.iter_mut().enumerate() {
        let mut done = Vec::new();
        for value in &mut step.from {
            if let Value::Inner(made) = *value {
                *value = Value::Inner(places[made]);
                if last_reads[made] == index && !done.contains(&places[made]) {
                    done.push(places[made]);
                }
            }
        }
        step.to = free.pop().unwrap_or_else(|| {
            tiles += 1;
            tiles - 1
        });
        places[index] = step.to;
        free.append(&mut done);
    }
    tiles
}

/// How a result of `shape` lies best: as the first operand of that shape that fills its memory, so that this one need
/// not be gathered; what is computed counts before constants.
fn order(operands: &[Operand], shape: &[usize]) -> Layout {
    let fits = |operand: &&Operand| operand.layout.shape == shape && operand.layout.is_dense();
    let is_computed = |operand: &&Operand| !matches!(operand.place, Place::Constant(_));
    let mut found = operands.iter().filter(fits);
    match found.clone().find(is_computed).or_else(|| found.next()) {
        Some(operand) => Layout { offset: 0, ..operand.layout.clone() },
        None => Layout::plain(shape),
    }
}
