//! What an ML program is: in memory, as text, as protobuf, as `.mlpackage`, as `.mlmodelc`.

pub mod blob;
pub mod compiled;
pub mod disk;
mod dtype;
mod error;
mod infer;
mod model;
mod opset;
pub mod pack;
pub mod package;
mod program;
pub mod proto;
pub mod text;
mod types;
mod validate;
mod value;

pub use dtype::DataType;
pub use error::{Error, Invalid, Result};
pub use model::{Description, Feature, Flexibility, Interface, Metadata, Model};
pub use opset::{OpInfo, OpKind, Opcode, Param, ParamKind};
pub use program::{Argument, Function, Op, Operand, Opset, Program, Var, VarId};
pub use types::{Dim, TensorType, Type};
pub use validate::{FunctionInfo, ProgramInfo, validate};
pub use value::{BlobRef, Data, Value};
