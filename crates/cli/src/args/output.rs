//! `--json` and `--quiet`.

use clap::Args;

/// What a command says of its work and prints of its results.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object at the end in place of all else on standard output; when the command fails, nothing
    #[arg(long)]
    pub(crate) json: bool,
    /// Say and print nothing but warnings and errors, and with --json the object
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// For people, as they come.
    Text,
    /// One JSON object.
    Json,
    /// Not at all.
    Nothing,
}

impl OutputArgs {
    /// How results are printed.
    pub(crate) fn form(&self) -> Form {
        match (self.json, self.quiet) {
            (true, _) => Form::Json,
            (false, true) => Form::Nothing,
            (false, false) => Form::Text,
        }
    }
}
