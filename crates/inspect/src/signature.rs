//! What differs between what two models say of themselves: functions, inputs, outputs, states, metadata.

use std::collections::{BTreeMap, BTreeSet};

use anelith_mil::{Bundle, Feature, Metadata};

use crate::summary::FeatureSummary;

/// Something that is not the same in both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What: `function infer: input `input_ids``, `metadata: author`...
    pub what: String,
    /// In the first model; `None` where it is not there.
    pub a: Option<String>,
    /// In the second model; `None` where it is not there.
    pub b: Option<String>,
}

/// Functions that are compared: their names in the first and in the second model.
pub type Pairs = [(String, String)];

/// What differs but for the programs. Which compiler made a bundle of a package is no difference.
pub fn compare(a: &Bundle, b: &Bundle, pairs: &Pairs, is_whole: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |what: String, a: Option<String>, b: Option<String>| {
        if a != b {
            changes.push(Change { what, a, b });
        }
    };
    let version = |bundle: &Bundle| Some(bundle.model.specification_version.to_string());
    add("specification version".to_owned(), version(a), version(b));
    if is_whole {
        let default = |bundle: &Bundle| Some(bundle.model.description.default_name().to_owned());
        add("default function".to_owned(), default(a), default(b));
        for (bundle, is_first) in [(a, true), (b, false)] {
            let is_paired = |name: &str| pairs.iter().any(|(a, b)| name == if is_first { a } else { b });
            for function in bundle.model.program.functions.iter().filter(|f| !is_paired(&f.name)) {
                let there = Some(format!("{} ops", function.ops.len()));
                let (a, b) = if is_first { (there, None) } else { (None, there) };
                add(format!("function {}", function.name), a, b);
            }
        }
    }
    for (name_a, name_b) in pairs {
        let label = if name_a == name_b { name_a.clone() } else { format!("{name_a} and {name_b}") };
        let opset = |bundle: &Bundle, name: &str| {
            bundle.model.program.function(name).map(|f| f.opset.text_name().to_owned())
        };
        add(format!("function {label}: opset"), opset(a, name_a), opset(b, name_b));
        let kinds = ["input", "output", "state"].into_iter();
        for (kind, (of_a, of_b)) in kinds.zip(features(a, name_a).iter().zip(&features(b, name_b))) {
            let ty =
                |of: &[FeatureSummary], name: &str| of.iter().find(|f| f.name == name).map(|f| f.ty.clone());
            let only_b = of_b.iter().filter(|f| ty(of_a, &f.name).is_none());
            for feature in of_a.iter().chain(only_b) {
                let name = &feature.name;
                add(format!("function {label}: {kind} `{name}`"), ty(of_a, name), ty(of_b, name));
            }
        }
    }
    let (of_a, of_b) = (metadata(&a.model.description.metadata), metadata(&b.model.description.metadata));
    let keys: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
    for key in keys {
        add(format!("metadata: {key}"), of_a.get(key).cloned(), of_b.get(key).cloned());
    }
    changes
}

/// Inputs, outputs and states.
fn features(bundle: &Bundle, function: &str) -> [Vec<FeatureSummary>; 3] {
    let interface = bundle.model.description.interface(function).cloned().unwrap_or_default();
    let of = |features: &[Feature]| features.iter().map(FeatureSummary::of).collect();
    [of(&interface.inputs), of(&interface.outputs), of(&interface.states)]
}

fn metadata(metadata: &Metadata) -> BTreeMap<String, String> {
    let fields = [
        ("short description", &metadata.short_description),
        ("version", &metadata.version),
        ("author", &metadata.author),
        ("license", &metadata.license),
    ];
    let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
    let fields = fields.map(|(name, text)| (name.to_owned(), text.clone()));
    fields.chain(metadata.user_defined.clone()).collect()
}
