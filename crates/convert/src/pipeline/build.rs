//! Steps 1 to 4: packages and the compiled bundle.

use std::fs;
use std::path::{Path, PathBuf};

use anelith_mil as mil;
use anelith_mil::blob::WeightStore;
use anelith_mil::compiled::{self, Compiler, Source};
use anelith_mil::disk::{self, Sharing, Staged};
use anelith_mil::package::{self, Package};
use anelith_mil::{Model, proto, validate_model};
use anelith_report::{Report, Reported};

use crate::combine::{self, Part, Weights};
use crate::error::{Error, Result, io};
use crate::lock::Lock;
use crate::parts::Plan;
use crate::progress::Progress;
use crate::step::{Outputs, Step};
use crate::target::{self, Kind};
use crate::weights::Written;

/// How outputs come to the weights of others.
#[derive(Clone, Copy)]
pub(super) struct Placing<'p> {
    pub sharing: Sharing,
    pub progress: &'p dyn Progress,
}

impl Placing<'_> {
    /// Gives the weight file `source` to an output in the making.
    ///
    /// # Errors
    /// When it cannot be read or given, or `Interrupted`.
    pub(super) fn place(self, source: &Path, dest: &Path) -> Result<()> {
        self.try_place(source, dest).map_err(|e| self.failure(e))
    }

    /// As `place`; an interruption is an error of the copy.
    fn try_place(self, source: &Path, dest: &Path) -> mil::Result<()> {
        self.sharing.place(source, dest, &|bytes| self.goes_on(bytes))
    }

    /// Tells of bytes that were copied, and learns whether to copy more.
    fn goes_on(self, bytes: u64) -> bool {
        self.progress.advance(bytes);
        !self.progress.interrupted()
    }

    /// Why a copy has failed, which may have been told to.
    fn failure(self, error: mil::Error) -> Error {
        if self.progress.interrupted() { Error::Interrupted } else { error.into() }
    }
}

/// Step 1: streams the weights and, if `accept` has nothing against them and the file that they are in, writes the
/// inference package around them.
pub(super) fn infer(
    plan: &Plan<'_>,
    outputs: &Outputs,
    progress: &dyn Progress,
    accept: impl FnOnce(&Written, &Path) -> Result<()>,
) -> Result<Written> {
    let staged = staged(&outputs.path(Step::Infer))?;
    let weights = weights_file(staged.path())?;
    let written = plan.weights.write(&weights, progress)?;
    accept(&written, &weights)?;
    write_package(staged, &plan.infer)?;
    Ok(written)
}

/// Step 2: the prefill package, with the weights of step 1.
pub(super) fn prefill(plan: &Plan<'_>, outputs: &Outputs, placing: Placing<'_>) -> Result<()> {
    let staged = staged(&outputs.path(Step::Prefill))?;
    let source = Package::open(&outputs.path(Step::Infer))?;
    let weights = weights_file(staged.path())?;
    placing.place(&source.root.join("weights/weight.bin"), &weights)?;
    write_package(staged, &plan.prefill)
}

/// Step 3: the package of both functions.
pub(super) fn combine(input: &Outputs, output: &Outputs, placing: Placing<'_>) -> Result<()> {
    let [infer, prefill] = [Step::Infer, Step::Prefill].map(|step| input.path(step));
    let out = output.path(Step::Combine);
    target::check_output(&out, Kind::Package)?;
    let combined = Combined::new([Part::open(&infer)?, Part::open(&prefill)?], placing.progress)?;
    combined.check_conversion()?;
    combined.write(&out, placing)
}

/// Step 4: the bundle of the combined package.
pub(super) fn compile(input: &Outputs, output: &Outputs, placing: Placing<'_>) -> Result<()> {
    let bundle = output.path(Step::Compile);
    target::check_output(&bundle, Kind::Bundle)?;
    write_bundle(&input.path(Step::Combine), &bundle, &Compiler::default(), placing).map(drop)
}

/// Replaces an output of step 1 to 4 by a copy that shares no file with it.
pub(super) fn separate(output: &Path, progress: &dyn Progress) -> Result<()> {
    let placing = Placing { sharing: Sharing::Copy, progress };
    let staged = Staged::directory(output)?;
    disk::copy_directory(output, staged.path(), &|bytes| placing.goes_on(bytes))
        .map_err(|e| placing.failure(e))?;
    Ok(staged.commit()?)
}

/// Combines two packages of one function each, whoever made them, into one of `infer` and `prefill`; equal weights
/// are stored once. Where both have the same weight file, `sharing` says how the third comes to it.
///
/// # Errors
/// When a package cannot be read or is not of that kind, or when their states differ. `Usage` when `out` does not
/// end in `.mlpackage`, or when what stands there is not a package or is, holds or surrounds a source. `Machine` when
/// a conversion is under way in the directory of `out`. `Interrupted` leaves nothing behind.
pub fn combine_packages(
    infer: &Path,
    prefill: &Path,
    out: &Path,
    sharing: Sharing,
    progress: &dyn Progress,
) -> Result<()> {
    target::check_named(out, Kind::Package, &[infer, prefill])?;
    let _lock = Lock::acquire_if_used(directory_of(out))?;
    let placing = Placing { sharing, progress };
    Combined::new([Part::open(infer)?, Part::open(prefill)?], progress)?.write(out, placing)
}

