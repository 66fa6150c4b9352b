//! What differs between the ops of two functions.

use anelith_mil::VarId;
use anelith_mil::blob::WeightStore;

use crate::constants::View;
use crate::names::words;
pub use crate::pairs::Aligned;
use crate::pairs::{Side, partners};
use crate::steps::{Read, Step, plain_type, steps};

/// One thing that differs between two ops, or an op that only one of the functions has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpChange {
    /// The function of the first program, else of the second.
    pub function: String,
    /// The decoder layer, where names tell.
    pub layer: Option<u64>,
    /// The op of the first program; `None` when only the second has it.
    pub a: Option<OpName>,
    /// The op of the second program; `None` when only the first has it.
    pub b: Option<OpName>,
    /// What of it: `kind`, `result`, the name of an argument or attribute, or the output that it is; empty for an op of
    /// one program.
    pub what: String,
    /// What it is in each; empty where it is not there.
    pub values: (String, String),
}

/// An op, by what it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpName {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
}

/// Two functions side by side.
#[derive(Debug)]
pub struct Comparison {
    /// The functions: of the first program, of the second.
    pub functions: (String, String),
    /// How the ops were brought together.
    pub aligned: Aligned,
    /// Ops that compute, in each.
    pub ops: (usize, usize),
    /// Pairs of ops.
    pub paired: usize,
    /// What differs, in the order of the program.
    pub changes: Vec<OpChange>,
    /// Keys of weights that paired ops read in the same place.
    pub weights: Vec<(String, String)>,
}

/// The ops of two functions, side by side.
struct Sides<'m> {
    a: Vec<Step<'m>>,
    b: Vec<Step<'m>>,
    /// The partner of each step of `a`.
    to_b: Vec<Option<usize>>,
    to_a: Vec<Option<usize>>,
    aligned: Aligned,
    function: &'m str,
}

/// Compares the functions of two views, whose weights are in the stores beside them.
pub fn compare<'m>(
    (a, store_a): (View<'m>, &'m WeightStore),
    (b, store_b): (View<'m>, &'m WeightStore),
) -> Comparison {
    let sides = Sides::new((a, store_a), (b, store_b));
    let mut changes = Vec::new();
    let mut next_b = 0;
    for (i, step) in sides.a.iter().enumerate() {
        let Some(j) = sides.to_b[i] else {
            changes.push(sides.alone(Some(step), None));
            continue;
        };
        let added = (next_b.min(j)..j).filter(|k| sides.to_a[*k].is_none());
        changes.extend(added.map(|k| sides.alone(None, Some(&sides.b[k]))));
        next_b = next_b.max(j + 1);
        sides.changes(i, j, &mut changes);
    }
    let added = (next_b..sides.b.len()).filter(|k| sides.to_a[*k].is_none());
    changes.extend(added.map(|k| sides.alone(None, Some(&sides.b[k]))));
    sides.outputs(a, b, &mut changes);
    Comparison {
        functions: (a.function.name.clone(), b.function.name.clone()),
        aligned: sides.aligned,
        ops: (sides.a.len(), sides.b.len()),
        paired: sides.to_b.iter().flatten().count(),
        changes,
        weights: sides.weights(),
    }
}

