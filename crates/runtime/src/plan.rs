//! A function turned into steps, once, so that running it only moves data.
//!
//! Planning fetches constants, parses constant parameters, and marks for every operand whether this is its
//! last use. A state is handed out by `read_state` without a copy; if the program writes the state before it
//! reads it again, the handle is the only one, and `slice_update` on it works in place.

mod constants;

use std::collections::BTreeMap;
use std::sync::Arc;

use anelith_mil::{
    Argument, DataType, Dim, Function, Op, OpKind, Opcode, Operand, ParamKind, Program, ProgramInfo,
    TensorType, Type, VarId,
};

pub use constants::Constants;
use constants::{Known, Scope};

use crate::error::{Error, Result};
use crate::kernels::round_to_fp16;
use crate::ops::arguments::{Arguments, Constant};
use crate::ops::{self, Operation, Planned, Problem};
use crate::tensor::{Tensor, TensorData};

/// Tensors larger than this are refused when the plan is made: 8 GiB as `f32`.
const MAX_ELEMENTS: u64 = 1 << 31;

/// Where results are rounded; see the crate's documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// Every fp16-typed result is rounded to fp16.
    Exact,
    /// Nothing is rounded.
    F32,
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
}

#[derive(Debug)]
struct Step {
    /// The op, for messages.
    at: String,
    action: Action,
    outputs: Vec<Target>,
}

#[derive(Debug)]
enum Action {
    Run(Box<dyn Operation>, Vec<Source>),
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
    /// [`Error::NoFunction`]; [`Error::Unsupported`] and [`Error::Malformed`] naming the op that cannot be
    /// run; [`Error::Weights`] when a blob cannot be read.
    pub fn new(
        program: &Program,
        info: &ProgramInfo,
        constants: &mut Constants<'_>,
        function: &str,
        precision: Precision,
    ) -> Result<Plan> {
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
        Planner { scope: Scope { function, info }, constants, precision }.plan()
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
        self.outputs.iter().map(|(f, _)| f)
    }

    /// The states that the function reads or writes, in declaration order.
    pub fn states(&self) -> impl Iterator<Item = &Feature> {
        self.states.iter()
    }