/// The model of two parts, and what is known of its package before it is written.
struct Combined {
    model: Model,
    /// Of the parts.
    paths: [PathBuf; 2],
    weights: [Weights; 2],
    /// The weight file that both parts have.
    shared: Option<PathBuf>,
    are_ours: bool,
}

impl Combined {
    /// The programs of the parts are moved, not copied: they take more memory than all else.
    fn new(parts: [Part; 2], progress: &dyn Progress) -> Result<Combined> {
        let are_ours = parts.iter().all(Part::is_ours);
        let [infer, prefill] = parts;
        let (paths, weights) = ([infer.path, prefill.path], [infer.weights, prefill.weights]);
        let model = combine::combine([infer.model, prefill.model], paths.each_ref().map(PathBuf::as_path))?;
        let shared = combine::shared_file(&weights, progress)?;
        Ok(Combined { model, paths, weights, shared, are_ours })
    }

    /// Refuses packages of two conversions where both are ours, since step 2 takes the weights of step 1.
    fn check_conversion(&self) -> Result<()> {
        if self.shared.is_some() || !self.are_ours {
            return Ok(());
        }
        let [infer, prefill] = &self.paths;
        let report = Report::new("the two packages have different weights").at(prefill.display());
        let report = report.expecting(format!("the weights of {}", infer.display()));
        let report = report.finding("those of another model, or of other options");
        let mend =
            "convert both with the same model and options; to combine them nonetheless, give three paths";
        Err(Error::Input(report.mending(mend)))
    }

    fn write(mut self, out: &Path, placing: Placing<'_>) -> Result<()> {
        let staged = Staged::directory(out)?;
        let file = weights_file(staged.path())?;
        match self.shared {
            Some(shared) => placing.place(&shared, &file)?,
            None => combine::write_merged(&mut self.model, &self.weights, &file, placing.progress)?,
        }
        // Pages of the mapped files count as memory.
        drop(self.weights);
        write_package(staged, &self.model)
    }
}

/// Compiles a package, or a bare specification, into a bundle, which comes to the weights as `sharing` says; gives a
/// warning where the bundle will not load yet.
///
/// # Errors
/// When the source cannot be read, is not a valid ML program, or the bundle cannot be written. `Usage` when `bundle`
/// does not end in `.mlmodelc`, or when what stands there is not a bundle or is, holds or surrounds the source.
/// `Machine` when a conversion is under way in the directory of `bundle`. `Interrupted` leaves nothing behind.
pub fn compile_package(
    source: &Path,
    bundle: &Path,
    compiler: &Compiler,
    sharing: Sharing,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    target::check_named(bundle, Kind::Bundle, &[source])?;
    let _lock = Lock::acquire_if_used(directory_of(bundle))?;
    write_bundle(source, bundle, compiler, Placing { sharing, progress })
}

fn directory_of(target: &Path) -> &Path {
    target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_bundle(
    source: &Path,
    bundle: &Path,
    compiler: &Compiler,
    placing: Placing<'_>,
) -> Result<Option<String>> {
    let package = Package::open(source)?;
    let model = read_model(&package)?;
    let info = combine::validated(&model, source)?;
    let warning = check_weights(&package, &model)?;
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (class_name, model_name) = (stem(source), stem(&package.model_path));
    let source = Source {
        specification: &package.specification,
        model_name: &model_name,
        weights_root: &package.root,
        class_name: &class_name,
        place: &|from, to| placing.try_place(from, to),
    };
    let staged = Staged::directory(bundle)?;
    compiled::write(staged.path(), &model, &info, &source, compiler).map_err(|e| placing.failure(e))?;
    staged.commit()?;
    Ok(warning)
}

/// Checks every blob that the program refers to. A Git LFS pointer in place of the weights is copied as it is, with
/// a warning: whoever fetches the weights later needs nothing else made again.
fn check_weights(package: &Package, model: &Model) -> Result<Option<String>> {
    let Err(error) = WeightStore::open(&package.root, &model.program) else { return Ok(None) };
    let weights = package.root.join("weights/weight.bin");
    match disk::is_lfs_pointer(&weights)? {
        true => Ok(Some(format!("{} is a Git LFS pointer, and so it is in the bundle", weights.display()))),
        false => Err(error.into()),
    }
}

fn read_model(package: &Package) -> Result<Model> {
    Ok(proto::decode(&package.specification, &package.model_path.display().to_string())?)
}

/// A package in the making, where nothing or another package stands.
fn staged(package: &Path) -> Result<Staged> {
    target::check_output(package, Kind::Package)?;
    Ok(Staged::directory(package)?)
}

/// The weight file of a package in the making; its directory is there.
fn weights_file(package: &Path) -> Result<PathBuf> {
    let path = package::weights_path(package);
    // One by one: what is abandoned meanwhile must not come back.
    let levels: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| *dir != package).collect();
    levels.into_iter().rev().try_for_each(|dir| fs::create_dir(dir).map_err(io("create", dir)))?;
    Ok(path)
}

fn write_package(staged: Staged, model: &Model) -> Result<()> {
    let info = validate_model(model)?;
    let specification = proto::encode(model, &info)?;
    package::write_into(staged.path(), &specification)?;
    Ok(staged.commit()?)
}
