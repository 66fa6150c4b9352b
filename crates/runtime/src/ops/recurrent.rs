//! `lstm`: a layer of units with memory, run over the steps of a sequence.

use std::sync::Arc;

use super::arguments::Arguments;
use super::unary::sigmoid;
use super::{Operation, Problem, operands};
use crate::kernels;
use crate::tensor::{Tensor, room_for};

/// What an activation makes of a sum.
#[derive(Clone, Copy, Debug)]
enum Activation {
    Linear,
    Relu,
    Sigmoid,
    Tanh,
}

/// The weights of one direction. Rows of gates come in the order input, forget, output, cell.
#[derive(Debug)]
struct Direction {
    /// Whether the sequence is run from its end.
    reverse: bool,
    /// [4 H, in].
    weight_ih: Arc<Tensor>,
    /// [4 H, H].
    weight_hh: Arc<Tensor>,
    /// [4 H].
    bias: Option<Arc<Tensor>>,
    /// [3 H]: what input, forget and output gate see of the memory.
    peephole: Option<Arc<Tensor>>,
}

#[derive(Debug)]
struct Lstm {
    directions: Vec<Direction>,
    /// H.
    units: usize,
    /// in.
    columns: usize,
    /// Whether the outputs of all steps are wanted, not only of the last one.
    sequence: bool,
    /// Of the three gates.
    recurrent: Activation,
    /// Of what is remembered.
    cell: Activation,
    /// Of the memory that is put out.
    output: Activation,
    /// The sums before the activations are kept within plus and minus this.
    clip: Option<f32>,
}

/// Plans `lstm`. Products and sums accumulate in `f32` over all steps; results are rounded at the end only.
///
/// `clip` bounds the sums of all four gates, as the formulas of Core ML's own layer have it.
pub(super) fn lstm(args: &Arguments<'_>) -> Result<Box<dyn Operation>, Problem> {
    args.expect_floats(&["x", "initial_h", "initial_c"])?;
    let directions = match args.text("direction")?.unwrap_or("forward") {
        "forward" => vec![direction(args, "", false)?],
        "reverse" => vec![direction(args, "", true)?],
        "bidirectional" => vec![direction(args, "", false)?, direction(args, "_back", true)?],
        other => {
            return Err(Problem::Unsupported(format!(
                "`direction` is \"{other}\", expected \"forward\", \"reverse\" or \"bidirectional\""
            )));
        }
    };
    let sizes = |d: &Direction| [d.weight_hh.shape()[1], d.weight_ih.shape()[1]];
    let [units, columns] = sizes(&directions[0]);
    if directions.iter().any(|d| sizes(d) != [units, columns]) {
        return Err(Problem::Malformed(
            "`weight_ih` and `weight_ih_back` or their fellows differ in shape".to_owned(),
        ));
    }
    let clip = args.f32("clip")?;
    if clip.is_some_and(|c| c.is_nan() || c < 0.0) {
        return Err(Problem::Malformed(format!(
            "`clip` is {}, expected 0 or more",
            clip.unwrap_or_default()
        )));
    }
    Ok(Box::new(Lstm {
        directions,
        units,
        columns,
        sequence: args.flag("output_sequence")?,
        recurrent: activation(args, "recurrent_activation", Activation::Sigmoid)?,
        cell: activation(args, "cell_activation", Activation::Tanh)?,
        output: activation(args, "activation", Activation::Tanh)?,
        clip,
    }))
}

/// The weights whose parameters end in `suffix`, held against each other.
fn direction(args: &Arguments<'_>, suffix: &str, reverse: bool) -> Result<Direction, Problem> {
    let given = |stem: &str| -> Result<Option<Arc<Tensor>>, Problem> {
        let tensor = args.tensor(&format!("{stem}{suffix}"))?;
        tensor.as_ref().map(|t| t.f32s()).transpose()?;
        Ok(tensor)
    };
    let required = |stem: &str| -> Result<Arc<Tensor>, Problem> {
        given(stem)?.ok_or_else(|| Problem::Malformed(format!("parameter `{stem}{suffix}` is missing")))
    };
    let (weight_ih, weight_hh) = (required("weight_ih")?, required("weight_hh")?);
    let (bias, peephole) = (given("bias")?, given("peephole")?);
    let (&[gates, units], &[rows, columns]) = (weight_hh.shape(), weight_ih.shape()) else {
        return Err(Problem::Malformed(format!("`weight_ih{suffix}` or `weight_hh{suffix}` is no matrix")));
    };
    let fits = |t: &Option<Arc<Tensor>>, n: usize| t.as_ref().is_none_or(|t| t.shape() == [n]);
    let consistent = units.checked_mul(4) == Some(gates)
        && gates * columns > 0
        && rows == gates
        && fits(&bias, gates)
        && fits(&peephole, gates - units);
    if !consistent {
        return Err(Problem::Malformed(format!(
            "`weight_hh{suffix}` has shape {:?}, which the other weights do not fit; expected [4 H, H], \
             [4 H, in] for `weight_ih`, [4 H] for `bias`, [3 H] for `peephole`",
            weight_hh.shape()
        )));
    }
    Ok(Direction { reverse, weight_ih, weight_hh, bias, peephole })
}

fn activation(args: &Arguments<'_>, name: &str, default: Activation) -> Result<Activation, Problem> {
    let Some(text) = args.text(name)? else { return Ok(default) };
    match text.to_ascii_lowercase().as_str() {
        "linear" => Ok(Activation::Linear),
        "relu" => Ok(Activation::Relu),
        "sigmoid" => Ok(Activation::Sigmoid),
        "tanh" => Ok(Activation::Tanh),
        _ => Err(Problem::Unsupported(format!(
            "`{name}` is \"{text}\", expected \"linear\", \"relu\", \"sigmoid\" or \"tanh\""
        ))),
    }
}

