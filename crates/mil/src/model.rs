//! A model: a program together with the description of its inputs, outputs and states.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::dtype::DataType;
use crate::error::{Error, Result};
use crate::program::Program;

/// iOS 15 to iOS 18.
const SPECIFICATION_VERSIONS: RangeInclusive<i32> = 6..=9;

/// Refuses the specification version of the file or model `what` if no ML program of ours has it.
pub(crate) fn check_specification_version(version: i32, what: &str) -> Result<()> {
    if SPECIFICATION_VERSIONS.contains(&version) {
        return Ok(());
    }
    let (first, last) = (SPECIFICATION_VERSIONS.start(), SPECIFICATION_VERSIONS.end());
    let problem = format!("specification version {version}, expected {first} to {last}");
    Err(if version < 1 { Error::malformed(what, problem) } else { Error::unsupported(what, problem) })
}

/// An ML program and what the outside needs to know of it: the contents of `model.mlmodel`.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// 6 (iOS 15) to 9 (iOS 18).
    pub specification_version: i32,
    /// Inputs, outputs and states as callers see them.
    pub description: Description,
    /// The program.
    pub program: Program,
}

/// The interface of a model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Description {
    /// One interface a function. In a single-function model the only one is called `main`.
    pub functions: Vec<Interface>,
    /// The function that runs when none is named; `None` is the single-function form, whose interface
    /// stands at the top level of the description.
    pub default_function: Option<String>,
    /// Free text about the model.
    pub metadata: Metadata,
}

/// The inputs, outputs and states of one function, in the order callers see.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Interface {
    /// The function's name.
    pub name: String,
    /// Tensors that callers pass in.
    pub inputs: Vec<Feature>,
    /// Tensors that callers get back.
    pub outputs: Vec<Feature>,
    /// Tensors that live between calls.
    pub states: Vec<Feature>,
}

/// One input, output or state: a multi-dimensional array.
#[derive(Clone, PartialEq, Debug)]
pub struct Feature {
    /// Name, as in the program.
    pub name: String,
    /// Text for people; usually empty.
    pub short_description: String,
    /// Element type: fp16, fp32, fp64, int32 or int8.
    pub dtype: DataType,
    /// Extents; for a flexible feature the default ones. Empty where the description leaves them open.
    pub shape: Vec<i64>,
    /// Whether callers may leave it out.
    pub optional: bool,
    /// Other shapes that are allowed.
    pub flexibility: Option<Flexibility>,
}

/// The shapes that a flexible feature allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flexibility {
    /// Lower and upper bound of each extent; an upper bound of -1 is none.
    Range(Vec<(u64, i64)>),
    /// These shapes and no others.
    Enumerated(Vec<Vec<i64>>),
}

/// Free text about a model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// What the model is.
    pub short_description: String,
    /// Its version.
    pub version: String,
    /// Who made it.
    pub author: String,
    /// Under which licence.
    pub license: String,
    /// Anything else, by key.
    pub user_defined: BTreeMap<String, String>,
}

impl Description {
    /// The interface of the function called `name`.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.functions.iter().find(|f| f.name == name)
    }

    /// The name of the function that runs when none is named.
    pub fn default_name(&self) -> &str {
        self.default_function.as_deref().unwrap_or("main")
    }
}

impl Feature {
    /// A feature of fixed shape.
    pub fn new(name: impl Into<String>, dtype: DataType, shape: &[i64]) -> Feature {
        Feature {
            name: name.into(),
            short_description: String::new(),
            dtype,
            shape: shape.to_vec(),
            optional: false,
            flexibility: None,
        }
    }
}
