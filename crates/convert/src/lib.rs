//! From a checkpoint to one Core ML program: families, blocks, palettization, steps 0 to 5.
//!
//! The way of a weight: a family file in `arch` asks the graph for a projection; the graph asks `weights` for
//! the tensor, which gets its place in `weight.bin` from its size alone; `parts` makes models of the graphs;
//! `pipeline` streams the weights, palettizing each group by `kmeans`, and writes packages and bundle.
//! This crate never runs a program and never prints; it tells a `Progress` where it is.
//!
//! Modules, each of which uses only those before it: error, step, selection, progress, ordered, options, digest,
//! kmeans, head, rotary, weights, graph, arch, metadata, parts, sampling, meta_yaml, combine, record, lock, target,
//! leftovers, links, check, pipeline.

mod arch;
mod check;
mod combine;
mod digest;
mod error;
mod graph;
mod head;
pub mod kmeans;
mod leftovers;
mod links;
mod lock;
mod meta_yaml;
mod metadata;
mod options;
mod ordered;
mod parts;
mod pipeline;
mod progress;
mod record;
mod rotary;
mod sampling;
mod selection;
mod step;
mod target;
mod weights;

pub use anelith_mil::disk::Sharing;
pub use check::Finding;
pub use error::{Error, Result};
pub use head::HeadSplit;
pub use lock::abandon;
pub use options::{Group, Lut, Luts, Options, check_prefix};
pub use parts::Plan;
pub use pipeline::{
    Action, File, Outcome, Pipeline, Preview, StepPlan, combine_packages, compile_package, run_alone,
};
pub use progress::{Progress, Silent, Stage};
pub use record::RECORD_FILE;
pub use selection::Selection;
pub use step::{CHAT_STEP, Outputs, Step};
pub use weights::{Component, ComponentReport, Regrouped, Small, WeightReport, Written};
