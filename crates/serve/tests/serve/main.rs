//! A server with a model that counts, over real sockets.

mod answers;
mod counting;
mod faults;
mod limits;
mod machine;
mod shutdown;
