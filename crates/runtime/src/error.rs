//! The one error type of this crate.

use anelith_mil::TensorType;
use thiserror::Error;

/// What went wrong while a program was planned or run.
#[derive(Debug, Error)]
pub enum Error {
    /// The program has no such function.
    #[error("the program has no function `{name}`; it has {available}")]
    NoFunction {
        /// The function asked for.
        name: String,
        /// The functions there are.
        available: String,
    },
    /// The program is valid but asks for something that the executor does not do.
    #[error("function `{function}` ({opset}): {at} is not supported: {problem}")]
    Unsupported {
        /// The function.
        function: String,
        /// Its opset, e.g. `ios18`.
        opset: &'static str,
        /// The op or variable.
        at: String,
        /// What exactly, and what would be supported.
        problem: String,
    },
    /// The program contradicts itself.
    #[error("function `{function}` ({opset}): {at} is malformed: {problem}")]
    Malformed {
        /// The function.
        function: String,
        /// Its opset, e.g. `ios18`.
        opset: &'static str,
        /// The op or variable.
        at: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// The caller passed inputs that the function does not take.
    #[error("function `{function}`: input `{name}`: {problem}")]
    Input {
        /// The function.
        function: String,
        /// The input.
        name: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// An op met data that it cannot work on.
    #[error("function `{function}`: {at} failed: {problem}")]
    Run {
        /// The function.
        function: String,
        /// The op.
        at: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// Functions of one instance disagree on the state that they share.
    #[error("state `{name}` has type {other} in one function and {one} in another, expected equal types")]
    State {
        /// The state.
        name: String,
        /// Its type in one function.
        one: TensorType,
        /// Its type in the other.
        other: TensorType,
    },
    /// The states and values of an instance are too large.
    #[error("states and values need {needed} bytes of memory together: {problem}")]
    Memory {
        /// What they take.
        needed: u64,
        /// What was expected.
        problem: String,
    },
    /// The caller chose instructions that this machine does not have.
    #[error(
        "the instructions {isa} are not on this machine, expected one of {here}: `Isa::best` chooses one"
    )]
    Isa {
        /// The instructions asked for.
        isa: String,
        /// Those that the machine has.
        here: String,
    },
    /// A tensor whose elements and shape do not match.
    #[error("a tensor of shape {shape:?} cannot hold {count} elements")]
    Shape {
        /// The shape.
        shape: Vec<usize>,
        /// The number of elements given.
        count: usize,
    },
    /// A weight could not be read.
    #[error(transparent)]
    Weights(#[from] anelith_mil::Error),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
