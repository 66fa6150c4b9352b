//! The arguments of `lint`.

use std::path::PathBuf;

use anelith_lint::Target;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Package, bundle, specification, or the meta.yaml of a converted model or its directory
    #[arg(required_unless_present = "rules")]
    pub(crate) package: Option<PathBuf>,
    /// Where the model is to run: macos15, any Mac; ios18, iPhones and iPads; m1 and a14, those with these chips
    #[arg(long, value_name = "TARGET,...", value_delimiter = ',', default_value = "macos15")]
    pub(crate) target: Vec<TargetArg>,
    /// Look for these rules only; without a package, list them: all when none is named
    #[arg(long, value_name = "ID,...", value_delimiter = ',', num_args = 0..=1)]
    pub(crate) rules: Option<Vec<String>>,
    /// Rules that may be broken
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// Fail on warnings as on errors
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print one JSON object, with every finding
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TargetArg {
    #[value(alias = "macos", alias = "mac")]
    Macos15,
    #[value(alias = "ios", alias = "iphone")]
    Ios18,
    M1,
    A14,
}

impl From<TargetArg> for Target {
    fn from(target: TargetArg) -> Target {
        match target {
            TargetArg::Macos15 => Target::Macos15,
            TargetArg::Ios18 => Target::Ios18,
            TargetArg::M1 => Target::M1,
            TargetArg::A14 => Target::A14,
        }
    }
}
