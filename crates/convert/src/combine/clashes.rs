//! Names that mean one thing in one function and another in the other.
//!
//! A caller finds an input, output or state by its name, and feeds the same array type to it in both functions:
//! so a name keeps its element type and rank, and what it is. Extents may differ, and an output of one function may
//! be an input of the other, as with an encoder and its decoder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anelith_mil::{Feature, Function, Interface, TensorType, VarId};
use anelith_report::{Report, Reported};

use crate::error::{Error, Result};

/// One of the two functions, with what callers see of it.
#[derive(Clone, Copy)]
pub(super) struct Side<'m> {
    pub(super) function: &'m Function,
    pub(super) interface: &'m Interface,
    /// Its package, for messages.
    pub(super) path: &'m Path,
}

/// Refuses functions whose names clash.
///
/// # Errors
/// When the states differ, which includes a name that is a state in one function and an input or output in the
/// other, or an input or output of both has another element type or rank; each shows both sides.
pub(super) fn check(sides: [Side<'_>; 2]) -> Result<()> {
    check_states(sides)?;
    check_tensors("input", sides, |function| &function.inputs)?;
    check_tensors("output", sides, |function| &function.outputs)
}

fn check_states([one, other]: [Side<'_>; 2]) -> Result<()> {
    if states(one.interface) == states(other.interface) {
        return Ok(());
    }
    let show = |side: Side<'_>, facing: Side<'_>| {
        format!("{} in {}", stated(side.interface, facing.interface), side.path.display())
    };
    let report = Report::new("the two models have different states, so no state object fits both");
    let report = report.at(other.path.display()).expecting(show(one, other)).finding(show(other, one));
    Err(Error::Input(report.mending("combine models of one conversion: same context, same states")))
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

/// Refuses a name that stands for another element type or rank in the other function. `kind` is what `ids` picks.
fn check_tensors(kind: &str, [one, other]: [Side<'_>; 2], ids: fn(&Function) -> &[VarId]) -> Result<()> {
    let mine = tensors(one.function, ids(one.function));
    let clash = tensors(other.function, ids(other.function)).into_iter().find_map(|(name, theirs)| {
        mine.get(name).filter(|ty| !is_alike(ty, theirs)).map(|ty| (name, *ty, theirs))
    });
    let Some((name, ty, theirs)) = clash else { return Ok(()) };
    let show = |ty: &TensorType, side: Side<'_>| format!("`{name}` {} in {}", shown(ty), side.path.display());
    let what = format!(
        "the {kind} `{name}` has another element type or rank in each of the two models: a name clash"
    );
    let report = Report::new(what).at(other.path.display());
    let report = report.expecting(show(ty, one)).finding(show(theirs, other));
    let mend = "or make both models with the same element type and number of dimensions";
    Err(Error::Input(report.mending(format!("rename the {kind} in one model, {mend}"))))
}

/// The tensors among `ids` by name; the program knows the rank where the description leaves it open.
fn tensors<'m>(function: &'m Function, ids: &[VarId]) -> BTreeMap<&'m str, &'m TensorType> {
    let tensor = |id: &VarId| {
        let var = function.var(*id);
        Some((var.name.as_str(), var.ty.as_tensor()?))
    };
    ids.iter().filter_map(tensor).collect()
}

fn is_alike(one: &TensorType, other: &TensorType) -> bool {
    one.dtype == other.dtype && one.shape.len() == other.shape.len()
}

/// As the states are shown.
fn shown(ty: &TensorType) -> String {
    let extents: Vec<String> = ty.shape.iter().map(ToString::to_string).collect();
    format!("{}[{}]", ty.dtype, extents.join(", "))
}
