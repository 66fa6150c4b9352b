//! Two models of one function each as one model of both, whoever made them.
//!
//! What may differ is what Core ML and coremltools (`save_multifunction`) let differ. Functions share weight files
//! and nothing else, so names of variables may recur, and inputs and outputs of one name may have other types or
//! shapes in the other function: that one takes a token and the other a batch is the purpose. Function names must
//! differ, and do, since both get new ones. States are the exception: the caller makes one state object, from the
//! description of the default function, and hands it to both, so both must have the same. The opset is a matter of
//! the function; Apple's compiler takes those before iOS 18 in models of specification version 9.

mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anelith_mil::blob::WeightStore;
use anelith_mil::package::Package;
use anelith_mil::{
    Description, Feature, Function, Interface, Metadata, Model, OpKind, Opcode, Opset, Program, ProgramInfo,
    proto, validate_model,
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
    root: PathBuf,
    model: Model,
    weights: WeightStore,
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
        let weights = WeightStore::open(&package.root, &model.program)?;
        let part = Part { path: path.to_path_buf(), root: package.root, model, weights };
        check_constants(part.only()?.0, path)?;
        Ok(part)
    }

    /// The function and what callers see of it.
    fn only(&self) -> Result<(&Function, &Interface)> {
        match (self.model.program.functions.as_slice(), self.model.description.functions.as_slice()) {
            ([function], [interface]) => Ok((function, interface)),
            (functions, _) => {
                let names: Vec<_> = functions.iter().map(|f| format!("`{}`", f.name)).collect();
                let report = Report::new("not a model of one function").at(self.path.display());
                let report = report.expecting("one function, as `main`").finding(names.join(", "));
                Err(Error::Input(report.mending("combine the packages that each function was made as")))
            }
        }
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

/// The model of both functions, which still refer to the weight files of their own packages.
///
/// # Errors
/// When their states differ.
pub(crate) fn combine(infer: &Part, prefill: &Part) -> Result<Model> {
    let parts = [infer, prefill];
    let [(first, face), (second, other_face)] = [infer.only()?, prefill.only()?];
    if states(face) != states(other_face) {
        let report = Report::new("the two models have different states, so no state object fits both");
        let show = |part: &Part, face, other| format!("{} in {}", stated(face, other), part.path.display());
        let report = report.at(prefill.path.display()).expecting(show(infer, face, other_face));
        let report = report.finding(show(prefill, other_face, face));
        return Err(Error::Input(
            report.mending("combine models of one conversion: same context, same states"),
        ));
    }
    let rename = |f: &Function, name: &str| Function { name: name.to_owned(), ..f.clone() };
    let renamed = |f: &Interface, name: &str| Interface { name: name.to_owned(), ..f.clone() };
    let [name, other] = FUNCTIONS;
    let version = parts.iter().map(|part| part.model.specification_version).max();
    Ok(Model {
        specification_version: version.unwrap_or_default().max(SPECIFICATION_VERSION),
        description: Description {
            functions: vec![renamed(face, name), renamed(other_face, other)],
            default_function: Some(name.to_owned()),
            metadata: metadata(parts.map(|part| &part.model.description.metadata)),
        },
        program: Program {
            functions: vec![rename(first, name), rename(second, other)],
            build_info: agreed(parts.map(|part| &part.model.program.build_info)),
        },
    })
}

/// What must be the same in both functions.
fn states(face: &Interface) -> BTreeMap<&str, (String, &[i64])> {
    face.states.iter().map(|s| (s.name.as_str(), (s.dtype.to_string(), s.shape.as_slice()))).collect()
}

/// The states of `face`, and what it makes of names that are states of `other` alone.
fn stated(face: &Interface, other: &Interface) -> String {
    let state = |s: &Feature| format!("`{}` {}{:?}", s.name, s.dtype, s.shape);
    let mut words: Vec<String> = face.states.iter().map(state).collect();
    let names: BTreeSet<&str> = other.states.iter().map(|s| s.name.as_str()).collect();
    for (kind, features) in [("input", &face.inputs), ("output", &face.outputs)] {
        let used = features.iter().filter(|f| names.contains(f.name.as_str()));
        words.extend(used.map(|f| format!("`{}` as an {kind}", f.name)));
    }
    if words.is_empty() { "no states".to_owned() } else { words.join(", ") }
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
