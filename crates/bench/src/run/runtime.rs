//! How fast the results of conversions run, beside llama.cpp.
//!
//! Modules, each of which uses only those before it: told, cases, peer, results, repack, judge, tables, measure.

pub(crate) mod cases;
mod judge;
pub(crate) mod measure;
pub(crate) mod peer;
mod repack;
mod results;
pub(crate) mod tables;
mod told;