impl Activation {
    fn of(self, x: f32) -> f32 {
        match self {
            Activation::Linear => x,
            Activation::Relu if x < 0.0 => 0.0,
            Activation::Relu => x,
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => x.tanh(),
        }
    }
}

/// Output and memory of one direction, [batch, H] each.
struct State {
    h: Vec<f32>,
    c: Vec<f32>,
}

impl Operation for Lstm {
    fn run(&self, inputs: Vec<Arc<Tensor>>) -> Result<Vec<Tensor>, String> {
        let [x, h, c] = operands(inputs)?;
        let &[steps, batch, columns] = x.shape() else {
            return Err(format!("`x` has shape {:?}, expected steps, batch and columns", x.shape()));
        };
        let width = self.units * self.directions.len();
        if columns != self.columns || h.shape() != [batch, width] || c.shape() != [batch, width] {
            return Err(format!(
                "`x`, `initial_h` and `initial_c` have shapes {:?}, {:?} and {:?}, expected [steps, batch, {}] and \
                 [batch, {width}]",
                x.shape(),
                h.shape(),
                c.shape(),
                self.columns
            ));
        }
        let rows = if self.sequence { steps } else { 1 };
        let mut y = vec![0f32; room_for(&[rows, batch, width])?];
        let (mut last_h, mut last_c) = (h.f32s()?.to_vec(), c.f32s()?.to_vec());
        for (i, direction) in self.directions.iter().enumerate() {
            let lanes = Lanes { start: i * self.units, units: self.units, width };
            let mut state = State { h: lanes.read(&last_h), c: lanes.read(&last_c) };
            self.pass(direction, x.f32s()?, &mut state, |step, h| {
                let row = if self.sequence { step } else { 0 };
                lanes.write(&mut y[row * batch * width..(row + 1) * batch * width], h);
            })?;
            lanes.write(&mut last_h, &state.h);
            lanes.write(&mut last_c, &state.c);
        }
        if steps == 0 && !self.sequence {
            y.copy_from_slice(&last_h);
        }
        let last = |v: Vec<f32>| Tensor::made(vec![batch, width], v);
        Ok(vec![Tensor::made(vec![rows, batch, width], y)?, last(last_h)?, last(last_c)?])
    }
}

/// The columns of one direction in rows that hold all.
#[derive(Clone, Copy)]
struct Lanes {
    start: usize,
    units: usize,
    width: usize,
}

impl Lanes {
    fn read(self, rows: &[f32]) -> Vec<f32> {
        let own = |row: &[f32]| row[self.start..self.start + self.units].to_vec();
        rows.chunks_exact(self.width.max(1)).flat_map(own).collect()
    }

    fn write(self, rows: &mut [f32], own: &[f32]) {
        let pairs = rows.chunks_exact_mut(self.width.max(1)).zip(own.chunks_exact(self.units.max(1)));
        pairs.for_each(|(row, own)| row[self.start..self.start + self.units].copy_from_slice(own));
    }
}

impl Lstm {
    /// Runs one direction over all steps of `x` and calls `put` with the output of each.
    fn pass(
        &self,
        direction: &Direction,
        x: &[f32],
        state: &mut State,
        mut put: impl FnMut(usize, &[f32]),
    ) -> Result<(), String> {
        if state.h.is_empty() {
            return Ok(());
        }
        let batch = state.h.len() / self.units;
        let gates = room_for(&[batch, self.units, 4])?;
        let (mut sums, mut recurrent) = (vec![0f32; gates], vec![0f32; gates]);
        let step = batch * self.columns;
        let steps = x.len().checked_div(step).unwrap_or(0);
        for i in 0..steps {
            let at = if direction.reverse { steps - 1 - i } else { i };
            kernels::matmul_transposed(
                &x[at * step..(at + 1) * step],
                direction.weight_ih.f32s()?,
                self.columns,
                &mut sums,
            );
            kernels::matmul_transposed(&state.h, direction.weight_hh.f32s()?, self.units, &mut recurrent);
            sums.iter_mut().zip(&recurrent).for_each(|(s, r)| *s += r);
            if let Some(bias) = &direction.bias {
                let bias = bias.f32s()?;
                sums.chunks_exact_mut(bias.len())
                    .for_each(|row| row.iter_mut().zip(bias).for_each(|(s, b)| *s += b));
            }
            let peephole = direction.peephole.as_deref().map(Tensor::f32s).transpose()?;
            for (n, sums) in sums.chunks_exact(4 * self.units).enumerate() {
                let own = n * self.units..(n + 1) * self.units;
                self.advance(sums, peephole, &mut state.h[own.clone()], &mut state.c[own]);
            }
            put(at, &state.h);
        }
        Ok(())
    }

    /// One step of one sequence: from the sums of the gates to the new output and memory.
    fn advance(&self, sums: &[f32], peephole: Option<&[f32]>, h: &mut [f32], c: &mut [f32]) {
        let n = self.units;
        let seen =
            |gate: usize, unit: usize, memory: f32| peephole.map_or(0.0, |p| p[gate * n + unit] * memory);
        let bounded = |v: f32| self.clip.map_or(v, |clip| v.clamp(-clip, clip));
        for unit in 0..n {
            let gate = |g: usize, memory: f32| {
                self.recurrent.of(bounded(sums[g * n + unit] + seen(g, unit, memory)))
            };
            let (input, forget) = (gate(0, c[unit]), gate(1, c[unit]));
            let cell = self.cell.of(bounded(sums[3 * n + unit]));
            c[unit] = forget * c[unit] + input * cell;
            h[unit] = gate(2, c[unit]) * self.output.of(c[unit]);
        }
    }
}

#[cfg(test)]
mod tests;
