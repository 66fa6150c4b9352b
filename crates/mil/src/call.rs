//! An op against its row of the table: the arguments it must have, and the types it yields.
//!
//! The builder asks when an op is appended, the validator when a program comes from elsewhere; both ask here.

use std::collections::BTreeMap;

use crate::infer::{Call, KnownArgument};
use crate::opset::{OpInfo, Opcode, ParamKind};
use crate::program::{Argument, Function, Operand, VarId};
use crate::types::{Dim, TensorType, Type};
use crate::value::Value;

/// A function as far as it goes, and for each variable the index of the op that assigns it.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'f> {
    pub(crate) function: &'f Function,
    /// By `VarId`; `None` for inputs.
    pub(crate) definitions: &'f [Option<usize>],
}

impl<'f> Scope<'f> {
    /// The output types of an op with these inputs, or `None` when an input has a flexible shape.
    ///
    /// # Errors
    /// A missing, unknown or unfitting argument, or what the op's rule finds wrong, as a sentence.
    pub(crate) fn infer(
        &self,
        opcode: Opcode,
        inputs: &'f BTreeMap<String, Argument>,
    ) -> Result<Option<Vec<Type>>, String> {
        let call = self.call(opcode.info(), inputs)?;
        if call.arguments.values().flatten().any(|a| is_flexible(a.ty)) {
            return Ok(None);
        }
        (opcode.info().infer)(&call).map(Some)
    }

    fn call(&self, info: &OpInfo, inputs: &'f BTreeMap<String, Argument>) -> Result<Call<'f>, String> {
        let required = info.params.iter().filter(|p| !p.optional);
        if let Some(missing) = required.into_iter().find(|p| !inputs.contains_key(p.name)) {
            return Err(format!("parameter `{}` is missing", missing.name));
        }
        let mut arguments = BTreeMap::new();
        for (name, argument) in inputs {
            let param = info.param(name).ok_or_else(|| format!("`{name}` is no parameter of this op"))?;
            let known: Option<Vec<_>> = argument.operands().iter().map(|o| self.argument(o)).collect();
            let known = known.ok_or_else(|| format!("`{name}` is no variable of this function"))?;
            check_kind(name, param.kind, &known)?;
            arguments.insert(name.as_str(), known);
        }
        Ok(Call { arguments })
    }

    /// `None` for a variable that the function lacks.
    fn argument(&self, operand: &'f Operand) -> Option<KnownArgument<'f>> {
        let id = match operand {
            Operand::Value(v) => return Some(KnownArgument { ty: &v.ty, value: Some(v), constant: true }),
            Operand::Var(id) => *id,
        };
        let var = self.function.vars.get(id.0 as usize)?;
        let definition = self.definitions.get(id.0 as usize)?.and_then(|i| self.function.ops.get(i));
        let constant = definition.is_some_and(|op| op.kind.is_constant());
        Some(KnownArgument { ty: &var.ty, value: const_value(self.function, self.definitions, id), constant })
    }
}

/// The value of a variable that a `const` op assigns; `definitions` as in [`Scope`].
pub(crate) fn const_value<'f>(
    function: &'f Function,
    definitions: &[Option<usize>],
    var: VarId,
) -> Option<&'f Value> {
    let op = function.ops.get((*definitions.get(var.0 as usize)?)?)?;
    op.kind.is(Opcode::Const).then(|| op.attributes.get("val")).flatten()
}

fn is_flexible(ty: &Type) -> bool {
    matches!(ty, Type::Tensor(TensorType { shape, .. }) if shape.contains(&Dim::Unknown))
}

fn check_kind(name: &str, kind: ParamKind, known: &[KnownArgument<'_>]) -> Result<(), String> {
    if kind == ParamKind::Tensors {
        return Ok(());
    }
    let [argument] = known else {
        return Err(format!("`{name}` has {} operands, expected one", known.len()));
    };
    match (kind, argument.ty) {
        (ParamKind::Const, _) if !argument.constant => Err(format!("`{name}` must be a constant")),
        (ParamKind::State, Type::State(_)) => Ok(()),
        (ParamKind::State, ty) => Err(format!("`{name}` has type {ty}, expected a state")),
        (_, Type::State(_)) => Err(format!("`{name}` is a state; read it with read_state")),
        _ => Ok(()),
    }
}
