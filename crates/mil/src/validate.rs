//! Proves that a program keeps the rules of MIL; the writers and the planner ask for the proof.
//!
//! The rules: identifiers are well formed and unique; a variable is assigned once, before it is read; every
//! required argument is there, of the right kind, and no unknown one; literals hold as many elements as their
//! type says; declared output types are the inferred ones (ops of the table, fixed shapes); no function
//! returns the very value that it writes to a state, which crashes Core ML on load (coremltools PR 2713).

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Invalid;
use crate::infer::{Call, KnownArgument};
use crate::opset::{OpInfo, OpKind, Opcode, ParamKind};
use crate::program::{Argument, Function, Op, Operand, Program, VarId};
use crate::text;
use crate::types::{Dim, TensorType, Type};
use crate::value::Value;

/// The proof that a program is valid, and what was learnt on the way.
#[derive(Debug, Clone, Default)]
pub struct ProgramInfo {
    /// One entry a function, in the program's order.
    pub functions: Vec<FunctionInfo>,
}

/// What is known of one function. Each table is indexed by `VarId`.
#[derive(Debug, Clone, Default)]
pub struct FunctionInfo {
    /// How often a variable is read, by ops and, once more, by being returned.
    pub use_counts: Vec<u32>,
    /// The index of the last op that reads a variable; the number of ops if the function returns it.
    pub last_uses: Vec<Option<usize>>,
    /// The index of the op that assigns a variable; `None` for inputs.
    pub definitions: Vec<Option<usize>>,
}

impl FunctionInfo {
    /// The value of a variable that a `const` op assigns.
    pub fn const_value<'f>(&self, function: &'f Function, var: VarId) -> Option<&'f Value> {
        let op = function.ops.get((*self.definitions.get(var.0 as usize)?)?)?;
        op.kind.is(Opcode::Const).then(|| op.attributes.get("val")).flatten()
    }
}

/// Checks every function of `program`.
///
/// # Errors
/// The first broken rule of each function, with the op it is broken in.
pub fn validate(program: &Program) -> Result<ProgramInfo, Vec<Invalid>> {
    let mut info = ProgramInfo::default();
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for function in &program.functions {
        if !names.insert(&function.name) {
            problems.push(invalid(function, "name", "another function has the same name"));
        }
        match validate_function(function) {
            Ok(learnt) => info.functions.push(learnt),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(info) } else { Err(problems) }
}

fn invalid(function: &Function, at: impl Into<String>, problem: impl Into<String>) -> Invalid {
    Invalid { function: function.name.clone(), at: at.into(), problem: problem.into() }
}

/// Whether `name` is an identifier of MIL: a letter or `_`, then letters, digits, `_` and `@`.
pub fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@')
}

fn validate_function(function: &Function) -> Result<FunctionInfo, Invalid> {
    let mut checker = Checker::new(function)?;
    for (i, op) in function.ops.iter().enumerate() {
        let at = |problem: String| {
            let what = format!("op `{}` ({})", op.name(), op.kind.name());
            invalid(function, what, format!("{problem}\n    {}", text::print_op(function, op)))
        };
        checker.operation(i, op).map_err(at)?;
    }
    checker.outputs()
}

/// Walks a function from the first op to the last, keeping what is assigned so far.
struct Checker<'f> {
    function: &'f Function,
    info: FunctionInfo,
    assigned: Vec<bool>,
    written: BTreeSet<VarId>,
}

impl<'f> Checker<'f> {
    fn new(function: &'f Function) -> Result<Self, Invalid> {
        let count = function.vars.len();
        let mut names = BTreeSet::new();
        for var in &function.vars {
            if !is_identifier(&var.name) {
                return Err(invalid(
                    function,
                    format!("variable `{}`", var.name),
                    "the name is no identifier",
                ));
            }
            if !names.insert(&var.name) {
                let at = format!("variable `{}`", var.name);
                return Err(invalid(function, at, "another variable has the same name"));
            }
        }
        if !is_identifier(&function.name) {
            return Err(invalid(function, "name", "is no identifier"));
        }
        let info = FunctionInfo {
            use_counts: vec![0; count],
            last_uses: vec![None; count],
            definitions: vec![None; count],
        };
        let mut checker = Checker { function, info, assigned: vec![false; count], written: BTreeSet::new() };
        for id in &function.inputs {
            checker.assign(*id, None).map_err(|p| invalid(function, "inputs", p))?;
        }
        Ok(checker)
    }

    fn assign(&mut self, id: VarId, op: Option<usize>) -> Result<(), String> {
        let at = id.0 as usize;
        match self.assigned.get(at) {
            None => return Err(format!("variable number {at} does not exist")),
            Some(true) => {
                return Err(format!("variable `{}` is assigned twice", self.function.vars[at].name));
            }
            Some(false) => self.assigned[at] = true,
        }
        self.info.definitions[at] = op;
        Ok(())
    }

    fn read(&mut self, id: VarId, by: usize) -> Result<(), String> {
        let at = id.0 as usize;
        match self.assigned.get(at) {
            None => return Err(format!("variable number {at} does not exist")),
            Some(false) => {
                return Err(format!(
                    "variable `{}` is read before it is assigned",
                    self.function.vars[at].name
                ));
            }
            Some(true) => {}
        }
        self.info.use_counts[at] += 1;
        self.info.last_uses[at] = Some(by);
        Ok(())
    }

    fn operation(&mut self, index: usize, op: &'f Op) -> Result<(), String> {
        for id in op.reads() {
            self.read(id, index)?;
        }
        self.literals(op)?;
        if let OpKind::Known(opcode) = op.kind {
            self.known(opcode, op)?;
        }
        for id in &op.outputs {
            self.assign(*id, Some(index))?;
        }
        Ok(())
    }

