//! The ops of a function that compute, with what each reads: constants folded into the ops that read them.

use std::collections::HashMap;

use anelith_mil::{Data, DataType, Op, Operand, TensorType, Value};

use crate::align::Key;
use crate::constants::{Constant, View};
use crate::names;
use crate::weights;

/// An op that computes.
#[derive(Debug)]
pub(crate) struct Step<'m> {
    /// The op.
    pub(crate) op: &'m Op,
    /// The types of its results.
    pub(crate) types: Vec<String>,
    /// What it reads, by parameter and place in the list, then its attributes.
    pub(crate) arguments: Vec<(String, Read<'m>)>,
    /// The decoder layer that it belongs to, where names tell.
    pub(crate) layer: Option<u64>,
}

/// What an op reads.
#[derive(Clone, Debug)]
pub(crate) enum Read<'m> {
    /// An input or state of the function.
    Input(&'m str),
    /// A result of an earlier step.
    Result {
        /// The step.
        step: usize,
        /// Which of its results.
        output: usize,
    },
    /// A number, a string, or a short list of them.
    Value(&'m Value),
    /// A weight.
    Weight {
        /// What tells it from others of the program.
        key: String,
        /// Its name.
        name: String,
        /// Its type as it is computed with.
        ty: &'m TensorType,
        /// The weight itself.
        constant: Constant<'m>,
    },
    /// A variable that nothing assigns.
    Nothing,
}

/// The steps of the function of `view`.
pub(crate) fn steps<'m>(view: View<'m>) -> Vec<Step<'m>> {
    let mut places: Vec<Option<usize>> = vec![None; view.function.ops.len()];
    let mut steps: Vec<Step<'m>> = Vec::new();
    let mut layer = None;
    let is_decoder = is_decoder(view);
    for (i, op) in view.function.ops.iter().enumerate().filter(|(_, op)| !op.kind.is_constant()) {
        let mut arguments = Vec::new();
        for (name, argument) in &op.inputs {
            let many = argument.operands().len() > 1;
            for (k, operand) in argument.operands().iter().enumerate() {
                let label = if many { format!("{name}[{k}]") } else { name.clone() };
                arguments.push((label, read(view, &places, op, name, operand)));
            }
        }
        let attributes = op.attributes.iter().filter(|(name, _)| *name != "name");
        arguments.extend(attributes.map(|(name, value)| (name.clone(), Read::Value(value))));
        layer = layer_of(op, &arguments, layer.filter(|_| is_decoder));
        places[i] = Some(steps.len());
        let types = op.outputs.iter().filter_map(|id| view.function.vars.get(id.0 as usize));
        steps.push(Step { op, types: types.map(|var| var.ty.to_string()).collect(), arguments, layer });
    }
    steps
}

fn read<'m>(
    view: View<'m>,
    places: &[Option<usize>],
    reader: &'m Op,
    parameter: &str,
    operand: &'m Operand,
) -> Read<'m> {
    if let Some(constant) = weights::weight_of(view, operand)
        && let Some(ty) = view.type_of(constant)
    {
        let name = weights::name_of(view, operand, reader, parameter);
        return Read::Weight { key: weights::key(view, constant, 0), name, ty, constant };
    }
    if let Some(Constant::Literal(value)) = view.constant(operand) {
        return Read::Value(value);
    }
    let Operand::Var(var) = operand else { return Read::Nothing };
    match view.definition(*var) {
        Some((index, op)) => {
            let output = op.outputs.iter().position(|v| v == var).unwrap_or(0);
            places.get(index).copied().flatten().map_or(Read::Nothing, |step| Read::Result { step, output })
        }
        None => view.function.vars.get(var.0 as usize).map_or(Read::Nothing, |var| Read::Input(&var.name)),
    }
}

/// Whether the function has decoder layers, so that ops between two of one layer belong to it.
fn is_decoder(view: View<'_>) -> bool {
    view.function.ops.iter().any(|op| {
        let words = names::words(op.name());
        names::layer(&words).is_some() && matches!(names::component(&words), Some("attention" | "MLP"))
    })
}

