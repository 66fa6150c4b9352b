//! A function turned into steps, once, so that running it only moves data.
//!
//! Planning fetches constants, runs the ops that read nothing else, parses constant parameters, and marks for every
//! operand whether this is its last use. A state is handed out by `read_state` without a copy; if the program writes the state before it
//! reads it again, the handle is the only one, and `slice_update` on it works in place.

mod constants;
mod fast;
mod memory;
mod planner;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anelith_mil::{DataType, Program, ProgramInfo, TensorType};

pub use constants::Constants;
pub(crate) use fast::{Half, Memory};
pub use fast::{StepInfo, StepTime};
pub(crate) use memory::MAX_BYTES;

use crate::error::{Error, Result};
use crate::kernels::{Isa, round_to_fp16};
use crate::ops::Operation;
use crate::ops::slice::SliceUpdate;
use crate::ops::weights::{Lookup, Projection};
use crate::tensor::{Tensor, TensorData};
use constants::Scope;
use fast::Fast;
use planner::Planner;

/// Where results are rounded; see the crate's documentation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Precision {
    /// Every fp16-typed result is rounded to fp16.
    Exact,
    /// Nothing is rounded.
    F32,
    /// Nothing is rounded but states; products with palettized weights are taken in fixed point. For speed.
    Fast,
}

/// How a program is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where results are rounded.
    pub precision: Precision,
    /// The instructions that [`Precision::Fast`] uses; the machine must have them, whatever the precision.
    pub isa: Isa,
    /// Whether [`Precision::Fast`] may bring weights into another form than that in which they are stored, for which it
    /// takes time and memory: where that changes results, while the plan is made, else after some runs.
    pub repack: bool,
}

impl From<Precision> for Options {
    /// The best instructions that the machine has, and weights in the form that suits them.
    fn from(precision: Precision) -> Options {
        Options { precision, isa: Isa::best(), repack: true }
    }
}

/// An input, output or state of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feature {
    /// Name in the program.
    pub name: String,
    /// Element type and shape; extents may be unknown for flexible inputs.
    pub ty: TensorType,
}

/// The contents of states between calls, by name.
pub(crate) type States = BTreeMap<String, Arc<Tensor>>;

/// A function ready to run.
#[derive(Debug)]
pub struct Plan {
    function: String,
    inputs: Vec<(Feature, usize)>,
    states: Vec<Feature>,
    outputs: Vec<(Feature, Source)>,
    slots: usize,
    steps: Vec<Step>,
    precision: Precision,
    /// In place of steps and outputs.
    fast: Option<Fast>,
}

#[derive(Debug)]
struct Step {
    /// The op, for messages.
    at: String,
    /// Its place in the function.
    op: usize,
    action: Action,
    outputs: Vec<Target>,
}

#[derive(Debug)]
enum Action {
    Run(Box<dyn Operation>, Vec<Source>),
    Update(SliceUpdate, Vec<Source>),
    Project(Projection, Source),
    PickRows(Lookup, Source),
    /// `take` when the program writes the state before it reads it again.
    Read {
        state: String,
        take: bool,
    },
    Write {
        state: String,
        data: Source,
    },
}

/// Where an operand comes from.
#[derive(Clone, Debug)]
enum Source {
    Constant(Arc<Tensor>),
    Slot { slot: usize, last: bool },
}

/// Where a result goes: nowhere if nothing reads it.
#[derive(Debug)]
struct Target {
    slot: Option<usize>,
    /// What later ops rely on, also where a flexible shape kept the type from being inferred.
    ty: TensorType,
    finish: Finish,
}

/// How a result takes on the precision of its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finish {
    Keep,
    RoundToFp16,
    Wrap(DataType),
}

