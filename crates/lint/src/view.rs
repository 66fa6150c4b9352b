//! A function with what rules ask of it: who assigns a variable, and who reads it.
//!
//! Programs need not be valid here, so nothing is looked up without asking whether it is there.

use anelith_mil::{Argument, Dim, Function, Op, Opcode, Operand, TensorType, Type, Value, Var, VarId};

/// A function, looked at.
pub(crate) struct View<'f> {
    pub(crate) function: &'f Function,
    /// The op that assigns a variable, by `VarId`.
    definitions: Vec<Option<&'f Op>>,
    /// The ops that read a variable, each with the parameter, by `VarId`.
    readers: Vec<Vec<(&'f Op, &'f str)>>,
}

impl<'f> View<'f> {
    pub(crate) fn new(function: &'f Function) -> View<'f> {
        let mut definitions = vec![None; function.vars.len()];
        let mut readers = vec![Vec::new(); function.vars.len()];
        for op in &function.ops {
            for (parameter, operand) in op.operands() {
                if let Operand::Var(id) = operand
                    && let Some(readers) = readers.get_mut(id.0 as usize)
                {
                    readers.push((op, parameter));
                }
            }
            for id in &op.outputs {
                if let Some(definition) = definitions.get_mut(id.0 as usize) {
                    *definition = Some(op);
                }
            }
        }
        View { function, definitions, readers }
    }

    pub(crate) fn var(&self, id: VarId) -> Option<&'f Var> {
        self.function.vars.get(id.0 as usize)
    }

    /// The op that assigns `id`; `None` for inputs.
    pub(crate) fn definition(&self, id: VarId) -> Option<&'f Op> {
        self.definitions.get(id.0 as usize).copied().flatten()
    }

    /// The ops that read `id`, each with the parameter it is given for.
    pub(crate) fn readers(&self, id: VarId) -> &[(&'f Op, &'f str)] {
        self.readers.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// The inputs that are tensors, and those that are states.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &'f Var> {
        self.function.inputs.iter().filter_map(|id| self.var(*id))
    }

    /// The states, each with its type.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&'f Var, &'f TensorType)> {
        self.inputs().filter_map(|var| match &var.ty {
            Type::State(ty) => Some((var, ty)),
            _ => None,
        })
    }

    /// The ops that compute, which constants do not.
    pub(crate) fn computing(&self) -> impl Iterator<Item = &'f Op> {
        self.function.ops.iter().filter(|op| !op.kind.is_constant())
    }

    /// The tensors that `op` assigns.
    pub(crate) fn results(&self, op: &'f Op) -> impl Iterator<Item = (VarId, &'f TensorType)> {
        op.outputs.iter().filter_map(|id| Some((*id, self.var(*id)?.ty.as_tensor()?)))
    }

    /// The only operand that `op` gets as `parameter`.
    pub(crate) fn operand(&self, op: &'f Op, parameter: &str) -> Option<&'f Operand> {
        match op.inputs.get(parameter).map(Argument::operands) {
            Some([operand]) => Some(operand),
            _ => None,
        }
    }

    /// The variable that `op` gets as `parameter`.
    pub(crate) fn read(&self, op: &'f Op, parameter: &str) -> Option<VarId> {
        match self.operand(op, parameter)? {
            Operand::Var(id) => Some(*id),
            Operand::Value(_) => None,
        }
    }

    /// The op whose result `op` gets as `parameter`.
    pub(crate) fn source(&self, op: &'f Op, parameter: &str) -> Option<&'f Op> {
        self.definition(self.read(op, parameter)?)
    }

    /// The tensor that `op` gets as `parameter`, or the one in the state that it gets.
    pub(crate) fn tensor(&self, op: &'f Op, parameter: &str) -> Option<&'f TensorType> {
        let ty = match self.operand(op, parameter) {
            Some(Operand::Var(id)) => &self.var(*id)?.ty,
            Some(Operand::Value(value)) => &value.ty,
            // As `constexpr_` ops had their parameters before iOS 18.
            None => &op.attributes.get(parameter)?.ty,
        };
        match ty {
            Type::Tensor(ty) | Type::State(ty) => Some(ty),
            _ => None,
        }
    }

    /// The literal that `op` gets as `parameter`, at once or from a `const` op.
    pub(crate) fn literal(&self, op: &'f Op, parameter: &str) -> Option<&'f Value> {
        match self.operand(op, parameter)? {
            Operand::Value(value) => Some(value),
            Operand::Var(id) => {
                let definition = self.definition(*id).filter(|op| op.kind.is(Opcode::Const))?;
                definition.attributes.get("val")
            }
        }
    }
}

/// An extent, where it is fixed.
pub(crate) fn known(dim: &Dim) -> Option<u64> {
    match dim {
        Dim::Known(extent) => Some(*extent),
        Dim::Unknown => None,
    }
}
