//! The program as its users meet it: every test runs the binary and looks at status, output and files.

mod anelith;
mod arguments;
mod chat;
mod checkpoint;
mod convert;
mod diff;
mod files;
mod golden;
mod hub;
mod inputs;
mod inspect;
mod interrupt;
mod json;
mod links;
mod lint;
mod options;
mod packages;
mod refusals;
mod resume;
mod serve;
mod verify;
