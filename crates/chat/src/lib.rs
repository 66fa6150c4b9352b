//! From tensors to a conversation: chat template, tokenizer, sampling and generation.
//!
//! The crate knows no operation and no kernel. Whatever predicts the next token stands behind
//! [`LanguageModel`]; the rest turns a conversation into token ids and token ids into text:
//! [`Session`] renders the turns with the model's [`Template`], encodes them with its
//! [`Tokenizer`], runs a [`Generator`] over the model and decodes what it yields.
//!
//! Modules, each of which uses only those before it: contain, error, json, date, special, tokenizer, template, meta,
//! model, sampler, sampling, monolith, cached, generate, conversation.

mod cached;
mod contain;
mod conversation;
mod date;
mod error;
#[cfg(test)]
mod fixtures;
mod generate;
mod json;
mod meta;
mod model;
mod monolith;
mod sampler;
mod sampling;
mod special;
mod template;
mod tokenizer;

pub use cached::{Cached, Slot};
pub use contain::is_contained;
pub use conversation::{Answer, Reply, Session, SessionOptions};
pub use error::{Error, Kind};
pub use generate::{End, Generation, Generator, Request};
pub use meta::{Lut, Luts, Meta, RecommendedSampling};
pub use model::{LanguageModel, Next};
pub use monolith::Monolith;
pub use sampler::{Candidate, greedy, likeliest, log_softmax, top};
pub use sampling::{Sampling, chance};
pub use template::{RenderOptions, Role, Template, Turn};
pub use tokenizer::{DecodeStream, Tokenizer};
