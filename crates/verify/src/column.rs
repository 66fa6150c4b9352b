//! One way of running a text: a program, how numbers are computed, and what was seen of it.

use anelith_mil::VarId;
use anelith_mil::blob::WeightStore;
use anelith_mil::digest::Digest;
use anelith_mil::{Function, Program};
use anelith_reference::Matrix;
use anelith_runtime::{Precision, Tensor, TensorData};

use crate::agreement::digest;
use crate::error::Result;
use crate::figures::{Comparison, Row};
use crate::graph::{self, Anatomy};
use crate::machine::{INFER, Machine};
use crate::noise::{Noise, energy, energy_of_change};
use crate::package::{Package, Plain};
use crate::saturation::Gauge;

/// What is run, and so which errors it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The checkpoint's weights as fp16, without lookup tables, rounding as the program says: fp16 alone.
    Fp16,
    /// The package, rounding nowhere: its weights alone.
    Lut,
    /// The package as it is on the disk, rounding as the program says.
    Both,
}

impl Part {
    /// How numbers are computed.
    pub(crate) fn precision(self) -> Precision {
        if self == Part::Lut { Precision::F32 } else { Precision::Exact }
    }
}

/// The names of variables.
fn names(function: &Function, vars: &[VarId]) -> Vec<String> {
    vars.iter().map(|var| function.var(*var).name.clone()).collect()
}

/// A text on its way through a program, token by token, each with what the reference has computed of it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) part: Part,
    machine: Machine,
    function: String,
    logits: Vec<String>,
    stream: Vec<String>,
    comparison: Comparison,
    /// Of the hidden state after each block but the head.
    noise: Vec<Noise>,
    /// Of the column that the verification is about.
    gauge: Option<Gauge>,
    /// Of the logits of the first window, of the same column.
    pub(crate) digests: Vec<Digest>,
}

impl Column {
    /// The package; with `gauge` everything that it computes is looked at.
    pub(crate) fn of_package(package: &Package, part: Part, gauge: Option<Gauge>) -> Result<Column> {
        let (program, weights) = (&package.bundle.model.program, &package.bundle.weights);
        Column::new(part, (program, INFER), weights, &package.anatomy, package.context, gauge)
    }

    /// What the checkpoint gives without lookup tables.
    pub(crate) fn of_plain(plain: &Plain, context: usize) -> Result<Column> {
        let program = Program { functions: vec![plain.function.clone()], ..Program::default() };
        let name = plain.function.name.as_str();
        Column::new(Part::Fp16, (&program, name), &plain.weights, &plain.anatomy, context, None)
    }

    fn new(
        part: Part,
        (program, name): (&Program, &str),
        weights: &WeightStore,
        anatomy: &Anatomy,
        context: usize,
        gauge: Option<Gauge>,
    ) -> Result<Column> {
        let Some(function) = program.function(name) else { unreachable!("whoever calls has looked it up") };
        let mut more = [anatomy.logits.as_slice(), &anatomy.stream].concat();
        more.extend(gauge.iter().flat_map(Gauge::vars));
        let (program, info) = graph::returning(program, name, &more)?;
        Ok(Column {
            part,
            machine: Machine::new((&program, &info), weights, &[name], context, part.precision())?,
            function: name.to_owned(),
            logits: names(function, &anatomy.logits),
            stream: names(function, &anatomy.stream),
            comparison: Comparison::default(),
            noise: vec![Noise::default(); anatomy.stream.len()],
            gauge,
            digests: Vec::new(),
        })
    }

    /// A window begins.
    pub(crate) fn reset(&mut self) {
        self.machine.reset();
    }

    /// Runs the token `id` at `position` of its window, `token` of the text.
    pub(crate) fn step(
        &mut self,
        (id, position, token): (u32, usize, usize),
        row: &Row<'_>,
        hidden: &[&[f32]],
    ) -> Result<()> {
        let outputs = self.machine.call(&self.function, &[id], position, Vec::new())?;
        let logits = outputs.joined(&self.logits)?;
        self.comparison.take(row, &logits);
        for ((name, noise), expected) in self.stream.iter().zip(&mut self.noise).zip(hidden) {
            noise.take(expected, outputs.f32s(name)?, energy(expected));
        }
        if let Some(gauge) = &mut self.gauge {
            gauge.take(&outputs, token)?;
            if token == position {
                self.digests.push(digest(&logits));
            }
        }
        Ok(())
    }

    /// What all tokens together say; the noise after each block; and the gauge.
    pub(crate) fn finish(self) -> (Part, Comparison, Vec<Noise>, Option<Gauge>) {
        (self.part, self.comparison, self.noise, self.gauge)
    }
}

/// The package cut before every block: each gets what the reference has, so that only its own error shows.
#[derive(Debug)]
pub(crate) struct Blocks {
    machine: Machine,
    /// The shape of the residual stream.
    shapes: Vec<Vec<usize>>,
    logits: Vec<String>,
    embedding: Vec<String>,
    added: Vec<String>,
    noise: Vec<Noise>,
}

impl Blocks {
    pub(crate) fn new(package: &Package, precision: Precision) -> Result<Blocks> {
        let (function, anatomy) = (package.infer()?, &package.anatomy);
        let (program, info) = graph::cut(function, anatomy)?;
        let weights = &package.bundle.weights;
        Ok(Blocks {
            machine: Machine::new((&program, &info), weights, &[INFER], package.context, precision)?,
            shapes: anatomy.stream.iter().map(|var| graph::extents(function, *var)).collect(),
            logits: names(function, &anatomy.logits),
            embedding: names(function, &anatomy.stream[..1]),
            added: names(function, &anatomy.added),
            noise: vec![Noise::default(); anatomy.stream.len() + 1],
        })
    }

    pub(crate) fn reset(&mut self) {
        self.machine.reset();
    }

    /// As [`Column::step`].
    pub(crate) fn step(&mut self, id: u32, position: usize, row: &Row<'_>, hidden: &[&[f32]]) -> Result<()> {
        let stream = hidden.iter().zip(&self.shapes).enumerate().map(|(number, (state, shape))| {
            let tensor = Tensor::new(shape, TensorData::F32(state.to_vec()))?;
            Ok((graph::stream_input(number), tensor))
        });
        let stream = stream.collect::<Result<Vec<_>>>()?;
        let outputs = self.machine.call(INFER, &[id], position, stream)?;
        let (first, last) = (outputs.joined(&self.embedding)?, outputs.joined(&self.logits)?);
        let mut noise = self.noise.iter_mut();
        if let (Some(noise), Some(state)) = (noise.next(), hidden.first()) {
            noise.take(state, &first, energy(state));
        }
        for ((name, noise), states) in self.added.iter().zip(&mut noise).zip(hidden.windows(2)) {
            let [before, after] = states else { continue };
            let added: Vec<f32> = before.iter().zip(*after).map(|(x, y)| y - x).collect();
            noise.take(&added, outputs.f32s(name)?, energy_of_change(before, after));
        }
        if let Some(noise) = noise.next() {
            let mean = row.logits().iter().sum::<f32>() / row.logits().len() as f32;
            let centred: Vec<f32> = row.logits().iter().map(|logit| logit - mean).collect();
            noise.take(row.logits(), &last, energy(&centred));
        }
        Ok(())
    }

    /// The error of each block by itself.
    pub(crate) fn finish(self) -> Vec<Noise> {
        self.noise
    }
}

/// The hidden states of a token after each block.
pub(crate) fn hidden(states: &[Matrix], row: usize) -> Vec<&[f32]> {
    states.iter().filter_map(|state| state.row(row)).collect()
}
