//! A model behind OpenAI's HTTP interface.
//!
//! Two halves meet in a queue. In front, a connection is a task of a few threads that read requests, check them, and
//! write answers; behind, one thread owns the model and lets all answers under way take turns, a step each. A request is
//! a job in the queue, and what comes of it arrives in a channel of bounded length: who does not read is not waited for.
//!
//! Modules, each of which uses only those before it: error, problem, settings, protocol, pieces, writer, metrics, intake,
//! engine, card, page, reply, entry, guard, app, body, answering, routes, connection,
//! server.

mod answering;
mod app;
mod body;
mod card;
mod connection;
mod engine;
mod entry;
mod error;
#[cfg(test)]
mod fixtures;
mod guard;
mod intake;
mod metrics;
mod page;
mod pieces;
mod problem;
mod protocol;
mod reply;
mod routes;
mod server;
mod settings;
mod writer;

pub use app::Voice;
pub use card::{Card, Verified};
pub use entry::Tell;
pub use error::Error;
pub use protocol::read_request;
pub use server::{Server, Stop};
pub use settings::Settings;
