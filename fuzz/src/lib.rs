//! What each fuzz target checks: that a reader takes arbitrary bytes without a panic, without much memory and
//! without much time, and that what it accepts keeps the promises of its documentation.
//!
//! A module is a target, and its `check` one run of it; `targets` holds the programs, which add nothing.

pub mod blob;
pub mod chat_template;
pub mod config;
pub mod core_data;
pub mod index;
pub mod manifest;
pub mod meta_yaml;
pub mod mil_text;
pub mod npz;
pub mod plan;
pub mod protobuf;
pub mod readme;
pub mod request;
pub mod run;
pub mod safetensors;
pub mod safetensors_header;
pub mod tokenizer;
pub mod tokenizer_config;

mod scratch;
