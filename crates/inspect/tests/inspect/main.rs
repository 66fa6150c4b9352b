//! Weights of all forms against the executor, and programs that differ in known places.

mod constants;
mod differences;
mod hostile;
mod shared;
