//! The model under test as it lies on the disk, and the one that the same checkpoint gives without lookup tables.

use std::path::{Path, PathBuf};

use anelith_chat::Meta;
use anelith_checkpoint::{Checkpoint, Config};
use anelith_convert as convert;
use anelith_mil::blob::WeightStore;
use anelith_mil::disk::Staged;
use anelith_mil::{Bundle, Function, Type};
use anelith_report::{Report, Reported};
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::graph::{self, Anatomy, CAUSAL_MASK, INPUT_IDS};
use crate::machine::{INFER, PREFILL};
use crate::progress::{Progress, Relay};

/// Where `convert` puts the weights of a program, below its directory.
const WEIGHTS: &str = "weights";
const WEIGHT_FILE: &str = "weight.bin";

/// A converted model, read from the disk.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) path: PathBuf,
    pub(crate) bundle: Bundle,
    pub(crate) context: usize,
    pub(crate) batch: usize,
    pub(crate) anatomy: Anatomy,
}

impl Package {
    /// Reads the model that `meta` names, and compares it with the config of the checkpoint.
    ///
    /// # Errors
    /// `Chat` and `Mil` for files that cannot be read, `Input` for a model of another shape than the checkpoint, or than
    /// `meta` says.
    pub(crate) fn open(meta: &Meta, config: &Config) -> Result<Package> {
        let path = meta.model_path()?;
        let bundle = Bundle::open(&path)?;
        let (context, batch) = (meta.context_length, meta.batch_size);
        let anatomy = Anatomy::of(function(&bundle, &path, INFER)?, config.num_hidden_layers);
        let package = Package { path, bundle, context, batch, anatomy };
        package.check(config)?;
        package.check_meta(&meta.path)?;
        Ok(package)
    }

    /// The function that takes one token.
    ///
    /// # Errors
    /// `Input` where there is none.
    pub(crate) fn infer(&self) -> Result<&Function> {
        function(&self.bundle, &self.path, INFER)
    }

    fn check(&self, config: &Config) -> Result<()> {
        let function = self.infer()?;
        let size = |var| graph::elements(function, var).unwrap_or(0);
        let vocab: usize = self.anatomy.logits.iter().map(|var| size(*var)).sum();
        self.same("logits", config.vocab_size, "vocab_size", vocab)?;
        let states = function.inputs.iter().filter_map(|var| match &function.var(*var).ty {
            Type::State(ty) => ty.fixed_shape(),
            _ => None,
        });
        // Keys and values of all layers in one state; tools that keep them otherwise are told apart by what follows.
        if let [shape] = states.collect::<Vec<_>>().as_slice()
            && let [layers, heads, _, dim] = shape[..]
        {
            let heads = usize::try_from(heads).unwrap_or(0);
            let dim = usize::try_from(dim).unwrap_or(0);
            let layers = usize::try_from(layers).unwrap_or(0);
            self.same("keys and values in the cache", 2 * config.num_hidden_layers, "two a layer", layers)?;
            self.same("heads in the cache", config.num_key_value_heads, "num_key_value_heads", heads)?;
            self.same("numbers a head", config.head_dim, "head_dim", dim)?;
        }
        match self.anatomy.stream.first() {
            Some(var) => self.same("hidden channels", config.hidden_size, "hidden_size", size(*var)),
            None => Ok(()),
        }
    }

    /// Compares what `meta` says with what the functions take, where their shapes are fixed: before anything is
    /// measured, since `prefill` is run last.
    fn check_meta(&self, meta: &Path) -> Result<()> {
        let prefill = function(&self.bundle, &self.path, PREFILL)?;
        for (function, input, said, key) in [
            (self.infer()?, CAUSAL_MASK, self.context, "context_length"),
            (prefill, INPUT_IDS, self.batch, "batch_size"),
        ] {
            let extents = graph::input(function, input).map(|var| graph::extents(function, var));
            let extent = extents.and_then(|extents| extents.last().copied());
            if let Some(extent) = extent.filter(|extent| *extent != said) {
                let report = Report::new("meta.yaml and the model do not belong together");
                let report = report.at(format!("{}, key `{key}`", meta.display()));
                let of = format!("{extent}, which `{}` of {} takes", function.name, self.path.display());
                let report = report.expecting(of).finding(said);
                return Err(Error::input(
                    report.mending("give the meta.yaml that was written with this model"),
                ));
            }
        }
        Ok(())
    }

    fn same(&self, what: &str, expected: usize, field: &str, found: usize) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        let report = Report::new("the converted model and the checkpoint are not the same model");
        let report = report.at(self.path.display()).expecting(format!("{expected} {what} ({field})"));
        let report = report.finding(found);
        Err(Error::input(report.mending("give the checkpoint that was converted, and its meta.yaml")))
    }
}

fn function<'b>(bundle: &'b Bundle, path: &Path, name: &str) -> Result<&'b Function> {
    bundle.model.program.function(name).ok_or_else(|| {
        let functions = &bundle.model.program.functions;
        let names: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
        let report = Report::new(format!("the model has no function `{name}`")).at(path.display());
        Error::input(
            report.expecting("a monolithic model, with `infer` and `prefill`").finding(names.join(", ")),
        )
    })
}

/// What the checkpoint gives without lookup tables: `infer` of the conversion with `--lut none`.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) function: Function,
    pub(crate) weights: WeightStore,
    pub(crate) anatomy: Anatomy,
    /// Both hold the weight file as long as it is mapped, where the system does not let it go before.
    _place: Staged,
    _directory: TempDir,
}

impl Plain {
    /// Converts in a temporary directory: 2 bytes a weight, which are free again when the file is mapped.
    ///
    /// # Errors
    /// As those of a conversion; `Machine` where the directory cannot be made.
    pub(crate) fn convert(
        checkpoint: &Checkpoint,
        package: &Package,
        progress: &dyn Progress,
    ) -> Result<Plain> {
        let directory = tempfile::tempdir().map_err(|e| {
            let report = Report::new("cannot make a temporary directory").finding(e);
            Error::machine(
                report.mending("set TMPDIR to a directory with room, or verify with --f32 or --exact"),
            )
        })?;
        let (context, batch) = (package.context as u64, package.batch as u64);
        let options = convert::Options {
            model: checkpoint.dir.clone(),
            output: directory.path().to_owned(),
            context,
            batch,
            lut: convert::Lut::None,
            lut_embeddings: None,
            lut_lmhead: None,
            argmax: false,
            prefix: None,
        };
        let plan = convert::Plan::new(checkpoint, &options, &Relay(progress))?;
        // Staged, so that they go with a process that must end while they are written.
        let place = Staged::directory(&directory.path().join("plain"))?;
        let weights = place.path().join(WEIGHTS);
        std::fs::create_dir(&weights).map_err(|e| {
            Error::machine(Report::new(format!("cannot make `{}`", weights.display())).finding(e))
        })?;
        progress.begin("weights without lookup tables", plan.weights.source_bytes());
        plan.weights.write(&weights.join(WEIGHT_FILE), &Relay(progress))?;
        progress.end();
        let weights = WeightStore::open(place.path(), &plan.infer.program)?;
        // What is mapped stays readable, and nothing is left by a process that is killed later; where the system
        // refuses, the directory goes with this value.
        let _ = std::fs::remove_dir_all(directory.path());
        let function = plan.infer.program.functions.into_iter().next().ok_or_else(|| {
            Error::input(Report::new("the conversion without lookup tables has no function"))
        })?;
        let anatomy = Anatomy::of(&function, checkpoint.config.num_hidden_layers);
        Ok(Plain { function, weights, anatomy, _place: place, _directory: directory })
    }
}
