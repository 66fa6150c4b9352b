//! `metadata.json`: what Xcode shows of a model.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::dtype::DataType;
use crate::error::{Error, Result};
use crate::model::{Feature, Flexibility, Interface, Model};
use crate::opset::{OpKind, Opcode, Opset};
use crate::program::Function;

use super::precision;

/// The oldest releases that run models of a specification version: macOS, iOS and tvOS, watchOS, visionOS.
const RELEASES: [(i32, [&str; 4]); 4] = [
    (6, ["12.0", "15.0", "8.0", "1.0"]),
    (7, ["13.0", "16.0", "9.0", "1.0"]),
    (8, ["14.0", "17.0", "10.0", "1.0"]),
    (9, ["15.0", "18.0", "11.0", "2.0"]),
];

/// The text of `metadata.json`; `class_name` is the stem of the source.
///
/// # Errors
/// `Unsupported` for features with enumerated shapes.
pub(super) fn print(model: &Model, class_name: &str) -> Result<String> {
    let mut out = String::new();
    print_json(&Json::Array(vec![Json::Object(entry(model, class_name)?)]), 0, &mut out);
    Ok(out)
}

fn entry(model: &Model, class_name: &str) -> Result<Map<String, Json>> {
    let (description, metadata) = (&model.description, &model.description.metadata);
    let mut entry = Map::new();
    entry.insert("metadataOutputVersion".into(), "3.0".into());
    let free_text = [
        ("shortDescription", &metadata.short_description),
        ("version", &metadata.version),
        ("author", &metadata.author),
        ("license", &metadata.license),
    ];
    for (key, text) in free_text.into_iter().filter(|(_, text)| !text.is_empty()) {
        entry.insert(key.into(), text.as_str().into());
    }
    entry.insert("specificationVersion".into(), model.specification_version.into());
    entry.insert("availability".into(), availability(model.specification_version));
    entry.insert("modelType".into(), json!({ "name": "MLModelType_mlProgram" }));
    entry.insert("isUpdatable".into(), "0".into());
    entry.insert("modelParameters".into(), json!([]));
    let default = description.default_name();
    if let (Some(interface), Some(function)) =
        (description.interface(default), model.program.function(default))
    {
        entry.extend(of_function(interface, function)?);
        entry.extend(precision::storage(function).map(|p| ("storagePrecision".to_owned(), p.into())));
    }
    if let Some(default) = &description.default_function {
        entry.insert("functions".into(), functions(model)?);
        entry.insert("defaultFunctionName".into(), default.as_str().into());
    }
    entry.insert("userDefinedMetadata".into(), json!(metadata.user_defined));
    entry.insert("generatedClassName".into(), class(class_name).into());
    entry.insert("method".into(), "predict".into());
    Ok(entry)
}

fn functions(model: &Model) -> Result<Json> {
    let mut entries = Vec::new();
    for interface in &model.description.functions {
        let Some(function) = model.program.function(&interface.name) else { continue };
        let mut entry = Map::from_iter([("name".to_owned(), interface.name.as_str().into())]);
        entry.extend(of_function(interface, function)?);
        entries.push(Json::Object(entry));
    }
    Ok(Json::Array(entries))
}

/// The entries that every function has.
fn of_function(interface: &Interface, function: &Function) -> Result<Map<String, Json>> {
    let mut entry = Map::new();
    entry.insert("inputSchema".into(), schemas(interface, &interface.inputs, "MultiArray")?);
    entry.insert("outputSchema".into(), schemas(interface, &interface.outputs, "MultiArray")?);
    entry.insert("stateSchema".into(), schemas(interface, &interface.states, "State")?);
    entry.insert("mlProgramOperationTypeHistogram".into(), histogram(function));
    entry.extend(precision::compute(function).map(|p| ("computePrecision".to_owned(), p.into())));
    Ok(entry)
}

fn schemas(interface: &Interface, features: &[Feature], word: &str) -> Result<Json> {
    features.iter().map(|f| schema(interface, f, word)).collect::<Result<_>>().map(Json::Array)
}

