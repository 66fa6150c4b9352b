//! The arguments of `inspect` and `diff`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Package, bundle, specification, or the meta.yaml of a converted model or its directory
    pub(crate) package: PathBuf,
    /// Show this weight; its name with dots or underscores, or a part of it that no other has
    #[arg(long, value_name = "NAME", conflicts_with = "text")]
    pub(crate) weight: Option<String>,
    /// Compare the weight with the tensor of this checkpoint: a directory in Hugging Face format, or the id of a model on
    /// the hub, ORG/NAME
    #[arg(long, value_name = "DIR|ID", requires = "weight")]
    pub(crate) model: Option<PathBuf>,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REVISION", requires = "model")]
    pub(crate) revision: Option<String>,
    /// Show this table of the weight
    #[arg(long, value_name = "N", requires = "weight", default_value_t = 0)]
    pub(crate) group: u64,
    /// Only this function
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<String>,
    /// Print the program as MIL text
    #[arg(long)]
    pub(crate) text: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "text")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Package, bundle, specification, or the meta.yaml of a converted model or its directory: the reference
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// What is compared with it
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// Only this function of both
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<String>,
    /// Differences that are listed of each sort, at most; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) top: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
