//! What is known to fail on the Neural Engine, or to leave it, found in an ML program before a Mac has seen it.
//!
//! Nobody outside of Apple has the rules of the Neural Engine. What users and Apple's own people have reported is a
//! table of [`Rule`]s here, each with its source, and [`lint`] says where a program breaks them. It looks at the program
//! and at weights; it runs nothing, and knows no language models. That nothing is found does not prove that every op
//! runs on the Neural Engine: only a compute plan on a Mac does.
//!
//! Severities say what is known, not how bad it may be: an error is known to fail, a warning to leave the Neural
//! Engine or to lose numbers, a note costs time at most.
//!
//! # What is no rule
//!
//! * `silu`, which some write as `x * sigmoid(x)`: models of ANEMLL that run on the Neural Engine have it.
//! * Indices in int32, as inputs and in the few words of a begin or end: those models have them too.
//! * Extents of the table of a `gather`, such as a vocabulary: embeddings are as large in models that are known to run.
//!
//! # The order of modules
//!
//! Each module may use only what stands before it: `target`, `rule`, `finding`, `view`, `checks`, `lint`.

mod checks;
mod finding;
mod lint;
mod rule;
mod target;
mod view;

pub use finding::Finding;
pub use lint::{Options, lint};
pub use rule::{RULES, Rule, Severity};
pub use target::Target;