fn schema(interface: &Interface, feature: &Feature, word: &str) -> Result<Json> {
    let dtype = feature_type(feature.dtype);
    let by = if feature.shape.is_empty() { "" } else { " " };
    let mut entry = Map::new();
    entry.insert("name".into(), feature.name.as_str().into());
    entry.insert("shortDescription".into(), feature.short_description.as_str().into());
    entry.insert("isOptional".into(), flag(feature.optional));
    entry.insert("dataType".into(), dtype.as_str().into());
    entry.insert("type".into(), word.into());
    entry.insert("shape".into(), format!("[{}]", joined(&feature.shape, ", ")).into());
    let formatted = format!("{word} ({dtype}{by}{})", joined(&feature.shape, " \u{d7} "));
    entry.insert("formattedType".into(), formatted.into());
    if word == "MultiArray" {
        entry.insert("hasShapeFlexibility".into(), flag(feature.flexibility.is_some()));
    }
    match &feature.flexibility {
        None => {}
        Some(Flexibility::Range(bounds)) => entry.extend(range(bounds)),
        Some(Flexibility::Enumerated(_)) => {
            let place = format!("function `{}`: feature `{}`", interface.name, feature.name);
            let problem = "enumerated shapes in a compiled model, expected fixed shapes or ranges";
            return Err(Error::unsupported(place, problem));
        }
    }
    Ok(Json::Object(entry))
}

fn range(bounds: &[(u64, i64)]) -> [(String, Json); 2] {
    let pairs: Vec<String> = bounds.iter().map(|(low, high)| format!("[{low}, {high}]")).collect();
    let extent = |(low, high): &(u64, i64)| match i64::try_from(*low) {
        Ok(n) if n == *high => format!("{low}"),
        _ => format!("{low}...{high}"),
    };
    let extents: Vec<String> = bounds.iter().map(extent).collect();
    [
        ("shapeRange".to_owned(), format!("[{}]", pairs.join(", ")).into()),
        ("shapeFlexibility".to_owned(), extents.join(" \u{d7} ").into()),
    ]
}

fn joined(shape: &[i64], separator: &str) -> String {
    shape.iter().map(i64::to_string).collect::<Vec<_>>().join(separator)
}

fn flag(set: bool) -> Json {
    if set { "1".into() } else { "0".into() }
}

/// The name of a feature's element type; descriptions call fp64 a double.
fn feature_type(dtype: DataType) -> String {
    match dtype {
        DataType::Fp64 => "Double".to_owned(),
        d if d.is_float() => format!("Float{}", d.bits()),
        d => format!("Int{}", d.bits()),
    }
}

/// How often each op occurs, constants aside.
fn histogram(function: &Function) -> Json {
    let mut counts = BTreeMap::<String, u64>::new();
    for op in function.ops.iter().filter(|op| !op.kind.is(Opcode::Const)) {
        *counts.entry(histogram_name(&op.kind, function.opset)).or_default() += 1;
    }
    json!(counts)
}

/// `Ios17.expandDims`, or `ExpandDims` when the first opset or none that we know defined the op.
fn histogram_name(kind: &OpKind, opset: Opset) -> String {
    let camel: String = kind.name().split('_').map(capitalized).collect();
    match kind.release(opset) {
        Some(release) if release > 15 => {
            let lower: String = camel.chars().take(1).map(|c| c.to_ascii_lowercase()).collect();
            format!("Ios{release}.{lower}{}", camel.chars().skip(1).collect::<String>())
        }
        _ => camel,
    }
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

fn availability(specification_version: i32) -> Json {
    let row = RELEASES.iter().find(|(version, _)| *version == specification_version);
    let Some((_, [mac, ios, watch, vision])) = row else { return json!({}) };
    json!({ "macOS": mac, "iOS": ios, "tvOS": ios, "watchOS": watch, "visionOS": vision, "macCatalyst": ios })
}

/// A Swift identifier made of the source's name.
fn class(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Appends `json` in the layout of Apple's printer: two spaces a level, a space before each colon, and a blank
/// line in what is empty.
fn print_json(json: &Json, level: usize, out: &mut String) {
    let members: Vec<(Option<&str>, &Json)> = match json {
        Json::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Json::Object(map) => map.iter().map(|(key, item)| (Some(key.as_str()), item)).collect(),
        scalar => return out.push_str(&scalar.to_string()),
    };
    let (open, close) = if json.is_array() { ('[', ']') } else { ('{', '}') };
    let indent = "  ".repeat(level);
    out.push(open);
    out.push('\n');
    for (i, (key, item)) in members.iter().enumerate() {
        out.push_str(if i > 0 { ",\n" } else { "" });
        out.push_str(&indent);
        out.push_str("  ");
        if let Some(key) = key {
            out.push_str(&format!("{} : ", Json::from(*key)));
        }
        print_json(item, level + 1, out);
    }
    out.push('\n');
    out.push_str(&indent);
    out.push(close);
}
