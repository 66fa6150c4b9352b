//! The rules of this repository that a compiler does not know, as tests; there is nothing here to call.
//!
//! `tests/tidy/` reads every file of the workspace as text: sizes of files and functions, the order of modules,
//! the dependencies between crates, words that must not occur, and names in the documentation that must exist.
//! A rule that needs an exception has a list of them, each with its reason; an exception that nothing needs any
//! more is a failure too.
