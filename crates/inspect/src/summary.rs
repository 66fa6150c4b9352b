//! What a program is at a glance: its functions, the ops that it has, and where its bytes are.

use std::collections::{BTreeMap, BTreeSet};

use anelith_mil::{Bundle, Feature, Flexibility, Interface, Metadata, Op};

use crate::error::Result;
use crate::weights::{self, Purpose, Weight};

/// A program at a glance.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// 6 (iOS 15) to 9 (iOS 18).
    pub specification_version: i32,
    /// What the description says of the model.
    pub metadata: Metadata,
    /// What made the program.
    pub build_info: BTreeMap<String, String>,
    /// Its functions, sorted by name.
    pub functions: Vec<FunctionSummary>,
    /// Weights by component and storage.
    pub sizes: Vec<Size>,
    /// The weight files.
    pub files: Vec<WeightFileSummary>,
}

/// A function at a glance.
#[derive(Clone, PartialEq, Debug)]
pub struct FunctionSummary {
    /// Its name.
    pub name: String,
    /// Whether it runs when none is named.
    pub is_default: bool,
    /// The op definitions in force: `ios18`.
    pub opset: &'static str,
    /// Inputs as callers see them.
    pub inputs: Vec<FeatureSummary>,
    /// Outputs as callers see them.
    pub outputs: Vec<FeatureSummary>,
    /// Tensors that live between calls.
    pub states: Vec<FeatureSummary>,
    /// How often each kind of op occurs; the most frequent first, constants last.
    pub ops: Vec<(String, usize)>,
}

/// An input, output or state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureSummary {
    /// Its name.
    pub name: String,
    /// Element type and shape: `fp16[1, 64]`; other shapes that are allowed, and whether it may be left out.
    pub ty: String,
}

/// The weights of one component that are stored in one way.
#[derive(Clone, PartialEq, Debug)]
pub struct Size {
    /// `attention`, `MLP`...; of weights whose names do not say, the kind of the op that reads them.
    pub component: String,
    /// `fp16`, `lut4`, ...
    pub storage: String,
    /// How many weights.
    pub tensors: u64,
    /// Elements, as they are computed with.
    pub elements: u64,
    /// Bytes of elements: values, indices, masks. What several weights share counts once.
    pub element_bytes: u64,
    /// Bytes of tables, scales and offsets. What several weights share counts once.
    pub table_bytes: u64,
    /// Bits that an element takes, tables included, as if nothing were shared.
    pub bits: f64,
}

/// A weight file at a glance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightFileSummary {
    /// The name by which the program refers to it.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The number of blobs that it has.
    pub blobs: u32,
    /// The number of blobs that the program refers to.
    pub referenced: u64,
    /// Bytes of elements of those.
    pub referenced_bytes: u64,
}

/// Looks at `bundle`, whose weights are `weights`.
pub fn summary(bundle: &Bundle, weights: &[Weight<'_>]) -> Summary {
    let (model, default) = (&bundle.model, bundle.model.description.default_name());
    let functions = model.program.functions.iter().map(|function| {
        let interface = model.description.interface(&function.name).cloned().unwrap_or_default();
        let Interface { inputs, outputs, states, .. } = interface;
        let features = |list: Vec<Feature>| list.iter().map(FeatureSummary::of).collect();
        FunctionSummary {
            name: function.name.clone(),
            is_default: function.name == default,
            opset: function.opset.text_name(),
            inputs: features(inputs),
            outputs: features(outputs),
            states: features(states),
            ops: histogram(&function.ops),
        }
    });
    Summary {
        specification_version: model.specification_version,
        metadata: model.description.metadata.clone(),
        build_info: model.program.build_info.clone(),
        functions: functions.collect(),
        sizes: sizes(weights),
        files: files(bundle),
    }
}

/// The weights of one function, or of all.
///
/// # Errors
/// Blobs that are not in their file.
pub fn weights_of<'m>(bundle: &'m Bundle, function: Option<&str>) -> Result<Vec<Weight<'m>>> {
    let mut weights = weights::all(bundle)?;
    if let Some(function) = function {
        weights.retain(|weight| weight.uses.iter().any(|used| used.function == function));
    }
    Ok(weights)
}

impl FeatureSummary {
    /// What callers see of it.
    pub fn of(feature: &Feature) -> FeatureSummary {
        let mut ty = format!("{}{:?}", feature.dtype, feature.shape);
        ty += &match &feature.flexibility {
            None => String::new(),
            Some(Flexibility::Enumerated(shapes)) => format!(" or one of {shapes:?}"),
            Some(Flexibility::Range(bounds)) => {
                let upper = |u: &i64| if *u < 0 { "any".to_owned() } else { u.to_string() };
                let bounds = bounds.iter().map(|(l, u)| format!("{l} to {}", upper(u)));
                format!(" with extents {}", bounds.collect::<Vec<_>>().join(", "))
            }
        };
        if feature.optional {
            ty += ", optional";
        }
        FeatureSummary { name: feature.name.clone(), ty }
    }
}

fn histogram(ops: &[Op]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for op in ops {
        *counts.entry(op.kind.name()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
    let is_constant = |kind: &str| kind == "const" || kind.starts_with("constexpr_");
    counts.sort_by_key(|(kind, count)| (is_constant(kind), std::cmp::Reverse(*count)));
    counts
}

/// The order of components; what is not listed comes last.
const COMPONENTS: [&str; 6] = ["embeddings", "attention", "MLP", "norms", "LM head", "rotary tables"];

fn sizes(weights: &[Weight<'_>]) -> Vec<Size> {
    let mut rows: BTreeMap<(usize, String, String), (Size, u64)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for weight in weights {
        let (component, storage) = (weight.component().to_owned(), weight.storage());
        let place = COMPONENTS.iter().position(|c| *c == component).unwrap_or(COMPONENTS.len());
        let (row, unshared) = rows.entry((place, component.clone(), storage.clone())).or_insert_with(|| {
            let size = Size {
                component,
                storage,
                tensors: 0,
                elements: 0,
                element_bytes: 0,
                table_bytes: 0,
                bits: 0.0,
            };
            (size, 0)
        });
        row.tensors += 1;
        row.elements += weight.elements();
        for piece in &weight.pieces {
            *unshared += piece.bytes;
            if piece.place.as_ref().is_some_and(|place| !seen.insert(place.clone())) {
                continue;
            }
            match piece.purpose() {
                Purpose::Elements => row.element_bytes += piece.bytes,
                Purpose::Tables => row.table_bytes += piece.bytes,
            }
        }
    }
    let with_bits = |(size, unshared): (Size, u64)| Size {
        bits: unshared as f64 * 8.0 / size.elements.max(1) as f64,
        ..size
    };
    rows.into_values().map(with_bits).collect()
}

fn files(bundle: &Bundle) -> Vec<WeightFileSummary> {
    let blobs: BTreeMap<_, _> = bundle.model.program.blobs().collect();
    let summary = |(name, file): (&str, &anelith_mil::blob::WeightFile)| {
        let of_file = || blobs.iter().filter(|(blob, _)| blob.file == name);
        WeightFileSummary {
            name: name.to_owned(),
            bytes: file.byte_len(),
            blobs: file.count(),
            referenced: of_file().count() as u64,
            referenced_bytes: of_file().filter_map(|(_, ty)| ty.byte_len()).sum(),
        }
    };
    bundle.weights.files().map(summary).collect()
}
