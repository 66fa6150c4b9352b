//! Every format of the crate, from the outside: against real files, against itself, and broken.

mod blob;
mod compiled;
mod order;
mod package;
mod proto;
mod roundtrip;
mod shared;
mod text;
mod validate;
