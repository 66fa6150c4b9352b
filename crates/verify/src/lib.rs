//! How far a converted model is from its checkpoint, and why.
//!
//! ```text
//! checkpoint --reference--> hidden states and logits in f32 --.
//!                                                              > figures, token by token
//! package ----runtime-----> the same, in fp16 and in f32 ------'
//! ```
//!
//! [`verify`] takes the files as they lie on the disk and feeds `infer` a text token by token, as consumers do; what
//! it predicts after each token is compared with what `anelith-reference` computes from the checkpoint ([`Figures`]).
//! Three columns split the error: fp16 alone, lookup tables alone, and both ([`Part`]). The function is data, so the
//! hidden state after every block is returned as well, and the function is cut before every block to see what each
//! does by itself ([`BlockFigures`]); the runtime knows nothing of it. Then the package is held against itself:
//! batches against single tokens ([`Agreement`]), one run against another ([`Repeat`]).
//!
//! fp16 alone is not measured in the package, whose weights are gone: it is `infer` as `convert` makes it of the
//! checkpoint without lookup tables, with weights in a temporary file. For packages of other tools it is thus our
//! graph.
//!
//! Memory: the hidden states of a window after every block, the logits of 64 tokens, and what the runtime takes.
//! Everything has its order, so the figures are the same at any number of threads.
//!
//! Modules, each of which uses only those before it: error, progress, zip, npz, passage, tokens, figures, block,
//! graph, machine, package, noise, saturation, agreement, column, verify, gate, verdict.

mod agreement;
mod block;
mod column;
mod error;
mod figures;
mod gate;
mod graph;
mod machine;
mod noise;
mod npz;
mod package;
mod passage;
mod progress;
mod saturation;
mod tokens;
mod verdict;
mod verify;
mod zip;

pub use agreement::{Agreement, Repeat};
pub use block::Block;
pub use column::Part;
pub use error::{Error, Result};
pub use figures::Figures;
pub use gate::{Gate, Judged, METRICS, Metric};
pub use noise::BlockFigures;
pub use progress::{Progress, Silent};
pub use saturation::{Beyond, Saturation};
pub use tokens::Tokens;
pub use verdict::{advice, grade};
pub use verify::{Scope, Verification, verify};
