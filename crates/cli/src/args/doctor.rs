//! The arguments of `doctor`.

use std::path::PathBuf;

use clap::Args;

use super::ThreadArgs;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Model directory in Hugging Face format, or the id of a model in the hub's cache
    #[arg(long, value_name = "DIR|ID")]
    pub(crate) model: Option<PathBuf>,
    /// Branch, tag or commit of a model in the hub's cache [default: main]
    #[arg(long, value_name = "REVISION", requires = "model")]
    pub(crate) revision: Option<String>,
    /// meta.yaml of a converted model, or the directory that holds it
    #[arg(long, value_name = "FILE")]
    pub(crate) meta: Option<PathBuf>,
    /// Where conversions are to go: its disk is looked at
    #[arg(long, value_name = "DIR", default_value = "converted")]
    pub(crate) output: PathBuf,
    /// Context length of the conversion
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub(crate) context: u64,
    /// Tokens per prefill call of the conversion
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    pub(crate) batch: u64,
    /// Ask the hub whether it can be reached
    #[arg(long)]
    pub(crate) online: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}
