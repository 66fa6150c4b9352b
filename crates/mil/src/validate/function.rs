//! The rules of one function.

use std::collections::BTreeSet;

use crate::call::Scope;
use crate::error::Invalid;
use crate::infer::{self, Call, KnownArgument};
use crate::opset::{OpKind, Opcode};
use crate::program::{Function, Op, Operand, VarId};
use crate::text;
use crate::types::Type;

use super::{FunctionInfo, is_identifier, is_reserved};

pub(super) fn validate(function: &Function) -> Result<FunctionInfo, Invalid> {
    let mut checker = Checker::new(function)?;
    for (i, op) in function.ops.iter().enumerate() {
        let at = |problem: String| {
            let what = format!("op `{}` ({})", op.name(), op.kind.name());
            Invalid::new(&function.name, what, format!("{problem}\n    {}", quote(function, op)))
        };
        checker.operation(i, op).map_err(at)?;
    }
    checker.outputs()
}

/// The op as text, cut where a literal would fill the screen.
fn quote(function: &Function, op: &Op) -> String {
    const LIMIT: usize = 1000;
    let text = text::print_op(function, op);
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
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
        check_names(function)?;
        let count = function.vars.len();
        let info = FunctionInfo { last_uses: vec![None; count], definitions: vec![None; count] };
        let mut checker = Checker { function, info, assigned: vec![false; count], written: BTreeSet::new() };
        for id in &function.inputs {
            checker.assign(*id, None).map_err(|p| Invalid::new(&function.name, "inputs", p))?;
        }
        if let Some((name, value)) = function.attributes.iter().find(|(_, v)| !v.is_well_formed()) {
            let problem = format!("does not hold what its type {} says", value.ty);
            return Err(Invalid::new(&function.name, format!("attribute `{name}`"), problem));
        }
        Ok(checker)
    }

    fn assign(&mut self, id: VarId, op: Option<usize>) -> Result<(), String> {
        let at = id.0 as usize;
        match self.assigned.get_mut(at) {
            None => return Err(format!("variable number {at} does not exist")),
            Some(true) => {
                return Err(format!("variable `{}` is assigned twice", self.function.vars[at].name));
            }
            Some(assigned) => *assigned = true,
        }
        self.info.definitions[at] = op;
        Ok(())
    }

    fn read(&mut self, id: VarId, by: usize) -> Result<(), String> {
        let at = id.0 as usize;
        match self.assigned.get(at) {
            None => return Err(format!("variable number {at} does not exist")),
            Some(false) => {
                let name = &self.function.vars[at].name;
                return Err(format!("variable `{name}` is read before it is assigned"));
            }
            Some(true) => {}
        }
        self.info.last_uses[at] = Some(by);
        Ok(())
    }

    fn operation(&mut self, index: usize, op: &'f Op) -> Result<(), String> {
        check_words(op)?;
        for id in op.reads() {
            self.read(id, index)?;
        }
        if let Some((name, value)) = op.literals().find(|(_, v)| !v.is_well_formed()) {
            return Err(format!("`{name}` does not hold what its type {} says", value.ty));
        }
        if let OpKind::Known(opcode) = op.kind {
            self.known(opcode, op)?;
        }
        for id in &op.outputs {
            self.assign(*id, Some(index))?;
            let var = self.function.var(*id);
            if matches!(var.ty, Type::State(_)) {
                return Err(format!("`{}` has type {}, but only inputs may be states", var.name, var.ty));
            }
        }
        Ok(())
    }

    /// The rules of an op of the table.
    fn known(&mut self, opcode: Opcode, op: &'f Op) -> Result<(), String> {
        let opset = self.function.opset;
        let release = op.kind.release(opset).ok_or_else(|| format!("opset {opset} does not have this op"))?;
        if opcode == Opcode::Const {
            return self.constant(op);
        }
        if op.kind.is_constant() && release < 18 {
            return self.attributes_form(op);
        }
        if let Some(name) = op.attributes.keys().find(|k| *k != "name") {
            return Err(format!("has an attribute `{name}`, expected none but `name`"));
        }
        let scope = Scope { function: self.function, definitions: &self.info.definitions };
        if let Some(inferred) = scope.infer(opcode, &op.inputs)? {
            self.compare(op, &inferred)?;
        }
        if opcode == Opcode::WriteState {
            let data = op.operands().filter(|(name, _)| *name == "data");
            self.written.extend(data.filter_map(|(_, operand)| match operand {
                Operand::Var(id) => Some(*id),
                Operand::Value(_) => None,
            }));
        }
        Ok(())
    }

    /// A constexpr op as it was defined before iOS 18: its parameters are attributes.
    fn attributes_form(&self, op: &Op) -> Result<(), String> {
        if let Some(name) = op.inputs.keys().next() {
            return Err(format!("has an argument `{name}`, expected an attribute of that name"));
        }
        let parameters = op.attributes.iter().filter(|(name, _)| *name != "name");
        let arguments = parameters.map(|(name, value)| {
            (name.as_str(), vec![KnownArgument { ty: &value.ty, value: Some(value), constant: true }])
        });
        self.compare(op, &infer::as_attributes(op.kind.name(), &Call { arguments: arguments.collect() })?)
    }

    fn constant(&self, op: &Op) -> Result<(), String> {
        if let Some(name) = op.inputs.keys().next() {
            return Err(format!("has an argument `{name}`, expected none"));
        }
        if let Some(name) = op.attributes.keys().find(|k| !matches!(k.as_str(), "name" | "val")) {
            return Err(format!("has an attribute `{name}`, expected none but `name` and `val`"));
        }
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

    fn outputs(mut self) -> Result<FunctionInfo, Invalid> {
        let function = self.function;
        if function.outputs.is_empty() {
            return Err(Invalid::new(&function.name, "outputs", "the function returns nothing"));
        }
        let mut returned = BTreeSet::new();
        for id in &function.outputs {
            self.read(*id, function.ops.len()).map_err(|p| Invalid::new(&function.name, "outputs", p))?;
            let var = function.var(*id);
            let wrong =
                |problem: &str| Err(Invalid::new(&function.name, format!("output `{}`", var.name), problem));
            if matches!(var.ty, Type::State(_)) {
                return wrong("is a state; return what read_state gives");
            }
            if self.written.contains(id) {
                return wrong("is also written to a state; return a copy of it");
            }
            if !returned.insert(*id) {
                return wrong("is returned twice");
            }
        }
        Ok(self.info)
    }
}

