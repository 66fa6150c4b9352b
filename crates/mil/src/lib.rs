//! What an ML program is: in memory, as text, as protobuf, as `.mlpackage`, as `.mlmodelc`.

pub mod blob;
mod builder;
mod bundle;
mod call;
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

pub use builder::FunctionBuilder;
pub use bundle::Bundle;
pub use dtype::DataType;
pub use error::{Error, Invalid, Result};
pub use model::{Description, Feature, Flexibility, Interface, Metadata, Model};
pub use opset::{OpInfo, OpKind, Opcode, Opset, Param, ParamKind};
pub use program::{Argument, Function, Op, Operand, Program, Var, VarId};
pub use types::{Dim, TensorType, Type};
pub use validate::{FunctionInfo, ProgramInfo, is_identifier, validate, validate_model};
pub use value::{BlobRef, Data, Value};
