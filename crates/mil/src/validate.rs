//! Proves that a program keeps the rules of MIL, and that a description tells the truth about it; the writers
//! and the planner ask for the proof.
//!
//! The rules for a program: identifiers are well formed, unique and no reserved words; a variable is assigned once, before it is
//! read; every required argument is there, of the right kind, and no unknown one; literals hold as many elements
//! as their type says; declared output types are the inferred ones (ops of the table, fixed shapes); only
//! inputs are states; no function returns the very value that it writes to a state, which crashes Core ML on
//! load (coremltools PR 2713).
//!
//! The rules for a description stand at [`validate_model`].

use std::collections::BTreeSet;

use crate::call;
use crate::error::{Invalid, Result};
use crate::model::Model;
use crate::program::{Function, Program, VarId};
use crate::value::Value;

mod description;
mod function;

pub(crate) use description::functions as described_functions;

/// The proof that a program is valid, and what was learnt on the way. Only `validate` makes one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProgramInfo {
    /// One entry a function, in the program's order.
    pub functions: Vec<FunctionInfo>,
}

/// What is known of one function. Each table is indexed by `VarId`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FunctionInfo {
    /// The index of the last op that reads a variable; the number of ops if the function returns it.
    pub last_uses: Vec<Option<usize>>,
    /// The index of the op that assigns a variable; `None` for inputs.
    pub definitions: Vec<Option<usize>>,
}

impl FunctionInfo {
    /// The value of a variable that a `const` op assigns.
    pub fn const_value<'f>(&self, function: &'f Function, var: VarId) -> Option<&'f Value> {
        call::const_value(function, &self.definitions, var)
    }
}

/// Checks every function of `program`.
///
/// # Errors
/// The first broken rule of each function, with the op it is broken in.
pub fn validate(program: &Program) -> Result<ProgramInfo, Vec<Invalid>> {
    let mut info = ProgramInfo { functions: Vec::new() };
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for function in &program.functions {
        if !names.insert(&function.name) {
            problems.push(Invalid::new(&function.name, "name", "another function has the same name"));
        }
        match function::validate(function) {
            Ok(learnt) => info.functions.push(learnt),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(info) } else { Err(problems) }
}

/// Checks the program of `model`, and that the description says of it what is so.
///
/// Program and description have the same functions, the default one among them; `main` is the only one where
/// none is named. A described function has the program's inputs, outputs and states, no name twice, with their
/// element types and shapes. A shape may be left open (empty), `[1]` stands for a scalar, and an extent that the
/// program leaves open may be any. States are fp16, of fixed shape, and the same in all functions that have
/// them. Several functions and states need specification version 9, and no function's opset is newer than the
/// specification version has.
///
/// # Errors
/// `Invalid`: the broken rules of the program if there are any, else the first broken one of the description.
pub fn validate_model(model: &Model) -> Result<ProgramInfo> {
    let info = validate(&model.program)?;
    description::validate(model)?;
    Ok(info)
}

/// Whether `name` is an identifier of MIL: a letter or `_`, then letters, digits, `_` and `@`.
pub fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@')
}

/// The words that MIL keeps for itself, as coremltools lists them.
const RESERVED: [&str; 24] = [
    "any", "bf16", "bool", "dict", "false", "fp16", "fp32", "fp64", "func", "int16", "int32", "int64",
    "int8", "list", "program", "state", "string", "tensor", "true", "tuple", "uint16", "uint32", "uint64",
    "uint8",
];

/// Whether `name` is a word that MIL keeps for itself, so that no variable or function may have it.
fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

#[cfg(test)]
mod tests;
