//! What is in a Core ML program, and what differs between two, whoever made them.
//!
//! A program is looked at as it lies on the disk, through [`anelith_mil::Bundle`], which has checked it; nothing is
//! run. [`summary`] counts, [`detail`] looks at one weight from its name to its table and its error against a
//! checkpoint, and [`diff`] compares two programs: what they say of themselves, their ops, their weights.
//!
//! # Weights
//!
//! A weight is a constant tensor that an op reads: a blob, an immediate list of floats, or what `constexpr` ops make of
//! some ([`weights`]). It is read as it is computed with, whatever it is stored as, so that a palettized weight can be
//! compared with a plain one ([`constants`]). Elements are made piece by piece and forgotten: memory is some pieces
//! and, where groups are told apart, some numbers for each, however large the file is. Sums are taken in the
//! order of the elements, on one thread, so that the same files give the same figures.
//!
//! # Names
//!
//! Converters take the name of a parameter and add to it. [`names`] takes off what says nothing but how it is stored; what
//! is left names a weight to people, finds its tensor in a checkpoint, and tells its part of the model and its layer.
//! Names are only asked where structure cannot answer: ops that have other names in both programs are brought
//! together by their order, kinds, types and arguments.
//!
//! # The order of modules
//!
//! Each module uses only those before it: `error`, `names`, `constants`, `weights`, `summary`, `compare`, `source`,
//! `detail`, `align`, `steps`, `pairs`, `graph`, `signature`, `diff`. A test holds them to it.

mod align;
pub mod compare;
pub mod constants;
pub mod detail;
pub mod diff;
mod error;
pub mod graph;
pub mod names;
mod pairs;
pub mod signature;
pub mod source;
mod steps;
pub mod summary;
pub mod weights;

pub use error::{Error, Result};
