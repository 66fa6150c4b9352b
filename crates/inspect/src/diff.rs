//! What differs between two programs, the largest first: signature, graph, weights.

use std::collections::{BTreeMap, BTreeSet};

use anelith_mil::Bundle;
use anelith_report::{Report, Reported};

use crate::compare::{Deviation, compare};
use crate::error::{Error, Result};
use crate::graph::{self, Comparison};
use crate::names;
use crate::signature::{self, Change};
use crate::source::plain;
use crate::weights::{self, Weight};

/// What differs between two programs.
#[derive(Debug)]
pub struct Diff {
    /// What the models say of themselves.
    pub signature: Vec<Change>,
    /// The functions that were compared, with what differs between their ops.
    pub functions: Vec<Comparison>,
    /// Weights that differ, the largest difference first.
    pub weights: Vec<WeightChange>,
    /// How many weights have the same elements, stored in the same way.
    pub equal_weights: usize,
}

/// A weight that differs, or that only one of the programs has.
#[derive(Debug)]
pub struct WeightChange {
    /// In the first program; `None` when only the second has it.
    pub a: Option<WeightName>,
    /// In the second program; `None` when only the first has it.
    pub b: Option<WeightName>,
    /// How far the second is from the first; `None` when only one has it, or their shapes differ.
    pub deviation: Option<Deviation>,
}

/// A weight, by what it is called and how it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightName {
    /// Its name.
    pub name: String,
    /// The decoder layer that it belongs to.
    pub layer: Option<u64>,
    /// The part of the model that it belongs to.
    pub component: String,
    /// How it is stored: `fp16`, `lut4`, ...
    pub storage: String,
    /// Its type.
    pub ty: String,
    /// Its extents, where they are known.
    pub shape: Vec<u64>,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.signature.is_empty()
            && self.weights.is_empty()
            && self.functions.iter().all(|function| function.changes.is_empty())
    }

    /// The ops that differ, counted once each.
    pub fn changed_ops(&self) -> usize {
        let name = |op: &Option<graph::OpName>| op.as_ref().map(|op| op.name.clone());
        let changes = self.functions.iter().flat_map(|f| &f.changes);
        let ops: BTreeSet<_> = changes.map(|c| (c.function.clone(), name(&c.a), name(&c.b))).collect();
        ops.len()
    }
}

