//! anelith: a Hugging Face language model as one Core ML model for the Apple Neural Engine.
//!
//! One file a command, and what they share. Modules, each of which uses only those before it: plain, failure, args,
//! terminal, threads, foreign, results, hub, tables, document, bench, chat, gate, convert, packages, run, serve, verify,
//! inspect, diff, lint, doctor.

mod args;
mod bench;
mod chat;
mod convert;
mod diff;
mod doctor;
mod document;
mod failure;
mod foreign;
mod gate;
mod hub;
mod inspect;
mod lint;
mod packages;
mod plain;
mod results;
mod run;
mod serve;
mod tables;
mod terminal;
mod threads;
mod verify;

use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use args::{Cli, Command};
use terminal::Interrupt;

fn main() -> ExitCode {
    let start = Instant::now();
    quiet_contained_panics();
    let command = Cli::parse().command;
    if command.is_quiet() {
        terminal::be_quiet();
    }
    let interrupt = if command.minds_interrupts() { Interrupt::default() } else { Interrupt::catch() };
    let done = threads::start(command.threads()).and_then(|()| match command {
        Command::Convert(args) => convert::convert(&args, &interrupt),
        Command::Part(args) => convert::part(&args, &interrupt),
        Command::Combine(args) => packages::combine(&args, &interrupt),
        Command::Compile(args) => packages::compile(&args, &interrupt),
        Command::Chat(args) => chat::chat(&args),
        Command::Generate(args) => chat::generate(&args),
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Verify(args) => verify::verify(&args, &interrupt),
        Command::Bench(args) => bench::bench(&args, start),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Lint(args) => lint::lint(&args),
        Command::Doctor(args) => doctor::doctor(&args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::say(failure.text().trim_end());
            ExitCode::from(failure.status as u8)
        }
    }
}

/// A panic of a library that becomes an error is reported as that error alone; one of our own is a bug, and is seen.
fn quiet_contained_panics() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        // Cargo names the files of a workspace by their place in it, and those of its dependencies from the root.
        let is_ours = panic.location().is_none_or(|place| Path::new(place.file()).starts_with("crates"));
        if is_ours || !anelith_chat::is_contained() {
            report(panic);
        }
    }));
}