/// The layer that the op's name speaks of, else that of its weights, else the one before. A name of a part of the
/// model that is in no layer ends the layer.
fn layer_of(op: &Op, arguments: &[(String, Read<'_>)], before: Option<u64>) -> Option<u64> {
    let of_weights = arguments.iter().filter_map(|(_, read)| match read {
        Read::Weight { name, .. } => Some(name.as_str()),
        _ => None,
    });
    for name in [op.name()].into_iter().chain(of_weights) {
        let words = names::words(name);
        if let Some(layer) = names::layer(&words) {
            return Some(layer);
        }
        if matches!(names::component(&words), Some("LM head" | "embeddings" | "rotary tables"))
            || is_last_norm(&words)
        {
            return None;
        }
    }
    before
}

/// The norm behind the last layer is called so and no more.
fn is_last_norm(words: &[String]) -> bool {
    words.first().is_some_and(|word| word == "norm")
}

/// Numbers for texts: equal ones for equal texts.
#[derive(Default, Debug)]
pub(crate) struct Interner(HashMap<String, u32>);

impl Interner {
    fn number(&mut self, text: String) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(text).or_insert(next)
    }

    /// The keys of steps; names of ops and weights do not count. Results of a step that `known` has a number for are
    /// told by it.
    pub(crate) fn keys(&mut self, steps: &[Step<'_>], known: impl Fn(usize) -> Option<usize>) -> Vec<Key> {
        let key = |step: &Step<'_>| {
            let kind = step.op.kind.name();
            let types = format!("{kind} {}", step.types.join(" "));
            let read = |(name, read): &(String, Read<'_>)| {
                let number = if let Read::Result { step, .. } = read { known(*step) } else { None };
                let read = number.map_or_else(|| read.structure(steps), |number| format!("step {number}"));
                format!("{name}={read}")
            };
            let arguments: Vec<String> = step.arguments.iter().map(read).collect();
            let whole = format!("{types} {}", arguments.join(" "));
            Key { kind: self.number(kind.to_owned()), types: self.number(types), whole: self.number(whole) }
        };
        steps.iter().map(key).collect()
    }
}

impl Read<'_> {
    /// What it is, whatever things are called.
    fn structure(&self, steps: &[Step<'_>]) -> String {
        match self {
            Read::Input(name) => format!("input {name}"),
            Read::Result { step, output } => {
                let step = steps.get(*step);
                let kind = step.map_or("", |step| step.op.kind.name());
                let ty = step.and_then(|step| step.types.get(*output));
                format!("{kind}:{}", ty.map_or("", String::as_str))
            }
            Read::Value(value) => format!("{value:?}"),
            Read::Weight { ty, .. } => format!("weight {}", plain_type(ty)),
            Read::Nothing => String::new(),
        }
    }

    /// What it is, for people.
    pub(crate) fn shown(&self, steps: &[Step<'_>]) -> String {
        match self {
            Read::Input(name) => format!("input `{name}`"),
            Read::Result { step, .. } => format!("`{}`", steps.get(*step).map_or("", |step| step.op.name())),
            Read::Value(value) => shown(value),
            Read::Weight { name, ty, .. } => format!("weight `{name}` {ty}"),
            Read::Nothing => "nothing".to_owned(),
        }
    }
}

/// The extents without those of one, since weights of the same layer have more or fewer of them.
pub(crate) fn plain_type(ty: &TensorType) -> String {
    let one = anelith_mil::Dim::Known(1);
    let extents: Vec<String> = ty.shape.iter().filter(|d| **d != one).map(ToString::to_string).collect();
    extents.join(",")
}

/// How many elements of a list are shown.
const SHOWN: usize = 16;

/// A literal, for people; decimal, and no more than its beginning.
fn shown(value: &Value) -> String {
    let Some(ty) = value.ty.as_tensor() else { return value.ty.to_string() };
    let mut elements: Vec<String> = match ty.dtype {
        DataType::String => match &value.data {
            Data::Strings(texts) => texts.iter().map(|t| format!("\"{t}\"")).collect(),
            _ => Vec::new(),
        },
        DataType::Int32 => value.as_i32s().unwrap_or_default().iter().map(ToString::to_string).collect(),
        DataType::Bool => value.as_bools().unwrap_or_default().iter().map(ToString::to_string).collect(),
        DataType::Fp16 | DataType::Fp32 => {
            value.as_f32s().unwrap_or_default().iter().map(ToString::to_string).collect()
        }
        _ => return ty.to_string(),
    };
    if ty.rank() == 0 {
        return format!("{} {}", ty.dtype, elements.concat());
    }
    if elements.len() > SHOWN {
        elements.truncate(SHOWN);
        elements.push("...".to_owned());
    }
    format!("{}[{}]", ty.dtype, elements.join(", "))
}
