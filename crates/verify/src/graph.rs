//! The function `infer` as data: where the residual stream passes, where the logits are, and programs that return more
//! than the one on the disk.
//!
//! Nothing here goes by the names of ops, so packages of other tools can be looked into as well. The residual stream
//! begins with the `gather` that the token ids choose rows by; its next value is always the first `add` of the value
//! before, or a view of it, and of something computed from it. A decoder layer has two: after attention and after the
//! MLP.

use std::collections::BTreeSet;

use anelith_mil::{
    Argument, Error as MilError, Function, Op, OpKind, Opcode, Operand, Program, ProgramInfo, TensorType,
    Type, VarId, validate,
};

use crate::block::Block;
use crate::error::Result;

/// The input that chooses rows of the embedding.
pub(crate) const INPUT_IDS: &str = "input_ids";

/// The input that is minus infinity where attention must not look.
pub(crate) const CAUSAL_MASK: &str = "causal_mask";

/// Ops that only move elements or name them anew: what they return has been computed before.
const MOVES: &[Opcode] = &[
    Opcode::Cast,
    Opcode::Concat,
    Opcode::ExpandDims,
    Opcode::Gather,
    Opcode::Identity,
    Opcode::ReadState,
    Opcode::Reshape,
    Opcode::SliceByIndex,
    Opcode::SliceBySize,
    Opcode::SliceUpdate,
    Opcode::Split,
    Opcode::Squeeze,
    Opcode::Tile,
    Opcode::Transpose,
    Opcode::WriteState,
];

/// The moves after which the same elements are there, in another shape.
const VIEWS: &[Opcode] = &[
    Opcode::Cast,
    Opcode::ExpandDims,
    Opcode::Identity,
    Opcode::Reshape,
    Opcode::Squeeze,
    Opcode::Transpose,
];

/// What was found in a function.
#[derive(Clone, Debug)]
pub(crate) struct Anatomy {
    /// The residual stream: after the embedding, then after each attention and MLP. Empty where it was not found.
    pub(crate) stream: Vec<VarId>,
    /// What each attention and MLP adds to it.
    pub(crate) added: Vec<VarId>,
    /// The logits, split along the vocabulary.
    pub(crate) logits: Vec<VarId>,
}

/// A value that a run is asked for besides what the function returns.
#[derive(Clone, Debug)]
pub(crate) struct Activation {
    /// The variable.
    pub(crate) var: VarId,
    /// Its name.
    pub(crate) name: String,
    /// The op that assigns it, in words.
    pub(crate) op: String,
    /// The number of its block; that of the embedding where blocks are not known.
    pub(crate) block: usize,
    /// Whether the mask was added to it, so that minus infinity is right in it.
    pub(crate) is_masked: bool,
}

impl Anatomy {
    /// Looks into `function`, which should be of a model of so many layers.
    pub(crate) fn of(function: &Function, layers: usize) -> Anatomy {
        let (stream, added) = match residual_stream(function) {
            (stream, added) if added.len() == 2 * layers => (stream, added),
            _ => Default::default(),
        };
        Anatomy { stream, added, logits: logits(function) }
    }

    /// For each op the number of its block; of a constant, that of the first op that reads it.
    pub(crate) fn blocks(&self, function: &Function) -> Vec<usize> {
        let ends: Vec<usize> = self.stream.iter().filter_map(|var| definition(function, *var)).collect();
        let of = |place: usize| ends.partition_point(|end| *end < place);
        let mut blocks: Vec<usize> = (0..function.ops.len()).map(of).collect();
        for (place, op) in function.ops.iter().enumerate().filter(|(_, op)| is_constant(op)) {
            let reader = op.outputs.first().and_then(|var| first_reader(function, place, *var));
            blocks[place] = reader.map_or(blocks[place], of);
        }
        blocks
    }

    /// For each block the fewest bits of a weight that it unpacks from a lookup table; `None` where it has no tables.
    pub(crate) fn bits(&self, function: &Function, layers: usize) -> Vec<Option<u32>> {
        let mut fewest = vec![None; Block::count(layers)];
        for (op, block) in function.ops.iter().zip(self.blocks(function)) {
            let Some(bits) = lut_bits(op, function) else { continue };
            if let Some(found) = fewest.get_mut(block) {
                *found = Some(found.map_or(bits, |known: u32| known.min(bits)));
            }
        }
        fewest
    }