impl Plan {
    /// Plans `function` of `program`.
    ///
    /// # Errors
    /// [`Error::Isa`] for instructions that the machine lacks; [`Error::NoFunction`]; [`Error::Unsupported`] and [`Error::Malformed`] naming the op that cannot be
    /// run, also for want of memory: states and values may take 64 GiB at a time; [`Error::Weights`] when a
    /// blob cannot be read.
    pub fn new(
        program: &Program,
        info: &ProgramInfo,
        constants: &mut Constants<'_>,
        function: &str,
        options: impl Into<Options>,
    ) -> Result<Plan> {
        let Options { precision, isa, repack } = options.into();
        if !isa.is_here() {
            let here: Vec<String> = Isa::here().map(|isa| format!("{isa:?}")).collect();
            return Err(Error::Isa { isa: format!("{isa:?}"), here: here.join(", ") });
        }
        let index = program.functions.iter().position(|f| f.name == function);
        let found = index.and_then(|i| program.functions.get(i).zip(info.functions.get(i)));
        let (function, info) = found.ok_or_else(|| Error::NoFunction {
            name: function.to_owned(),
            available: program
                .functions
                .iter()
                .map(|f| format!("`{}`", f.name))
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let (mut plan, folded) = Planner::new(Scope::new(function, info), constants, precision).plan()?;
        if precision == Precision::Fast {
            let fast = Fast::new(&mut plan, &folded, function, info, (isa, repack));
            let fast = fast.map_err(|(at, problem)| plan.failed(&at, problem))?;
            let later = fast.prepare();
            let (values, at) = fast.room(&plan.inputs);
            memory::check(&plan.states, values, constants.held_bytes().saturating_add(later)).map_err(
                |problem| {
                    let (function, opset) = (function.name.clone(), function.opset.text_name());
                    Error::Unsupported { function, opset, at, problem }
                },
            )?;
            plan.fast = Some(fast);
        }
        Ok(plan)
    }

    /// The name of the function.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// What the function takes, in declaration order, without the states.
    pub fn inputs(&self) -> impl Iterator<Item = &Feature> {
        self.inputs.iter().map(|(f, _)| f)
    }

    /// What the function returns, in declaration order.
    pub fn outputs(&self) -> impl Iterator<Item = &Feature> {
        let plain = self.outputs.iter().map(|(f, _)| f);
        plain.chain(self.fast.iter().flat_map(Fast::outputs))
    }

    /// The states that the function reads or writes, in declaration order.
    pub fn states(&self) -> impl Iterator<Item = &Feature> {
        self.states.iter()
    }

    /// The bytes that a run takes beside states and weights, where that is known before it runs: in a fast plan.
    pub(crate) fn room(&self) -> u64 {
        self.fast.as_ref().map_or(0, |fast| fast.room(&self.inputs).0)
    }

    /// Runs the function on `inputs`, one for each of `self.inputs()`, whose types have been checked; what each step
    /// takes is told to `observe`, one call a step of `self.steps()`.
    ///
    /// # Errors
    /// [`Error::Run`] with the op that failed; the states are then incomplete.
    pub(crate) fn run(
        &self,
        inputs: Vec<Tensor>,
        memory: &mut Memory,
        observe: Option<&mut dyn FnMut(StepTime)>,
    ) -> Result<Vec<(String, Tensor)>> {
        let inputs = self.inputs.iter().zip(inputs).map(|((feature, slot), mut tensor)| {
            finish(&mut tensor, finish_of(feature.ty.dtype, self.precision));
            (*slot, tensor)
        });
        let inputs: Vec<(usize, Tensor)> = inputs.collect();
        match &self.fast {
            Some(fast) => {
                let outputs = fast.run(inputs, memory, observe);
                outputs.map_err(|(at, problem)| self.failed(&at, problem))
            }
            None => self.run_plain(inputs, &mut memory.states, observe),
        }
    }

    /// Walks the steps of a plain plan.
    fn run_plain(
        &self,
        inputs: Vec<(usize, Tensor)>,
        states: &mut States,
        mut observe: Option<&mut dyn FnMut(StepTime)>,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut values: Vec<Option<Arc<Tensor>>> = vec![None; self.slots];
        for (slot, tensor) in inputs {
            values[slot] = Some(Arc::new(tensor));
        }
        for step in &self.steps {
            let start = Instant::now();
            step.run(&mut values, states).map_err(|problem| self.failed(&step.at, problem))?;
            if let Some(observe) = &mut observe {
                observe(StepTime { time: start.elapsed(), bytes: step.weight_bytes() });
            }
        }
        let output = |(feature, source): &(Feature, Source)| {
            let tensor = fetch(source, &mut values).map_err(|p| self.failed(&feature.name, p))?;
            Ok((feature.name.clone(), Arc::unwrap_or_clone(tensor)))
        };
        self.outputs.iter().map(output).collect()
    }

    /// What each step is.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo> + '_ {
        self.steps.iter().map(Step::describe).chain(self.fast.iter().flat_map(Fast::steps))
    }

    /// The bytes of the weights that one run reads whole: what memory must deliver.
    pub fn weight_bytes(&self) -> u64 {
        let plain: u64 = self.steps.iter().map(Step::weight_bytes).sum();
        plain + self.fast.as_ref().map_or(0, Fast::weight_bytes)
    }

    fn failed(&self, at: &str, problem: String) -> Error {
        Error::Run { function: self.function.clone(), at: at.to_owned(), problem }
    }
}

/// The value of an operand; at its last use the slot gives it up.
fn fetch(source: &Source, values: &mut [Option<Arc<Tensor>>]) -> Result<Arc<Tensor>, String> {
    let value = match source {
        Source::Constant(tensor) => return Ok(Arc::clone(tensor)),
        Source::Slot { slot, last: true } => values[*slot].take(),
        Source::Slot { slot, last: false } => values[*slot].clone(),
    };
    value.ok_or_else(|| "an operand has no value".to_owned())
}

/// Runs an op of a plain plan.
fn run(
    operation: &dyn Operation,
    sources: &[Source],
    values: &mut [Option<Arc<Tensor>>],
) -> Result<Vec<Arc<Tensor>>, String> {
    let inputs = sources.iter().map(|s| fetch(s, values)).collect::<Result<Vec<_>, _>>()?;
    Ok(operation.run(inputs)?.into_iter().map(Arc::new).collect())
}

impl Step {
    fn describe(&self) -> StepInfo {
        let (kind, kernel) = match &self.action {
            Action::Run(..) => ("other op", "plain"),
            Action::Update(..) | Action::Read { .. } | Action::Write { .. } => ("state", "plain"),
            Action::Project(..) => ("matrix product", "exact"),
            Action::PickRows(..) => ("lookup", "exact"),
        };
        let shapes: Vec<String> = self.outputs.iter().map(|target| target.ty.to_string()).collect();
        StepInfo { op: self.at.clone(), kind, kernel: kernel.to_owned(), shape: shapes.join(", ") }
    }