    fn literals(&self, op: &Op) -> Result<(), String> {
        let inline = op.operands().filter_map(|(name, o)| match o {
            Operand::Value(v) => Some((name, v)),
            Operand::Var(_) => None,
        });
        let attributes = op.attributes.iter().map(|(name, v)| (name.as_str(), v));
        for (name, value) in inline.chain(attributes) {
            if !value.is_well_formed() {
                return Err(format!("`{name}` does not hold what its type {} says", value.ty));
            }
        }
        Ok(())
    }

    /// The rules of an op of the table.
    fn known(&mut self, opcode: Opcode, op: &'f Op) -> Result<(), String> {
        let info = opcode.info();
        if op.kind.release(self.function.opset).is_none() {
            return Err(format!("opset {} does not have this op", self.function.opset));
        }
        if opcode == Opcode::Const {
            return self.constant(op);
        }
        if op.attributes.keys().any(|k| k != "name") {
            // constexpr ops before iOS 18 keep their parameters in attributes; they are foreign to inference.
            return if op.kind.is_constant() {
                Ok(())
            } else {
                Err("has attributes other than `name`".into())
            };
        }
        let call = self.call(info, op)?;
        if opcode == Opcode::WriteState {
            self.written.extend(op.inputs.get("data").into_iter().flat_map(variables));
        }
        if call.arguments.values().flatten().any(|a| is_flexible(a.ty)) {
            return Ok(());
        }
        let inferred = (info.infer)(&call)?;
        self.compare(op, &inferred)
    }

    fn constant(&self, op: &Op) -> Result<(), String> {
        let value = op.attributes.get("val").ok_or("attribute `val` is missing")?;
        self.compare(op, std::slice::from_ref(&value.ty))
    }

    fn compare(&self, op: &Op, inferred: &[Type]) -> Result<(), String> {
        if inferred.len() != op.outputs.len() {
            return Err(format!("has {} outputs, expected {}", op.outputs.len(), inferred.len()));
        }
        for (id, ty) in op.outputs.iter().zip(inferred) {
            let var = self.function.vars.get(id.0 as usize).ok_or("an output does not exist")?;
            if var.ty != *ty {
                return Err(format!("`{}` is declared {}, inferred {ty}", var.name, var.ty));
            }
        }
        Ok(())
    }

    /// The arguments as inference sees them, after checking that they are the ones that `info` lists.
    fn call(&self, info: &OpInfo, op: &'f Op) -> Result<Call<'f>, String> {
        for param in info.params.iter().filter(|p| !p.optional) {
            if !op.inputs.contains_key(param.name) {
                return Err(format!("parameter `{}` is missing", param.name));
            }
        }
        let mut arguments = BTreeMap::new();
        for (name, argument) in &op.inputs {
            let param = info.param(name).ok_or_else(|| format!("`{name}` is no parameter of this op"))?;
            let known: Vec<_> = argument.operands().iter().map(|o| self.known_argument(o)).collect();
            check_kind(name, param.kind, argument, &known)?;
            arguments.insert(name.as_str(), known);
        }
        Ok(Call { arguments })
    }

    fn known_argument(&self, operand: &'f Operand) -> KnownArgument<'f> {
        match operand {
            Operand::Value(v) => KnownArgument { ty: &v.ty, value: Some(v), constant: true },
            Operand::Var(id) => {
                let definition = self.info.definitions[id.0 as usize].map(|i| &self.function.ops[i]);
                KnownArgument {
                    ty: &self.function.var(*id).ty,
                    value: self.info.const_value(self.function, *id),
                    constant: definition.is_some_and(|op| op.kind.is_constant()),
                }
            }
        }
    }

    fn outputs(mut self) -> Result<FunctionInfo, Invalid> {
        let function = self.function;
        if function.outputs.is_empty() {
            return Err(invalid(function, "outputs", "the function returns nothing"));
        }
        for id in &function.outputs {
            self.read(*id, function.ops.len()).map_err(|p| invalid(function, "outputs", p))?;
            if self.written.contains(id) {
                let at = format!("output `{}`", function.var(*id).name);
                return Err(invalid(function, at, "is also written to a state; return a copy of it"));
            }
        }
        Ok(self.info)
    }
}

fn variables(argument: &Argument) -> impl Iterator<Item = VarId> {
    argument.operands().iter().filter_map(|o| match o {
        Operand::Var(v) => Some(*v),
        Operand::Value(_) => None,
    })
}

fn is_flexible(ty: &Type) -> bool {
    matches!(ty, Type::Tensor(TensorType { shape, .. }) if shape.contains(&Dim::Unknown))
}

fn check_kind(
    name: &str,
    kind: ParamKind,
    argument: &Argument,
    known: &[KnownArgument<'_>],
) -> Result<(), String> {
    let single = known.len() == 1;
    match kind {
        ParamKind::Tensors => Ok(()),
        _ if !single => Err(format!("`{name}` has {} operands, expected one", argument.operands().len())),
        ParamKind::Const if !known[0].constant => Err(format!("`{name}` must be a constant")),
        ParamKind::State if !matches!(known[0].ty, Type::State(_)) => {
            Err(format!("`{name}` has type {}, expected a state", known[0].ty))
        }
        ParamKind::Tensor if matches!(known[0].ty, Type::State(_)) => {
            Err(format!("`{name}` is a state; read it with read_state"))
        }
        _ => Ok(()),
    }
}