    /// All that the function computes in floating point from its inputs, and that no other op has computed before.
    pub(crate) fn activations(&self, function: &Function) -> Vec<Activation> {
        let live = dependents(function, &function.inputs);
        let masked = masked(function);
        let blocks = self.blocks(function);
        let mut found = Vec::new();
        for (op, block) in function.ops.iter().zip(blocks) {
            // The embedding is only moved here, but nothing has computed it before.
            let is_first = self.stream.first().is_some_and(|var| op.outputs.contains(var));
            if is_one_of(op, MOVES) && !is_first {
                continue;
            }
            for var in op.outputs.iter().filter(|var| live.contains(var)) {
                let variable = function.var(*var);
                if variable.ty.as_tensor().is_some_and(|ty| ty.dtype.is_float()) {
                    found.push(Activation {
                        var: *var,
                        name: variable.name.clone(),
                        op: format!("`{}` ({})", op.name(), op_kind(op)),
                        block,
                        is_masked: masked.contains(var),
                    });
                }
            }
        }
        found
    }
}

/// The name of what an op does.
fn op_kind(op: &Op) -> String {
    match &op.kind {
        OpKind::Known(opcode) => opcode.info().name.to_owned(),
        OpKind::Foreign(name) => name.clone(),
    }
}

/// The bits of the indices of a `constexpr_lut_to_dense`; before iOS 18 they are attributes, which are not looked at.
fn lut_bits(op: &Op, function: &Function) -> Option<u32> {
    if op.kind != OpKind::Known(Opcode::ConstexprLutToDense) {
        return None;
    }
    let ty = match op.inputs.get("indices")?.operands() {
        [Operand::Value(value)] => value.ty.as_tensor(),
        [Operand::Var(var)] => function.var(*var).ty.as_tensor(),
        _ => None,
    };
    ty.map(|ty| ty.dtype.bits())
}

/// Whether weights are stored in a smaller form and unpacked by the program.
pub(crate) fn is_packed(function: &Function) -> bool {
    function.ops.iter().any(|op| op_kind(op).starts_with("constexpr_"))
}

/// `program`, whose function `name` returns `more` as well.
///
/// # Errors
/// When it is not valid.
pub(crate) fn returning(program: &Program, name: &str, more: &[VarId]) -> Result<(Program, ProgramInfo)> {
    let mut program = program.clone();
    for function in program.functions.iter_mut().filter(|f| f.name == name) {
        also_return(function, more);
    }
    proven(program)
}

/// A program of `function` alone in which each block reads the residual stream from an input of its own, called
/// [`stream_input`] of the number of the block before; it returns the embedding, what each block adds, and the logits.
///
/// # Errors
/// When it is not valid.
pub(crate) fn cut(function: &Function, anatomy: &Anatomy) -> Result<(Program, ProgramInfo)> {
    let mut function = function.clone();
    for (number, var) in anatomy.stream.iter().enumerate() {
        let Some(place) = definition(&function, *var) else { continue };
        let ty = function.var(*var).ty.clone();
        let input = function.add_var(stream_input(number), ty);
        function.inputs.push(input);
        for op in &mut function.ops[place + 1..] {
            op.inputs.values_mut().for_each(|argument| replace(argument, *var, input));
        }
    }
    also_return(&mut function, &anatomy.stream[..1]);
    also_return(&mut function, &anatomy.added);
    also_return(&mut function, &anatomy.logits);
    proven(Program { functions: vec![function], ..Program::default() })
}

fn also_return(function: &mut Function, more: &[VarId]) {
    for var in more {
        if !function.outputs.contains(var) {
            function.outputs.push(*var);
        }
    }
}

fn proven(program: Program) -> Result<(Program, ProgramInfo)> {
    let info = validate(&program).map_err(MilError::Invalid)?;
    Ok((program, info))
}

/// What the input is called in a cut program from which a block reads what the block `number` has left.
pub(crate) fn stream_input(number: usize) -> String {
    format!("verify_stream_{number}")
}

fn replace(argument: &mut Argument, old: VarId, new: VarId) {
    let operands = match argument {
        Argument::One(operand) => std::slice::from_mut(operand),
        Argument::Many(operands) => operands.as_mut_slice(),
    };
    for operand in operands {
        if *operand == Operand::Var(old) {
            *operand = Operand::Var(new);
        }
    }
}

fn is_one_of(op: &Op, opcodes: &[Opcode]) -> bool {
    matches!(&op.kind, OpKind::Known(opcode) if opcodes.contains(opcode))
}

fn is_constant(op: &Op) -> bool {
    let name = op_kind(op);
    name == "const" || name.starts_with("constexpr_")
}

/// The place of the op that assigns a variable.
fn definition(function: &Function, var: VarId) -> Option<usize> {
    function.ops.iter().position(|op| op.outputs.contains(&var))
}

