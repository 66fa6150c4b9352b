//! The text form of programs: `model.mil`, as Apple's compiler writes it.
//!
//! ```text
//! program(1.3)
//! [buildInfo = dict<string, string>({{"coremltools-version", "9.0"}})]
//! {
//!     func main<ios18>(state<tensor<fp16, [1, 8]>> cache, tensor<fp16, [1, 8]> x) {
//!             tensor<fp16, [1, 8]> old = read_state(input = cache)[name = string("old")];
//!             tensor<fp16, [1, 8]> sum = add(x = x, y = old)[name = string("sum")];
//!             write_state(data = sum, input = cache)[name = string("keep")];
//!         } -> (sum);
//! }
//! ```
//!
//! Printing is byte for byte what the compiler writes: parameters, arguments, attributes and functions are
//! sorted by name, floats are the shortest C hex floats, no newline ends the file. Parsing accepts both
//! dialects in any layout, and comments from `//` to the end of the line. What is printed and parsed again
//! equals the original, except that function inputs, variables and dictionary entries then have the order
//! of the text.

mod lex;
mod number;
mod parse;
mod print;

pub use parse::parse;
pub use print::{print, print_op, write};

/// The spelling of scalar types, which the specification version of the model decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// `program(1.0)`, specification versions below 9: a scalar is `tensor<int32, []>`.
    V1_0,
    /// `program(1.3)`, specification version 9 and up: a scalar is `int32`.
    V1_3,
}

impl Dialect {
    /// The dialect of a model of that specification version.
    pub fn of_specification(version: i32) -> Dialect {
        if version >= 9 { Dialect::V1_3 } else { Dialect::V1_0 }
    }

    /// The version in the first line of the text.
    pub fn version(self) -> &'static str {
        match self {
            Dialect::V1_0 => "1.0",
            Dialect::V1_3 => "1.3",
        }
    }
}

#[cfg(test)]
mod tests;