impl<'m> Sides<'m> {
    fn new(
        (a, store_a): (View<'m>, &'m WeightStore),
        (b, store_b): (View<'m>, &'m WeightStore),
    ) -> Sides<'m> {
        let function = &a.function.name;
        let (of_a, of_b) = (steps(a), steps(b));
        let side_a = Side { steps: &of_a, view: a, weights: store_a };
        let side_b = Side { steps: &of_b, view: b, weights: store_b };
        let partners = partners(side_a, side_b);
        let (to_b, to_a, aligned) = (partners.to_b, partners.to_a, partners.aligned);
        Sides { a: of_a, b: of_b, to_b, to_a, aligned, function }
    }

    /// An op of one side.
    fn alone(&self, a: Option<&Step<'_>>, b: Option<&Step<'_>>) -> OpChange {
        let layer = a.or(b).and_then(|step| step.layer);
        let shown = |step: Option<&Step<'_>>| step.map(|s| s.types.join(", ")).unwrap_or_default();
        let function = self.function.to_owned();
        OpChange {
            function,
            layer,
            a: a.map(OpName::of),
            b: b.map(OpName::of),
            what: String::new(),
            values: (shown(a), shown(b)),
        }
    }

    /// What differs between two ops that are a pair.
    fn changes(&self, i: usize, j: usize, changes: &mut Vec<OpChange>) {
        let (a, b) = (&self.a[i], &self.b[j]);
        let mut add = |what: &str, values: (String, String)| {
            let base = self.alone(Some(a), Some(b));
            changes.push(OpChange { what: what.to_owned(), layer: a.layer.or(b.layer), values, ..base });
        };
        let kinds = (a.op.kind.name(), b.op.kind.name());
        if kinds.0 != kinds.1 {
            add("kind", (kinds.0.to_owned(), kinds.1.to_owned()));
        }
        if a.types != b.types {
            add("result", (a.types.join(", "), b.types.join(", ")));
        }
        for (name, read) in &a.arguments {
            let other = b.arguments.iter().find(|(other, _)| other == name).map(|(_, read)| read);
            if other.is_none_or(|other| !self.same(read, other)) {
                let shown = other.map(|other| other.shown(&self.b)).unwrap_or_default();
                add(name, (read.shown(&self.a), shown));
            }
        }
        for (name, read) in &b.arguments {
            if !a.arguments.iter().any(|(other, _)| other == name) {
                add(name, (String::new(), read.shown(&self.b)));
            }
        }
    }

    /// Outputs of one name that ops make which are no pair.
    fn outputs(&self, a: View<'_>, b: View<'_>, changes: &mut Vec<OpChange>) {
        let made = |view: View<'_>, steps: &[Step<'_>], id: VarId| {
            let name = view.function.vars.get(id.0 as usize).map(|var| var.name.clone())?;
            let step = steps.iter().position(|step| step.op.outputs.contains(&id))?;
            Some((name, step))
        };
        let of_b: Vec<_> = b.function.outputs.iter().filter_map(|id| made(b, &self.b, *id)).collect();
        for (name, i) in a.function.outputs.iter().filter_map(|id| made(a, &self.a, *id)) {
            let Some((_, j)) = of_b.iter().find(|(other, _)| *other == name) else { continue };
            if self.to_b[i].is_some() && self.to_a[*j].is_some() && self.to_b[i] != Some(*j) {
                let base = self.alone(Some(&self.a[i]), Some(&self.b[*j]));
                let values = (format!("`{}`", self.a[i].op.name()), format!("`{}`", self.b[*j].op.name()));
                changes.push(OpChange { what: format!("output `{name}`"), values, ..base });
            }
        }
    }

    /// Whether two ops read the same there. Contents of weights are compared elsewhere, and of ops that were put in or
    /// taken out the readers need not be told.
    fn same(&self, a: &Read<'_>, b: &Read<'_>) -> bool {
        match (a, b) {
            (Read::Input(a), Read::Input(b)) => a == b,
            (Read::Value(a), Read::Value(b)) => a == b,
            (Read::Weight { name: name_a, ty: a, .. }, Read::Weight { name: name_b, ty: b, .. }) => {
                plain_type(a) == plain_type(b)
                    && (self.aligned == Aligned::Structure || words(name_a) == words(name_b))
            }
            (Read::Result { step: i, output: a }, Read::Result { step: j, output: b }) => {
                match (self.to_b[*i], self.to_a[*j]) {
                    (Some(partner), Some(_)) => partner == *j && a == b,
                    _ => true,
                }
            }
            (Read::Nothing, Read::Nothing) => true,
            _ => false,
        }
    }

    /// Weights that pairs of ops read in the same place.
    fn weights(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (a, j) in self.a.iter().zip(&self.to_b) {
            let Some(b) = j.map(|j| &self.b[j]) else { continue };
            for (name, read) in &a.arguments {
                let other = b.arguments.iter().find(|(other, _)| other == name).map(|(_, read)| read);
                if let (Read::Weight { key: a, .. }, Some(Read::Weight { key: b, .. })) = (read, other) {
                    found.push((a.clone(), b.clone()));
                }
            }
        }
        found
    }
}

impl OpName {
    fn of(step: &Step<'_>) -> OpName {
        OpName { name: step.op.name().to_owned(), kind: step.op.kind.name().to_owned() }
    }
}
