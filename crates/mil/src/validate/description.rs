//! Whether a description says of the program what is so.

use std::collections::{BTreeMap, BTreeSet};

use crate::dtype::DataType;
use crate::error::Invalid;
use crate::model::{Description, Feature, Interface, Model};
use crate::program::{Function, Program, Var, VarId};
use crate::types::{Dim, TensorType, Type};

/// The first specification version with states and with several functions.
const IOS18: i32 = 9;

/// The rules that `validate_model` states; the program is valid already.
pub(super) fn validate(model: &Model) -> Result<(), Invalid> {
    functions(&model.description, &model.program)?;
    let mut states = BTreeMap::new();
    for interface in &model.description.functions {
        let Some(function) = model.program.function(&interface.name) else { continue };
        versions(model, interface, function)?;
        interface_of(interface, function)?;
        for state in &interface.states {
            let (first, other) = *states.entry(&state.name).or_insert((&interface.name, state));
            if (other.dtype, &other.shape) != (state.dtype, &state.shape) {
                let problem = format!(
                    "is {} here and {} in function `{first}`, expected one type for one state",
                    feature_type(state),
                    feature_type(other)
                );
                return Err(Invalid::new(&interface.name, format!("state `{}`", state.name), problem));
            }
        }
    }
    Ok(())
}

/// Checks that the description and the program tell of the same functions, the default one among them.
pub(crate) fn functions(description: &Description, program: &Program) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for interface in &description.functions {
        if !names.insert(&interface.name) {
            return Err(Invalid::new(&interface.name, "description", "the function is described twice"));
        }
        if program.function(&interface.name).is_none() {
            return Err(Invalid::new(&interface.name, "description", "the program has no such function"));
        }
    }
    for function in &program.functions {
        if description.interface(&function.name).is_none() {
            return Err(Invalid::new(&function.name, "program", "the description does not describe it"));
        }
    }
    let default = description.default_name();
    if description.interface(default).is_none() {
        return Err(Invalid::new(default, "description", "the default function is not described"));
    }
    match description.functions.iter().find(|f| description.default_function.is_none() && f.name != default) {
        Some(other) => {
            let problem = "no default function is named, so there may be only `main`";
            Err(Invalid::new(&other.name, "description", problem))
        }
        None => Ok(()),
    }
}

fn versions(model: &Model, interface: &Interface, function: &Function) -> Result<(), Invalid> {
    let version = model.specification_version;
    let wrong = |what: String| {
        let problem = format!("{what}, which specification version {version} does not have");
        Err(Invalid::new(&function.name, "description", problem))
    };
    // Each specification version from 6 on came with the release of iOS that is nine higher.
    if i32::from(function.opset.release()) > version.saturating_add(9) {
        return wrong(format!("the opset is {}", function.opset));
    }
    if version < IOS18 && !interface.states.is_empty() {
        return wrong("there are states".to_owned());
    }
    if version < IOS18 && model.description.default_function.is_some() {
        return wrong("functions are named".to_owned());
    }
    Ok(())
}

fn interface_of(interface: &Interface, function: &Function) -> Result<(), Invalid> {
    let vars = |ids: &[VarId]| ids.iter().map(|id| function.var(*id)).collect::<Vec<_>>();
    let (states, inputs): (Vec<_>, Vec<_>) =
        vars(&function.inputs).into_iter().partition(|var| matches!(var.ty, Type::State(_)));
    let kinds = [
        ("input", &interface.inputs, inputs),
        ("output", &interface.outputs, vars(&function.outputs)),
        ("state", &interface.states, states),
    ];
    for (kind, features, vars) in kinds {
        let wrong = |name: &str, problem: String| {
            Err(Invalid::new(&function.name, format!("{kind} `{name}`"), problem))
        };
        let by_name: BTreeMap<&str, &Var> = vars.iter().map(|var| (var.name.as_str(), *var)).collect();
        let mut described = BTreeSet::new();
        for feature in features {
            if !described.insert(&feature.name) {
                return wrong(&feature.name, "is described twice".to_owned());
            }
            let Some(var) = by_name.get(feature.name.as_str()) else {
                return wrong(&feature.name, format!("is described, but the program has no such {kind}"));
            };
            if let Err(problem) = compare(feature, &var.ty) {
                return wrong(&feature.name, problem);
            }
        }
        if let Some(var) = vars.iter().find(|var| !described.contains(&var.name)) {
            return wrong(&var.name, "is not described".to_owned());
        }
    }
    Ok(())
}

/// Whether the feature has the type of its variable.
fn compare(feature: &Feature, ty: &Type) -> Result<(), String> {
    let tensor = match ty {
        Type::Tensor(tensor) => tensor,
        Type::State(tensor) => {
            state(feature)?;
            tensor
        }
        other => return Err(format!("has type {other}, expected a tensor")),
    };
    if feature.dtype == tensor.dtype && fits(&feature.shape, tensor) {
        return Ok(());
    }
    Err(format!("is described as {}, but the program has {tensor}", feature_type(feature)))
}

fn fits(shape: &[i64], tensor: &TensorType) -> bool {
    let extent = |(described, dim): (&i64, &Dim)| match dim {
        Dim::Known(n) => u64::try_from(*described) == Ok(*n),
        Dim::Unknown => *described >= 0,
    };
    let is_scalar = tensor.shape.is_empty() && shape == [1];
    let is_same = shape.len() == tensor.rank() && shape.iter().zip(&tensor.shape).all(extent);
    shape.is_empty() || is_scalar || is_same
}

/// The rules of states alone.
fn state(feature: &Feature) -> Result<(), String> {
    if feature.dtype != DataType::Fp16 {
        return Err(format!("is {}, expected fp16, which is what states are", feature.dtype));
    }
    if feature.optional || feature.flexibility.is_some() {
        return Err("is optional or flexible, which states cannot be".to_owned());
    }
    if feature.shape.is_empty() || feature.shape.iter().any(|extent| *extent < 1) {
        return Err(format!("has shape {:?}, expected fixed extents", feature.shape));
    }
    Ok(())
}

fn feature_type(feature: &Feature) -> String {
    format!("{} {:?}", feature.dtype, feature.shape)
}