    /// Runs the function on `inputs`, one for each of `self.inputs()`, whose types have been checked.
    ///
    /// # Errors
    /// [`Error::Run`] with the op that failed; the states are then incomplete.
    pub(crate) fn run(&self, inputs: Vec<Tensor>, states: &mut States) -> Result<Vec<(String, Tensor)>> {
        let mut values: Vec<Option<Arc<Tensor>>> = vec![None; self.slots];
        for ((feature, slot), mut tensor) in self.inputs.iter().zip(inputs) {
            finish(&mut tensor, finish_of(feature.ty.dtype, self.precision));
            values[*slot] = Some(Arc::new(tensor));
        }
        for step in &self.steps {
            step.run(&mut values, states).map_err(|problem| self.failed(&step.at, problem))?;
        }
        let output = |(feature, source): &(Feature, Source)| {
            let tensor = fetch(source, &mut values).map_err(|p| self.failed(&feature.name, p))?;
            Ok((feature.name.clone(), Arc::unwrap_or_clone(tensor)))
        };
        self.outputs.iter().map(output).collect()
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

impl Step {
    fn run(&self, values: &mut [Option<Arc<Tensor>>], states: &mut States) -> Result<(), String> {
        let results = match &self.action {
            Action::Run(operation, sources) => {
                let inputs = sources.iter().map(|s| fetch(s, values)).collect::<Result<Vec<_>, _>>()?;
                operation.run(inputs)?.into_iter().map(Arc::new).collect()
            }
            Action::Read { state, take: true } => vec![states.remove(state).ok_or("the state is lost")?],
            Action::Read { state, take: false } => {
                vec![Arc::clone(states.get(state).ok_or("the state is lost")?)]
            }
            Action::Write { state, data } => {
                states.insert(state.clone(), fetch(data, values)?);
                Vec::new()
            }
        };
        for (mut result, target) in results.into_iter().zip(&self.outputs) {
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

/// Makes one plan.
struct Planner<'f, 'c, 'w> {
    scope: Scope<'f>,
    constants: &'c mut Constants<'w>,
    precision: Precision,
}

impl<'f> Planner<'f, '_, '_> {
    fn plan(mut self) -> Result<Plan> {
        let function = self.scope.function;
        let mut plan = Plan {
            function: function.name.clone(),
            inputs: Vec::new(),
            states: Vec::new(),
            outputs: Vec::new(),
            slots: function.vars.len(),
            steps: Vec::new(),
            precision: self.precision,
        };
        for id in &function.inputs {
            let var = function.var(*id);
            let feature = |ty: &TensorType| Feature { name: var.name.clone(), ty: ty.clone() };
            let at = || format!("input `{}`", var.name);
            match &var.ty {
                Type::Tensor(ty) => plan.inputs.push((feature(ty), id.0 as usize)),
                Type::State(ty) if ty.fixed_shape().is_none() => {
                    let problem = format!("a state of the flexible type {ty}");
                    return Err(self.error(at(), Problem::Unsupported(problem)));
                }
                Type::State(ty) => plan.states.push(feature(ty)),
                other => return Err(self.error(at(), Problem::Unsupported(format!("type {other}")))),
            }
            check_type(&var.ty).map_err(|p| self.error(at(), p))?;
        }
        for (index, op) in function.ops.iter().enumerate() {
            let step = self.step(index, op).map_err(|p| self.error(label(op), p))?;
            plan.steps.extend(step);
        }
        plan.outputs = self.outputs()?;
        Ok(plan)
    }

    fn error(&self, at: String, problem: Problem) -> Error {
        let (function, opset) = (self.scope.function.name.clone(), self.scope.function.opset.text_name());
        match problem {
            Problem::Unsupported(problem) => Error::Unsupported { function, opset, at, problem },
            Problem::Malformed(problem) => Error::Malformed { function, opset, at, problem },
            Problem::Weights(error) => Error::Weights(error),
        }
    }

    /// The step of one op; none for constants.
    fn step(&mut self, index: usize, op: &'f Op) -> Result<Option<Step>, Problem> {
        let opcode = self.opcode(op)?;
        if op.kind.is_constant() {
            return Ok(None);
        }
        let vars = &self.scope.function.vars;
        let arguments = self.arguments(opcode, op)?;
        let (action, computed) = match ops::plan(&arguments)? {
            Planned::Constant => return Ok(None),
            Planned::Computed(operation) => (Action::Run(operation, self.sources(index, opcode, op)?), true),
            Planned::Moved(operation) => (Action::Run(operation, self.sources(index, opcode, op)?), false),
            Planned::ReadState => {
                let (state, id) = self.state(op)?;
                (Action::Read { state, take: self.is_written_next(index, id) }, false)
            }
            Planned::WriteState => {
                let (state, _) = self.state(op)?;
                let mut data = self.sources(index, opcode, op)?;
                let data = data.pop().ok_or_else(|| "parameter `data` is missing".to_owned())?;
                (Action::Write { state, data }, false)
            }
        };
        let target = |id: &VarId| -> Result<Target, Problem> {
            let at = id.0 as usize;
            let used = self.scope.info.last_uses.get(at).copied().flatten().is_some();
            let ty = check_type(&vars[at].ty)?;
            let finish = if computed { finish_of(ty.dtype, self.precision) } else { Finish::Keep };
            Ok(Target { slot: used.then_some(at), finish })
        };
        let outputs = op.outputs.iter().map(target).collect::<Result<_, _>>()?;
        Ok(Some(Step { at: label(op), action, outputs }))
    }

    fn opcode(&self, op: &Op) -> Result<Opcode, Problem> {
        match &op.kind {
            OpKind::Known(opcode) if op.kind.release(self.scope.function.opset).is_some() => Ok(*opcode),
            OpKind::Known(opcode) => {
                let first = opcode.info().releases.first().copied().unwrap_or_default();
                Err(Problem::Malformed(format!("the op exists from ios{first} on")))
            }
            OpKind::Foreign(_) => Err(Problem::Unsupported("the executor has no such op".to_owned())),
        }
    }

    /// The declared types of the operands, and the values of those that are known.
    fn arguments(&mut self, opcode: Opcode, op: &'f Op) -> Result<Arguments<'f>, Problem> {
        let vars = &self.scope.function.vars;
        let mut types: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut constants = BTreeMap::new();
        for (name, argument) in &op.inputs {
            for operand in argument.operands() {
                let ty = match operand {
                    Operand::Var(id) => &vars[id.0 as usize].ty,
                    Operand::Value(value) => &value.ty,
                };
                if let Type::Tensor(ty) = ty {
                    types.entry(name.as_str()).or_default().push(ty);
                }
            }
            if is_parameter(opcode, name)
                && let Argument::One(operand) = argument
                && let Some(known) = self.scope.known(operand)
            {
                constants.insert(name.as_str(), self.constant(known)?);
            }
        }
        Ok(Arguments { opcode, types, constants })
    }

    fn constant(&mut self, known: Known<'f>) -> Result<Constant<'f>, Problem> {
        match known {
            Known::Literal(value) if value.dtype() == Some(DataType::String) => {
                let text = value.as_str().ok_or_else(|| "a constant has several strings".to_owned())?;
                Ok(Constant::Text(text))
            }
            known => Ok(Constant::Tensor(self.constants.tensor(self.scope, known)?)),
        }
    }

    /// The tensor operands of an op in the order of the op table.
    fn sources(&mut self, index: usize, opcode: Opcode, op: &'f Op) -> Result<Vec<Source>, Problem> {
        let mut sources = Vec::new();
        for param in opcode.info().params {
            if !matches!(param.kind, ParamKind::Tensor | ParamKind::Tensors) {
                continue;
            }
            let argument = op.inputs.get(param.name);
            let argument = argument.ok_or_else(|| format!("parameter `{}` is missing", param.name))?;
            for operand in argument.operands() {
                sources.push(self.source(operand)?);
            }
        }
        mark_last_uses(&mut sources, |slot| self.scope.info.last_uses.get(slot) == Some(&Some(index)));
        Ok(sources)
    }

    fn source(&mut self, operand: &'f Operand) -> Result<Source, Problem> {
        match (self.scope.known(operand), operand) {
            (Some(known), _) => Ok(Source::Constant(self.constants.tensor(self.scope, known)?)),
            (None, Operand::Var(id)) => Ok(Source::Slot { slot: id.0 as usize, last: false }),
            (None, Operand::Value(_)) => Err("a literal has no value".to_owned().into()),
        }
    }

    /// The state bound to `input`.
    fn state(&self, op: &Op) -> Result<(String, VarId), Problem> {
        match op.inputs.get("input") {
            Some(Argument::One(Operand::Var(id))) => Ok((self.scope.function.var(*id).name.clone(), *id)),
            _ => Err("parameter `input` is not a state".to_owned().into()),
        }
    }

    /// Whether the next op after `index` that touches the state `id` writes it.
    fn is_written_next(&self, index: usize, id: VarId) -> bool {
        let next = self.scope.function.ops[index + 1..].iter().find(|op| op.reads().any(|v| v == id));
        next.is_some_and(|op| op.kind.is(Opcode::WriteState))
    }

    fn outputs(&mut self) -> Result<Vec<(Feature, Source)>> {
        let function: &'f Function = self.scope.function;
        let mut features = Vec::new();
        let mut sources = Vec::new();
        for id in &function.outputs {
            let var = function.var(*id);
            let at = || format!("output `{}`", var.name);
            let ty = check_type(&var.ty).map_err(|p| self.error(at(), p))?;
            features.push(Feature { name: var.name.clone(), ty: ty.clone() });
            let source = match self.scope.defined(*id) {
                Some(known) => self.constants.tensor(self.scope, known).map(Source::Constant),
                None => Ok(Source::Slot { slot: id.0 as usize, last: false }),
            };
            sources.push(source.map_err(|p| self.error(at(), p))?);
        }
        mark_last_uses(&mut sources, |_| true);
        Ok(features.into_iter().zip(sources).collect())
    }
}

/// Marks the last of several uses of a slot by one reader, for the slots that nobody reads later.
fn mark_last_uses(sources: &mut [Source], is_last_reader: impl Fn(usize) -> bool) {
    let mut seen = Vec::new();
    for source in sources.iter_mut().rev() {
        if let Source::Slot { slot, last } = source
            && !seen.contains(slot)
        {
            seen.push(*slot);
            *last = is_last_reader(*slot);
        }
    }
}

/// Whether the value of a parameter is looked at when the plan is made, not when it runs.
fn is_parameter(opcode: Opcode, name: &str) -> bool {
    opcode.info().param(name).is_some_and(|p| p.kind == ParamKind::Const)
}

fn label(op: &Op) -> String {
    format!("op `{}` ({})", op.name(), op.kind.name())
}

/// The tensor type of a variable, if the executor holds such tensors.
fn check_type(ty: &Type) -> Result<&TensorType, Problem> {
    let (Type::Tensor(tensor) | Type::State(tensor)) = ty else {
        return Err(Problem::Unsupported(format!("a variable of type {ty}, expected a tensor")));
    };
    let held = matches!(
        tensor.dtype,
        DataType::Bool
            | DataType::Fp16
            | DataType::Fp32
            | DataType::Int8
            | DataType::UInt8
            | DataType::Int16
            | DataType::UInt16
            | DataType::Int32
    );
    let known = |d: &Dim| if let Dim::Known(n) = d { *n } else { 1 };
    let count = tensor.shape.iter().map(known).try_fold(1u64, u64::checked_mul);
    match (held, count) {
        (true, Some(count)) if count <= MAX_ELEMENTS => Ok(tensor),
        (true, _) => Err(Problem::Unsupported(format!("{tensor} has more than {MAX_ELEMENTS} elements"))),
        (false, _) => Err(Problem::Unsupported(format!("a variable of type {ty}"))),
    }
}
