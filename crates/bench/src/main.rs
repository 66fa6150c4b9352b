//! `anelith-bench`: what conversions take, and how fast their results run. For developers of the project; nothing of
//! it is shipped.
//!
//! Modules, each of which uses only those before it: error, markdown, shapes, normal, generate, disk, usage, machine,
//! place, run, targets, stages, kmeans, report, command.

mod command;
mod disk;
mod error;
mod generate;
mod kmeans;
mod machine;
mod markdown;
mod normal;
mod place;
mod report;
mod run;
mod shapes;
mod stages;
mod targets;
mod usage;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match command::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads, nobody is told.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
