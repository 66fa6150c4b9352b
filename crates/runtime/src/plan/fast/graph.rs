//! Questions that patterns ask of a function.

use std::collections::BTreeSet;

use anelith_mil::{
    Argument, DataType, Function, FunctionInfo, Op, OpKind, Opcode, Operand, Type, Value, VarId,
};

use crate::plan::Step;

/// A function seen from its variables.
#[derive(Debug)]
pub(super) struct Graph<'f> {
    pub(super) function: &'f Function,
    info: &'f FunctionInfo,
    /// For each variable the ops that read it, an op once for each time it does.
    readers: Vec<Vec<usize>>,
    /// The ops that are steps of the plan: neither constants nor folded.
    steps: BTreeSet<usize>,
}

impl<'f> Graph<'f> {
    /// The graph of a function whose plain plan has these steps.
    pub(super) fn new(function: &'f Function, info: &'f FunctionInfo, steps: &[Step]) -> Graph<'f> {
        let mut readers = vec![Vec::new(); function.vars.len()];
        for (index, op) in function.ops.iter().enumerate() {
            op.reads().for_each(|var| readers[var.0 as usize].push(index));
        }
        Graph { function, info, readers, steps: steps.iter().map(|step| step.op).collect() }
    }

    /// The op at `index`, if it is `opcode`.
    pub(super) fn op(&self, index: usize, opcode: Opcode) -> Option<&'f Op> {
        self.function.ops.get(index).filter(|op| op.kind.is(opcode))
    }

    /// The opcode of the op at `index`.
    pub(super) fn opcode(&self, index: usize) -> Option<Opcode> {
        match self.function.ops.get(index)?.kind {
            OpKind::Known(opcode) => Some(opcode),
            OpKind::Foreign(_) => None,
        }
    }

    /// The op that makes `var`, if it is `opcode`.
    pub(super) fn made_by(&self, var: VarId, opcode: Opcode) -> Option<(usize, &'f Op)> {
        let index = self.maker(var)?;
        Some((index, self.op(index, opcode)?))
    }

    /// As `made_by`, where nothing but the op at `reader` reads `var`.
    pub(super) fn made_for(&self, var: VarId, reader: usize, opcode: Opcode) -> Option<(usize, &'f Op)> {
        let is_alone = self.readers(var).iter().all(|r| *r == reader) && !self.is_returned(var);
        self.made_by(var, opcode).filter(|_| is_alone)
    }

    /// The op that makes `var`; `None` for inputs.
    pub(super) fn maker(&self, var: VarId) -> Option<usize> {
        self.info.definitions.get(var.0 as usize).copied().flatten()
    }

    /// Whether the op at `index` is done when the program runs, not before.
    pub(super) fn is_step(&self, index: usize) -> bool {
        self.steps.contains(&index)
    }

    /// Whether `var` is no literal and no result of a constexpr op: what ops make of these may be known as well.
    pub(super) fn is_computed(&self, var: VarId) -> bool {
        self.maker(var).is_none_or(|index| !self.function.ops[index].kind.is_constant())
    }

    /// Whether the op at `index` makes `var`.
    pub(super) fn makes(&self, index: usize, var: VarId) -> bool {
        self.function.ops.get(index).is_some_and(|op| op.outputs.contains(&var))
    }

    /// The ops that read `var`.
    pub(super) fn readers(&self, var: VarId) -> &[usize] {
        &self.readers[var.0 as usize]
    }

    /// Whether the function returns `var`.
    pub(super) fn is_returned(&self, var: VarId) -> bool {
        self.function.outputs.contains(&var)
    }

    /// The variable bound to `name`.
    pub(super) fn var(&self, op: &Op, name: &str) -> Option<VarId> {
        match op.inputs.get(name)? {
            Argument::One(Operand::Var(var)) => Some(*var),
            _ => None,
        }
    }

    /// The variables of the list bound to `name`.
    pub(super) fn vars(&self, op: &Op, name: &str) -> Option<Vec<VarId>> {
        let var = |operand: &Operand| if let Operand::Var(var) = operand { Some(*var) } else { None };
        op.inputs.get(name)?.operands().iter().map(var).collect()
    }

    /// The literal bound to `name`.
    pub(super) fn literal(&self, op: &'f Op, name: &str) -> Option<&'f Value> {
        match op.inputs.get(name)? {
            Argument::One(Operand::Var(var)) => self.info.const_value(self.function, *var),
            Argument::One(Operand::Value(value)) => Some(value),
            Argument::Many(_) => None,
        }
    }

    /// The one number bound to `name`.
    pub(super) fn number(&self, op: &'f Op, name: &str) -> Option<f32> {
        match self.literal(op, name)?.as_f32s()?[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    /// The integers bound to `name`.
    pub(super) fn integers(&self, op: &'f Op, name: &str) -> Option<Vec<i32>> {
        self.literal(op, name)?.as_i32s()
    }

    /// The booleans bound to `name`; false for each of `count` where it is left out.
    pub(super) fn flags(&self, op: &'f Op, name: &str, count: usize) -> Option<Vec<bool>> {
        match op.inputs.contains_key(name) {
            true => self.literal(op, name)?.as_bools().filter(|flags| flags.len() == count),
            false => Some(vec![false; count]),
        }
    }

    /// The axis bound to `name`, counted from the end: -1 is the last.
    pub(super) fn is_last_axis(&self, op: &'f Op, name: &str, rank: usize) -> bool {
        match self.integers(op, name).as_deref() {
            Some([axis]) => *axis == -1 || usize::try_from(*axis) == Ok(rank.wrapping_sub(1)),
            _ => false,
        }
    }

    /// The extents of a tensor variable, none of them 0; `None` where they are not fixed.
    pub(super) fn shape(&self, var: VarId) -> Option<Vec<usize>> {
        let (Type::Tensor(ty) | Type::State(ty)) = &self.function.var(var).ty else { return None };
        let shape = ty.fixed_shape()?;
        let extents = shape.iter().map(|d| usize::try_from(*d).ok().filter(|d| *d > 0));
        extents.collect()
    }

    /// The type of the elements of a tensor.
    pub(super) fn dtype(&self, var: VarId) -> Option<DataType> {
        self.function.var(var).ty.as_tensor().map(|ty| ty.dtype)
    }

    /// Whether `var` is a tensor of floating-point numbers.
    pub(super) fn is_float(&self, var: VarId) -> bool {
        self.dtype(var).is_some_and(DataType::is_float)
    }

    /// Whether `var` is a tensor of fp16.
    pub(super) fn is_fp16(&self, var: VarId) -> bool {
        self.dtype(var) == Some(DataType::Fp16)
    }

    /// The one result of an op.
    pub(super) fn result(&self, op: &Op) -> Option<VarId> {
        match op.outputs[..] {
            [var] => Some(var),
            _ => None,
        }
    }
}
