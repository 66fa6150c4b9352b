//! Two models of one function each as one model of both, whoever made them.
//!
//! What may differ is what Core ML and coremltools (`save_multifunction`) let differ. Functions share weight files
//! and nothing else, so names of variables inside may recur. Function names must differ, and do, since both get new
//! ones. An input or output of one name may have other extents in the other function: that one takes a token and the
//! other a batch is the purpose. Another element type or rank is another thing under the same name, which Core ML
//! would take and callers trip over: such clashes are refused. States must be the same: the caller makes one state
//! object, from the description of the default function, and hands it to both. The opset is a matter of the function;
//! Apple's compiler takes those before iOS 18 in models of specification version 9.

mod clashes;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anelith_mil::blob::WeightStore;
use anelith_mil::package::Package;
use anelith_mil::{
    Description, Function, Interface, Metadata, Model, OpKind, Opcode, Opset, Program, ProgramInfo, proto,
    validate_model,
};
use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

pub(crate) use weights::{shared_file, write_merged};

/// The functions of a combined model, in the order of the description; the first is the default.
const FUNCTIONS: [&str; 2] = ["infer", "prefill"];

/// The first specification version with several functions: iOS 18 and macOS 15.
const SPECIFICATION_VERSION: i32 = 9;

/// Metadata that would be false of the combined package: the day on which one part was converted.
const CONVERSION_DATE: &str = "com.github.apple.coremltools.conversion_date";

/// How the keys begin by which ANEMLL's packages are known, and ours.
const ANEMLL: &str = "com.anemll.";

/// A model of one function, to be combined with another.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where it was opened.
    pub(crate) path: PathBuf,
    pub(crate) model: Model,
    pub(crate) weights: Weights,
}

/// The weights of a part.
#[derive(Debug)]
pub(crate) struct Weights {
    /// What `@model_path` stands for.
    root: PathBuf,
    store: WeightStore,
}

impl Part {
    /// Opens the package, or bare specification, at `path` and checks it with all its weights.
    ///
    /// # Errors
    /// When it cannot be read, is no valid ML program, has not exactly one function, or lacks weights; each names
    /// the file.
    pub(crate) fn open(path: &Path) -> Result<Part> {
        let package = Package::open(path)?;
        let model = proto::decode(&package.specification, &package.model_path.display().to_string())?;
        validated(&model, path)?;
        let store = WeightStore::open(&package.root, &model.program)?;
        let weights = Weights { root: package.root, store };
        let part = Part { path: path.to_path_buf(), model, weights };
        check_constants(only(&part.model, path)?.0, path)?;
        Ok(part)
    }

    /// Whether anelith converted it.
    pub(crate) fn is_ours(&self) -> bool {
        let info = self.model.description.metadata.user_defined.get("com.anemll.info");
        info.is_some_and(|info| info.starts_with("Converted with anelith"))
    }
}

/// The proof that `model`, of the package at `path`, is valid.
///
/// # Errors
/// The broken rules, with the path.
pub(crate) fn validated(model: &Model, path: &Path) -> Result<ProgramInfo> {
    validate_model(model).map_err(|problem| {
        let report = Report::new(format!("the program is not valid: {problem}")).at(path.display());
        Error::Input(
            report.expecting("a program that keeps the rules of MIL").mending("make the package again"),
        )
    })
}

/// The function of a model at `path`, and what callers see of it.
fn only<'m>(model: &'m Model, path: &Path) -> Result<(&'m Function, &'m Interface)> {
    match (model.program.functions.as_slice(), model.description.functions.as_slice()) {
        ([function], [interface]) => Ok((function, interface)),
        (functions, _) => {
            let names: Vec<_> = functions.iter().map(|f| format!("`{}`", f.name)).collect();
            let report = Report::new("not a model of one function").at(path.display());
            let report = report.expecting("one function, as `main`").finding(names.join(", "));
            Err(Error::Input(report.mending("combine the packages that each function was made as")))
        }
    }
}