/// Names of the function and its variables: identifiers, and no two variables of one name.
fn check_names(function: &Function) -> Result<(), Invalid> {
    if !is_identifier(&function.name) {
        return Err(Invalid::new(&function.name, "name", "is no identifier"));
    }
    if is_reserved(&function.name) {
        return Err(Invalid::new(&function.name, "name", "is a reserved word of MIL; rename the function"));
    }
    let mut names = BTreeSet::new();
    for var in &function.vars {
        let at = || format!("variable `{}`", var.name);
        if !is_identifier(&var.name) {
            return Err(Invalid::new(&function.name, at(), "the name is no identifier"));
        }
        if is_reserved(&var.name) {
            let problem = "the name is a reserved word of MIL; rename the variable";
            return Err(Invalid::new(&function.name, at(), problem));
        }
        if !names.insert(&var.name) {
            return Err(Invalid::new(&function.name, at(), "another variable has the same name"));
        }
    }
    match function.attributes.keys().find(|name| !is_identifier(name)) {
        Some(name) => {
            Err(Invalid::new(&function.name, format!("attribute `{name}`"), "the name is no identifier"))
        }
        None => Ok(()),
    }
}

/// The words that the text form writes for an op: all identifiers.
fn check_words(op: &Op) -> Result<(), String> {
    let words = [op.kind.name()].into_iter();
    let mut words = words.chain(op.inputs.keys().chain(op.attributes.keys()).map(String::as_str));
    match words.find(|word| !is_identifier(word)) {
        Some(word) => Err(format!("`{word}` is no identifier")),
        None => Ok(()),
    }
}