/// Compares `b` with `a`; with `function`, only that function of both.
///
/// # Errors
/// `Usage` for a function that one of them lacks; weights that cannot be read.
pub fn diff(a: &Bundle, b: &Bundle, function: Option<&str>) -> Result<Diff> {
    let pairs = pairs(a, b, function)?;
    let (views_a, views_b) = (weights::views(a), weights::views(b));
    let mut functions = Vec::new();
    for (name_a, name_b) in &pairs {
        let view = |views: &[_], name: &str| {
            views.iter().copied().find(|v: &crate::constants::View<'_>| v.function.name == name)
        };
        if let (Some(of_a), Some(of_b)) = (view(&views_a, name_a), view(&views_b, name_b)) {
            functions.push(graph::compare((of_a, &a.weights), (of_b, &b.weights)));
        }
    }
    let mut of_a = weights::all(a)?;
    let mut of_b = weights::all(b)?;
    of_a.retain(|w| w.uses.iter().any(|u| pairs.iter().any(|(name, _)| *name == u.function)));
    of_b.retain(|w| w.uses.iter().any(|u| pairs.iter().any(|(_, name)| *name == u.function)));
    let (weights, equal_weights) = compare_weights((a, &of_a), (b, &of_b), &functions)?;
    let signature = signature::compare(a, b, &pairs, function.is_none());
    Ok(Diff { signature, functions, weights, equal_weights })
}

/// The functions to compare: those of one name, else the default one of each.
fn pairs(a: &Bundle, b: &Bundle, function: Option<&str>) -> Result<Vec<(String, String)>> {
    let names = |bundle: &Bundle| -> Vec<String> {
        bundle.model.program.functions.iter().map(|f| f.name.clone()).collect()
    };
    let (of_a, of_b) = (names(a), names(b));
    if let Some(function) = function {
        for of in [&of_a, &of_b] {
            check_function(of, function)?;
        }
        return Ok(vec![(function.to_owned(), function.to_owned())]);
    }
    let both: Vec<_> =
        of_a.iter().filter(|name| of_b.contains(name)).map(|n| (n.clone(), n.clone())).collect();
    if !both.is_empty() {
        return Ok(both);
    }
    let default = |bundle: &Bundle| bundle.model.description.default_name().to_owned();
    Ok(vec![(default(a), default(b))])
}

/// Refuses a function that is not among `functions`.
///
/// # Errors
/// `Usage`, with those that there are.
pub fn check_function(functions: &[String], function: &str) -> Result<()> {
    if functions.iter().any(|name| name == function) {
        return Ok(());
    }
    let report = Report::new(format!("there is no function `{function}`")).at("--function");
    Err(Error::usage(report.expecting(functions.join(" or ")).finding(function)))
}

/// A program and its weights.
type Side<'m, 'w> = (&'m Bundle, &'w [Weight<'m>]);

fn compare_weights(
    (a, of_a): Side<'_, '_>,
    (b, of_b): Side<'_, '_>,
    functions: &[Comparison],
) -> Result<(Vec<WeightChange>, usize)> {
    let pairs = weight_pairs(of_a, of_b, functions);
    let (mut changes, mut equal) = (Vec::new(), 0);
    for (i, j) in pairs {
        let change = match (i.map(|i| &of_a[i]), j.map(|j| &of_b[j])) {
            (Some(x), Some(y)) => compare_pair((a, x), (b, y))?,
            (x, y) => {
                Some(WeightChange { a: x.map(WeightName::of), b: y.map(WeightName::of), deviation: None })
            }
        };
        match change {
            Some(change) => changes.push(change),
            None => equal += 1,
        }
    }
    // Stable: what is equally large stays in the order of the program.
    changes.sort_by(|x, y| {
        let size = |c: &WeightChange| c.deviation.as_ref().map_or((u64::MAX, f64::INFINITY), Deviation::size);
        let (x, y) = (size(x), size(y));
        y.0.cmp(&x.0).then(y.1.total_cmp(&x.1))
    });
    Ok((changes, equal))
}

/// Places of weights that belong together: those that paired ops read, then those of the same words; then what is left.
fn weight_pairs(
    of_a: &[Weight<'_>],
    of_b: &[Weight<'_>],
    functions: &[Comparison],
) -> Vec<(Option<usize>, Option<usize>)> {
    let places = |weights: &[Weight<'_>]| -> BTreeMap<String, usize> {
        weights.iter().enumerate().map(|(i, w)| (w.key.clone(), i)).collect()
    };
    let (places_a, places_b) = (places(of_a), places(of_b));
    let read = functions.iter().flat_map(|f| &f.weights);
    let read = read.filter_map(|(a, b)| Some((*places_a.get(a)?, *places_b.get(b)?)));
    let mut pairs: BTreeSet<(usize, usize)> = read.collect();
    let mut is_paired_b: Vec<bool> = vec![false; of_b.len()];
    pairs.iter().for_each(|(_, j)| is_paired_b[*j] = true);
    let is_paired_a: BTreeSet<usize> = pairs.iter().map(|(i, _)| *i).collect();
    let mut alone = Vec::new();
    for (i, weight) in of_a.iter().enumerate().filter(|(i, _)| !is_paired_a.contains(i)) {
        match of_b.iter().enumerate().find(|(j, other)| !is_paired_b[*j] && other.words == weight.words) {
            Some((j, _)) => {
                is_paired_b[j] = true;
                pairs.insert((i, j));
            }
            None => alone.push((Some(i), None)),
        }
    }
    alone.extend((0..of_b.len()).filter(|j| !is_paired_b[*j]).map(|j| (None, Some(j))));
    pairs.into_iter().map(|(i, j)| (Some(i), Some(j))).chain(alone).collect()
}

/// `None` for weights of the same elements that are stored in the same way.
fn compare_pair<'m>(
    (a, x): (&'m Bundle, &Weight<'m>),
    (b, y): (&'m Bundle, &Weight<'m>),
) -> Result<Option<WeightChange>> {
    let names = (WeightName::of(x), WeightName::of(y));
    let fits = plain(&names.0.shape) == plain(&names.1.shape);
    if !fits {
        return Ok(Some(WeightChange { a: Some(names.0), b: Some(names.1), deviation: None }));
    }
    let (dense_a, dense_b) = (x.open(a)?, y.open(b)?);
    let groups = dense_b.groups.clone().or_else(|| dense_a.groups.clone());
    let groups = groups.or_else(|| crate::constants::Groups::rows(&dense_a.shape));
    let deviation = compare(&dense_a, &dense_b, dense_a.count(), groups.as_ref())?;
    let is_same = deviation.differing == 0 && names.0.storage == names.1.storage && x.ty.dtype == y.ty.dtype;
    let change = WeightChange { a: Some(names.0), b: Some(names.1), deviation: Some(deviation) };
    Ok((!is_same).then_some(change))
}

impl WeightName {
    fn of(weight: &Weight<'_>) -> WeightName {
        WeightName {
            name: weight.name.clone(),
            layer: names::layer(&weight.words),
            component: weight.component().to_owned(),
            storage: weight.storage(),
            ty: weight.ty.to_string(),
            shape: weight.ty.fixed_shape().unwrap_or_default(),
        }
    }
}
