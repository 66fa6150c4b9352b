//! Makes plans: looks at each op once, with everything that is known before the program runs.

mod fold;

use std::collections::BTreeMap;
use std::sync::Arc;

use anelith_mil::{
    Argument, DataType, Dim, Function, Op, OpKind, Opcode, Operand, ParamKind, TensorType, Type, VarId,
};

use super::constants::{Constants, Known, Scope};
use super::memory;
use super::{Action, Feature, Finish, Plan, Precision, Source, Step, Target, finish_of};
use crate::error::{Error, Result};
use crate::kernels::Matrix;
use crate::ops::arguments::{Arguments, Constant};
use crate::ops::{self, Planned, Problem};
use crate::tensor::{MAX_ELEMENTS, Tensor};
use fold::Folds;

/// Makes one plan.
pub(super) struct Planner<'f, 'c, 'w> {
    scope: Scope<'f>,
    constants: &'c mut Constants<'w>,
    precision: Precision,
    /// The ops that make palettized weights, by their results, which are dense only where that is asked for.
    packed: BTreeMap<VarId, &'f Op>,
    folds: Folds,
}

impl<'f, 'c, 'w> Planner<'f, 'c, 'w> {
    /// A planner of the function in `scope`.
    pub(super) fn new(scope: Scope<'f>, constants: &'c mut Constants<'w>, precision: Precision) -> Self {
        Planner { scope, constants, precision, packed: BTreeMap::new(), folds: Folds::default() }
    }

    /// The plan of the function in scope, and what it reads of the results of folded ops.
    pub(super) fn plan(mut self) -> Result<(Plan, BTreeMap<VarId, Arc<Tensor>>)> {
        let function = self.scope.function;
        let mut plan = Plan {
            function: function.name.clone(),
            inputs: Vec::new(),
            states: Vec::new(),
            outputs: Vec::new(),
            slots: function.vars.len(),
            steps: Vec::new(),
            precision: self.precision,
            fast: None,
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
        self.check_memory(&plan)?;
        Ok((plan, self.folds.into_results()))
    }

    /// Refuses a function whose states, values and constants take more than `MAX_BYTES` at a time.
    fn check_memory(&self, plan: &Plan) -> Result<()> {
        let (values, step) = memory::peak(plan);
        memory::check(&plan.states, values, self.constants.held_bytes()).map_err(|problem| {
            let at = plan.steps.get(step).map_or("the function".to_owned(), |step| step.at.clone());
            self.error(at, Problem::Unsupported(problem))
        })
    }

    fn error(&self, at: String, problem: Problem) -> Error {
        let (function, opset) = (self.scope.function.name.clone(), self.scope.function.opset.text_name());
        match problem {
            Problem::Unsupported(problem) => Error::Unsupported { function, opset, at, problem },
            Problem::Malformed(problem) => Error::Malformed { function, opset, at, problem },
            Problem::Weights(error) => Error::Weights(error),
        }
    }

    /// The step of one op; none for constants and for what is made of them alone.
    fn step(&mut self, index: usize, op: &'f Op) -> Result<Option<Step>, Problem> {
        let opcode = self.opcode(op)?;
        if op.kind.is_constant() {
            match opcode {
                Opcode::Const => {}
                // Where only products and lookups read it, it need never be dense.
                Opcode::ConstexprLutToDense => self.packed.extend(op.outputs.iter().map(|var| (*var, op))),
                _ => self.unpack(opcode, op)?,
            }
            return Ok(None);
        }
        let candidate = self.candidate(opcode, op);
        if candidate.as_ref().is_some_and(|candidate| self.recall(candidate, index, op)) {
            return Ok(None);
        }
        let step = self.action(index, opcode, op)?;
        Ok(match (candidate, step) {
            (Some(candidate), Some(step)) => self.fold(candidate, step, op),
            (_, step) => step,
        })
    }

    /// The step of an op that is no constant.
    fn action(&mut self, index: usize, opcode: Opcode, op: &'f Op) -> Result<Option<Step>, Problem> {
        let vars = &self.scope.function.vars;
        let arguments = self.arguments(opcode, op)?;
        let (action, computed) = match ops::plan(&arguments)? {
            Planned::Constant => return Ok(None),
            Planned::Computed(operation) => (Action::Run(operation, self.sources(index, opcode, op)?), true),
            Planned::Moved(operation) => (Action::Run(operation, self.sources(index, opcode, op)?), false),
            Planned::Update(update) => (Action::Update(update, self.sources(index, opcode, op)?), false),
            Planned::Project(projection) => {
                (Action::Project(projection, self.source_of(index, op, "x")?), true)
            }
            Planned::PickRows(lookup) => {
                (Action::PickRows(lookup, self.source_of(index, op, "indices")?), false)
            }
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
            Ok(Target { slot: used.then_some(at), ty: ty.clone(), finish })
        };
        let outputs = op.outputs.iter().map(target).collect::<Result<_, _>>()?;
        Ok(Some(Step { at: label(op), op: index, action, outputs }))
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
        let function = self.scope.function;
        let vars = &function.vars;
        let mut types: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut constants = BTreeMap::new();
        let mut weights = BTreeMap::new();
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
            let Argument::One(operand) = argument else { continue };
            if is_weight(opcode, name)
                && let Some(weight) = self.weight(operand)?
            {
                weights.insert(name.as_str(), weight);
            } else if is_parameter(opcode, name)
                && let Some(known) = self.known(operand)?
            {
                constants.insert(name.as_str(), self.constant(known)?);
            }
        }
        Ok(Arguments { opcode, opset: function.opset, types, constants, weights })
    }

