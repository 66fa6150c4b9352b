//! The arguments of `combine` and `compile`.

use std::path::PathBuf;

use anelith_convert::Lut;
use clap::Args;

use super::{LinkArgs, OutputArgs};

/// Where the step outputs of a conversion are.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The palettization that the decoder layers must have, in the words of --lut of convert; embedding and LM head
    /// may have another
    #[arg(long, value_name = "LUT")]
    pub(crate) lut: Option<Lut>,
    /// Prefix of file names [default: the only one that fits]
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Directory of the inputs [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub(crate) input: Option<PathBuf>,
    /// Directory of the output [default: that of the inputs]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) printing: OutputArgs,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
}

impl StepArgs {
    /// An option that is given but means nothing where packages are named by path.
    pub(crate) fn stray(&self) -> Option<&'static str> {
        let given = [
            (self.prefix.is_some(), "--prefix"),
            (self.input.is_some(), "--input"),
            (self.output.is_some(), "--output"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }
}

#[derive(Debug, Args)]
pub(crate) struct CombineArgs {
    /// Combine the packages of a monolithic conversion
    #[arg(long)]
    pub(crate) monolithic: bool,
    /// Three packages, in place of --monolithic: the inference, the prefill and, to be written, the combined one
    #[arg(value_names = ["INFER", "PREFILL", "OUT"], num_args = 3, conflicts_with = "monolithic")]
    pub(crate) packages: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) step: StepArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// `monolithic`, or SOURCE OUT.mlmodelc, where SOURCE is a .mlpackage or a .mlmodel
    #[arg(value_name = "SOURCE", required = true, num_args = 1..=2)]
    pub(crate) source: Vec<PathBuf>,
    /// Versions of Apple's compiler to write into the bundle: COMPONENT,COREMLC
    #[arg(long, value_name = "VERSIONS")]
    pub(crate) coremlc_version: Option<String>,
    #[command(flatten)]
    pub(crate) step: StepArgs,
}