fn first_reader(function: &Function, after: usize, var: VarId) -> Option<usize> {
    let later = function.ops.iter().enumerate().skip(after + 1);
    later.into_iter().find(|(_, op)| op.reads().any(|read| read == var)).map(|(place, _)| place)
}

/// `roots`, and all that is computed from them.
fn dependents(function: &Function, roots: &[VarId]) -> BTreeSet<VarId> {
    let mut found: BTreeSet<VarId> = roots.iter().copied().collect();
    for op in &function.ops {
        if op.reads().any(|var| found.contains(&var)) {
            found.extend(&op.outputs);
        }
    }
    found
}

/// The input `name`.
pub(crate) fn input(function: &Function, name: &str) -> Option<VarId> {
    function.inputs.iter().copied().find(|var| function.var(*var).name == name)
}

/// The residual stream, and what is added to it: as many values as are found.
fn residual_stream(function: &Function) -> (Vec<VarId>, Vec<VarId>) {
    let Some(ids) = input(function, INPUT_IDS) else { return Default::default() };
    let chosen = dependents(function, &[ids]);
    let is_embedding = |op: &&Op| {
        let reads = |name: &str| match op.inputs.get(name).map(Argument::operands) {
            Some([Operand::Var(var)]) => chosen.contains(var),
            _ => false,
        };
        op.kind == OpKind::Known(Opcode::Gather) && reads("indices") && !reads("x")
    };
    let first = function.ops.iter().find(is_embedding).and_then(|op| op.outputs.first().copied());
    let (mut stream, mut added): (Vec<VarId>, _) = (first.into_iter().collect(), Vec::new());
    while let Some((sum, summand)) = stream.last().and_then(|last| after(function, *last)) {
        stream.push(sum);
        added.push(summand);
    }
    (stream, added)
}

/// The value of the residual stream after `last`, and what was added for it.
fn after(function: &Function, last: VarId) -> Option<(VarId, VarId)> {
    let (mut views, mut computed) = (BTreeSet::from([last]), BTreeSet::new());
    let place = definition(function, last)?;
    for op in &function.ops[place + 1..] {
        let reads: Vec<VarId> = op.reads().collect();
        let [is_view, is_computed] = [&views, &computed].map(|of| reads.iter().any(|var| of.contains(var)));
        if op.kind == OpKind::Known(Opcode::Add) && is_view && is_computed {
            let summand = reads.iter().find(|var| computed.contains(*var));
            return op.outputs.first().copied().zip(summand.copied());
        }
        if is_view && !is_computed && is_one_of(op, VIEWS) {
            views.extend(&op.outputs);
        } else if is_view || is_computed {
            computed.extend(&op.outputs);
        }
    }
    None
}

/// The variables of the logits: outputs `logits1`, `logits2`, ..., or what the model takes the argmax of.
fn logits(function: &Function) -> Vec<VarId> {
    let number = |var: &VarId| function.var(*var).name.strip_prefix("logits")?.parse::<usize>().ok();
    let mut named: Vec<(usize, VarId)> =
        function.outputs.iter().filter_map(|var| Some((number(var)?, *var))).collect();
    if !named.is_empty() {
        named.sort_unstable();
        return named.into_iter().map(|(_, var)| var).collect();
    }
    let reduced = |op: &Op| match op.inputs.get("x")?.operands() {
        [Operand::Var(var)] if op.kind == OpKind::Known(Opcode::ReduceArgmax) => Some(*var),
        _ => None,
    };
    function.ops.iter().filter_map(reduced).collect()
}

/// What the mask has been added to, up to where it is minus infinity no more.
fn masked(function: &Function) -> BTreeSet<VarId> {
    let mut found: BTreeSet<VarId> = input(function, CAUSAL_MASK).into_iter().collect();
    for op in &function.ops {
        let ends = [Opcode::Softmax, Opcode::Exp, Opcode::Matmul, Opcode::ReduceMax];
        if !is_one_of(op, &ends) && op.reads().any(|var| found.contains(&var)) {
            found.extend(&op.outputs);
        }
    }
    found
}

/// How many elements a variable has, where that is fixed.
pub(crate) fn elements(function: &Function, var: VarId) -> Option<usize> {
    let (Type::Tensor(ty) | Type::State(ty)) = &function.var(var).ty else { return None };
    usize::try_from(ty.element_count()?).ok()
}

/// The extents of a variable, where they are fixed.
pub(crate) fn extents(function: &Function, var: VarId) -> Vec<usize> {
    let shape = function.var(var).ty.as_tensor().and_then(TensorType::fixed_shape).unwrap_or_default();
    shape.into_iter().map(|extent| usize::try_from(extent).unwrap_or(usize::MAX)).collect()
}