    /// The weight that an operand is, if it can be worked with as it is stored.
    fn weight(&mut self, operand: &'f Operand) -> Result<Option<Arc<Matrix>>, Problem> {
        if let Operand::Var(var) = operand
            && let Some(op) = self.packed.get(var)
        {
            let literal = |name: &str| match op.inputs.get(name) {
                Some(Argument::One(operand)) => match self.scope.known(operand) {
                    Some(Known::Literal(value)) => Some(value),
                    _ => None,
                },
                _ => None,
            };
            return match literal("indices").zip(literal("lut")) {
                Some((indices, lut)) => self.constants.palettized_matrix(indices, lut),
                None => Ok(None),
            };
        }
        match self.scope.known(operand) {
            Some(Known::Literal(value)) => self.constants.stored_matrix(value),
            _ => Ok(None),
        }
    }

    /// Unpacks the results of a constexpr op, and first the parameters that are such results.
    fn unpack(&mut self, opcode: Opcode, op: &'f Op) -> Result<(), Problem> {
        for argument in op.inputs.values() {
            argument.operands().iter().try_for_each(|operand| self.known(operand).map(drop))?;
        }
        let round = self.precision == Precision::Exact;
        self.constants.unpack(&mut self.scope, opcode, op, round)
    }

    /// The constant behind an operand, unpacked if it was not yet; `None` for what the program computes.
    fn known(&mut self, operand: &'f Operand) -> Result<Option<Known<'f>>, Problem> {
        if let Operand::Var(var) = operand {
            return self.defined(*var);
        }
        Ok(self.scope.known(operand))
    }

    fn defined(&mut self, var: VarId) -> Result<Option<Known<'f>>, Problem> {
        if self.scope.defined(var).is_none()
            && let Some(op) = self.packed.get(&var).copied()
        {
            self.unpack(self.opcode(op)?, op)?;
        }
        Ok(self.scope.defined(var))
    }

    fn constant(&mut self, known: Known<'f>) -> Result<Constant<'f>, Problem> {
        match known {
            Known::Literal(value) if value.dtype() == Some(DataType::String) => {
                let text = value.as_str().ok_or_else(|| "a constant has several strings".to_owned())?;
                Ok(Constant::Text(text))
            }
            known => Ok(Constant::Tensor(self.constants.tensor(known)?)),
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

    /// The operand bound to `name`, alone.
    fn source_of(&mut self, index: usize, op: &'f Op, name: &str) -> Result<Source, Problem> {
        let Some(Argument::One(operand)) = op.inputs.get(name) else {
            return Err(format!("parameter `{name}` is missing").into());
        };
        let mut source = [self.source(operand)?];
        mark_last_uses(&mut source, |slot| self.scope.info.last_uses.get(slot) == Some(&Some(index)));
        let [source] = source;
        Ok(source)
    }

    fn source(&mut self, operand: &'f Operand) -> Result<Source, Problem> {
        if let Operand::Var(var) = operand
            && let Some(tensor) = self.folds.get(*var)
        {
            return Ok(Source::Constant(Arc::clone(tensor)));
        }
        match (self.known(operand)?, operand) {
            (Some(known), Operand::Var(id)) => self.constant_source(known, *id),
            (Some(known), Operand::Value(_)) => Ok(Source::Constant(self.constants.tensor(known)?)),
            (None, Operand::Var(id)) => Ok(Source::Slot { slot: id.0 as usize, last: false }),
            (None, Operand::Value(_)) => Err("a literal has no value".to_owned().into()),
        }
    }

    /// The constant that the variable `id` is, which must be of the type that the variable declares.
    fn constant_source(&mut self, known: Known<'f>, id: VarId) -> Result<Source, Problem> {
        let var = self.scope.function.var(id);
        let tensor = self.constants.tensor(known)?;
        let checked = tensor.expect_type(check_type(&var.ty)?);
        checked.map_err(|problem| format!("constant `{}`: {problem}", var.name))?;
        Ok(Source::Constant(tensor))
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
            let source = match (self.folds.get(*id).cloned(), self.defined(*id)) {
                (Some(tensor), _) => Ok(Source::Constant(tensor)),
                (None, Ok(Some(known))) => self.constant_source(known, *id),
                (None, Ok(None)) => Ok(Source::Slot { slot: id.0 as usize, last: false }),
                (None, Err(problem)) => Err(problem),
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

/// Whether the op can work with the operand bound to `name` as it is stored.
fn is_weight(opcode: Opcode, name: &str) -> bool {
    matches!((opcode, name), (Opcode::Conv | Opcode::Linear, "weight") | (Opcode::Gather, "x"))
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
    // As in `element_count`: an axis of no elements does not excuse the others.
    let known = |d: &Dim| if let Dim::Known(n) = d { (*n).max(1) } else { 1 };
    let count = tensor.shape.iter().map(known).try_fold(1u64, u64::checked_mul);
    match (held, count) {
        (true, Some(count)) if count <= MAX_ELEMENTS as u64 => Ok(tensor),
        (true, _) => Err(Problem::Unsupported(format!("{tensor} has more than {MAX_ELEMENTS} elements"))),
        (false, _) => Err(Problem::Unsupported(format!("a variable of type {ty}"))),
    }
}