    fn weight_bytes(&self) -> u64 {
        match &self.action {
            Action::Project(projection, _) => projection.weight.byte_len() as u64,
            _ => 0,
        }
    }

    fn run(&self, values: &mut [Option<Arc<Tensor>>], states: &mut States) -> Result<(), String> {
        let results: Vec<_> = match &self.action {
            Action::Run(operation, sources) => run(operation.as_ref(), sources, values)?,
            Action::Update(update, sources) => run(update, sources, values)?,
            Action::Project(projection, x) => run(projection, std::slice::from_ref(x), values)?,
            Action::PickRows(lookup, indices) => run(lookup, std::slice::from_ref(indices), values)?,
            Action::Read { state, take: true } => vec![states.remove(state).ok_or("the state is lost")?],
            Action::Read { state, take: false } => {
                vec![Arc::clone(states.get(state).ok_or("the state is lost")?)]
            }
            Action::Write { state, data } => {
                states.insert(state.clone(), fetch(data, values)?);
                Vec::new()
            }
        };
        if results.len() != self.outputs.len() {
            return Err(format!("it has {} results, expected {}", results.len(), self.outputs.len()));
        }
        for (mut result, target) in results.into_iter().zip(&self.outputs) {
            result.expect_type(&target.ty)?;
            if target.finish != Finish::Keep {
                finish(Arc::make_mut(&mut result), target.finish);
            }
            if let Some(slot) = target.slot {
                values[slot] = Some(result);
            }
        }
        Ok(())
    }
}

fn finish_of(dtype: DataType, precision: Precision) -> Finish {
    match dtype {
        DataType::Fp16 if precision == Precision::Exact => Finish::RoundToFp16,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 | DataType::UInt16 => Finish::Wrap(dtype),
        _ => Finish::Keep,
    }
}

fn finish(tensor: &mut Tensor, how: Finish) {
    match (how, tensor.data_mut()) {
        (Finish::RoundToFp16, TensorData::F32(v)) => round_to_fp16(v),
        (Finish::Wrap(dtype), TensorData::I32(v)) => v.iter_mut().for_each(|v| *v = wrapped(*v, dtype)),
        _ => {}
    }
}

/// The low bits of `v` that an integer type of 8 or 16 bits keeps.
#[allow(clippy::cast_possible_truncation, reason = "dropping the high bits is the point")]
fn wrapped(v: i32, dtype: DataType) -> i32 {
    match dtype {
        DataType::Int8 => i32::from(v as i8),
        DataType::UInt8 => i32::from(v as u8),
        DataType::Int16 => i32::from(v as i16),
        DataType::UInt16 => i32::from(v as u16),
        _ => v,
    }
}
