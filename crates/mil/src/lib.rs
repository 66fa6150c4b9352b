//! What an ML program is: in memory, as text, as protobuf, as `.mlpackage`, as `.mlmodelc`.
//!
//! An ML program is what Core ML runs. Apple writes it in MIL, the model intermediate language, and stores it in
//! several forms; this crate holds one form in memory and reads and writes all the others. It does not know what
//! a language model is, and it does not run anything.
//!
//! # The nouns
//!
//! A [`Model`] is a [`Program`] and a [`Description`] of it. A program is a set of [`Function`]s that share weight
//! files and nothing else. A function has inputs, a straight line of [`Op`]s, and outputs; there are no blocks
//! within it, since nothing that we convert branches. An op is of a kind ([`OpKind`]), gets an [`Argument`] for
//! each of its parameters, carries attributes, and assigns variables ([`Var`]). An argument is an [`Operand`] or a
//! list of them, and an operand is a variable or a literal ([`Value`]). A variable is named by a [`VarId`], an
//! index into the table of its function; what is known of variables besides name and type stands in tables of
//! the same index, such as those of [`FunctionInfo`].
//!
//! All of these are plain data with public fields. Nothing keeps them consistent while they are changed;
//! [`validate`] says whether they are.
//!
//! # One assignment
//!
//! Every variable is assigned exactly once, by being an input or by one op, and is read only after that: static
//! single assignment, without joins. So the order of the ops is an order in which they can run, the type of a
//! variable is a fact, and a value can be told by the name of its variable.
//!
//! Names are identifiers: a letter or `_`, then letters, digits, `_` and `@`. They are unique within a function,
//! and may recur in another. The name of an op is an attribute of its own; for an op of one result it is by habit
//! that of the variable. Names of inputs, outputs and states are what callers say, so they are part of the
//! interface; all others are for people.
//!
//! # Types
//!
//! A [`Type`] is a tensor of an element type ([`DataType`]) and a shape, or a state of one. Lists, tuples and
//! dictionaries occur in attributes only. A scalar is a tensor of rank 0. An extent may be unknown until the run
//! time ([`Dim::Unknown`]): such programs are carried through, with the types that they declare.
//!
//! Types are inferred, when the [`FunctionBuilder`] appends an op and again when a program is validated, by the
//! rule in the op's row of the table ([`Opcode`]). An op that the table lacks is [`OpKind::Foreign`]: readers and
//! writers carry it with its declared types, and only who runs a program must refuse it. What an op means depends
//! on the [`Opset`] of the function, that is on the iOS release that it was written for.
//!
//! # Constants
//!
//! A `const` op has no arguments; its attribute `val` is the value of its variable, and known before the program
//! runs. Some parameters ask for that: the axes of a reduction or the padding of a convolution must be a literal
//! or the variable of such an op, since types depend on them.
//!
//! The ops whose names begin with `constexpr_` are constants too: they say how a weight is unpacked from a smaller
//! form, e.g. `constexpr_lut_to_dense` from a lookup table and indices of a few bits. All that they read is
//! constant, so they can be evaluated when the program is loaded, or kept packed and evaluated inside the product
//! that reads them. This crate does neither: it knows their types only. From iOS 18 on their parameters are
//! arguments; before, they were attributes, and are left alone here.
//!
//! # States
//!
//! A state is a tensor that outlives the call: the caller makes it, zero at first, hands it to each call, and
//! finds it changed. Within a function it is an input of type [`Type::State`], which only two ops take. `read_state`
//! gives the tensor that is in it now; `write_state` puts another in, of the same type, and assigns nothing. These
//! two are what makes the order of ops matter beyond who reads whom: a read after a write sees what was written.
//! The cache of keys and values is kept thus: read, `slice_update` with the new rows, write, read.
//!
//! # Weights
//!
//! A tensor literal holds its elements, or says where they lie: a [`BlobRef`], a weight file and the offset of a
//! record in it. File names begin with `@model_path`, which stands for the directory of the program, so a package
//! can be moved. Elements are never in the program twice: two functions that use one weight have equal
//! `BlobRef`s. Files are planned, streamed and mapped by the module [`blob`]; nothing here holds a whole weight in
//! memory to read or write it.
//!
//! # Validity
//!
//! [`validate`] proves that a program keeps the rules, [`validate_model`] that its description is true as well.
//! The proof is a value, [`ProgramInfo`]: writers and planners ask for it, so an unchecked program cannot be
//! written by oversight, and they find in it what was counted on the way. Readers answer with data that are
//! whole but not yet valid; [`Bundle::open`] does all of it. The one thing that takes broken programs is the
//! printer of [`text`], because the errors of the validator quote the op they are about.
//!
//! # The order of modules
//!
//! Each module may use only what stands before it: `error`, `dtype`, `types`, `value`, `infer`, `opset`,
//! `program`, `call`, `builder`, `model`, `pack`, `text`, `validate`, `digest`, `disk`, `blob`, `proto`, `package`,
//! `compiled`, `bundle`. A test holds them to it.
//!
//! # What is deliberately absent
//!
//! * Arithmetic on elements: there is none but on the constant shapes and axes that types depend on.
//! * Protobuf outside of [`proto`]: its messages are a format, not the program.
//! * Changes on the way through: a program that is read and written is the same, op by op and name by name. What a
//!   form cannot hold is an error that says so.
//! * Chance: equal models give equal bytes. No clock, no random identifier, no unordered map reaches a file.
//! * Panics on what is read: sizes are checked before memory is asked for, and depth before recursion.

pub mod blob;
mod builder;
mod bundle;
mod call;
pub mod compiled;
pub mod digest;
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
pub use bundle::{Bundle, read_model};
pub use dtype::DataType;
pub use error::{Error, Invalid, Result};
pub use model::{Description, Feature, Flexibility, Interface, Metadata, Model};
pub use opset::{OpInfo, OpKind, Opcode, Opset, Param, ParamKind};
pub use program::{Argument, Function, Op, Operand, Program, Var, VarId};
pub use types::{Dim, TensorType, Type};
pub use validate::{FunctionInfo, ProgramInfo, is_identifier, validate, validate_model};
pub use value::{BlobRef, Data, Value};