/// Compressed weights had another form before iOS 18, and coremltools, which tells the forms apart by the
/// specification version, reads no model of version 9 that has the old one; it does not combine such models either.
fn check_constants(function: &Function, path: &Path) -> Result<()> {
    let is_old = |kind: &OpKind| kind.is_constant() && !kind.is(Opcode::Const);
    let Some(op) = function.ops.iter().find(|op| function.opset < Opset::Ios18 && is_old(&op.kind)) else {
        return Ok(());
    };
    let what = format!(
        "`{}` is compressed in the form of iOS 16, which coremltools does not read in a model of several functions",
        op.name()
    );
    let report = Report::new(what).at(path.display()).expecting("an opset of CoreML8 (iOS 18)");
    let report = report.finding(format!("`{}` of {}", op.kind.name(), function.opset.proto_name()));
    Err(Error::Input(
        report.mending("convert that model again for iOS 18, or leave its weights uncompressed"),
    ))
}

/// The model of both functions, which still refer to the weight files of their own packages. The paths are those of
/// the packages, for messages.
///
/// # Errors
/// When their names clash (see `clashes`), or one has not exactly one function.
pub(crate) fn combine(models: [Model; 2], paths: [&Path; 2]) -> Result<Model> {
    let sides: Vec<clashes::Side<'_>> = models
        .iter()
        .zip(paths)
        .map(|(model, path)| {
            only(model, path).map(|(function, interface)| clashes::Side { function, interface, path })
        })
        .collect::<Result<_>>()?;
    if let [one, other] = sides[..] {
        clashes::check([one, other])?;
    }
    let version = models.iter().map(|model| model.specification_version).max();
    let metadata = metadata(models.each_ref().map(|model| &model.description.metadata));
    let build_info = agreed(models.each_ref().map(|model| &model.program.build_info));
    let (mut functions, mut interfaces) = (Vec::new(), Vec::new());
    for (model, name) in models.into_iter().zip(FUNCTIONS) {
        let renamed = |f: Function| Function { name: name.to_owned(), ..f };
        functions.extend(model.program.functions.into_iter().map(renamed));
        let renamed = |f: Interface| Interface { name: name.to_owned(), ..f };
        interfaces.extend(model.description.functions.into_iter().map(renamed));
    }
    Ok(Model {
        specification_version: version.unwrap_or_default().max(SPECIFICATION_VERSION),
        description: Description {
            functions: interfaces,
            default_function: FUNCTIONS.first().map(|name| (*name).to_owned()),
            metadata,
        },
        program: Program { functions, build_info },
    })
}

/// The metadata of both in one: of the texts the first that says something, of each key the first value. Packages
/// of a language model are named as ANEMLL names them.
fn metadata([infer, prefill]: [&Metadata; 2]) -> Metadata {
    let mut user_defined = prefill.user_defined.clone();
    user_defined.extend(infer.user_defined.clone());
    user_defined.remove(CONVERSION_DATE);
    let first = |a: &String, b: &String| if a.is_empty() { b.clone() } else { a.clone() };
    let (one, two) = (&infer.short_description, &prefill.short_description);
    let short_description = if user_defined.keys().any(|key| key.starts_with(ANEMLL)) {
        "Anemll Model: Multifunction Combined".to_owned()
    } else if one.is_empty() || two.is_empty() || one == two {
        first(one, two)
    } else {
        format!("{}: {one}; {}: {two}", FUNCTIONS[0], FUNCTIONS[1])
    };
    Metadata {
        short_description,
        version: first(&infer.version, &prefill.version),
        author: first(&infer.author, &prefill.author),
        license: first(&infer.license, &prefill.license),
        user_defined,
    }
}

/// What was said of how the programs were made, as far as it is true of both.
fn agreed([infer, prefill]: [&BTreeMap<String, String>; 2]) -> BTreeMap<String, String> {
    let mut info = infer.clone();
    info.retain(|key, value| prefill.get(key) == Some(value));
    info
}
