//! Interfaces and metadata, to and from `ModelDescription`.

use std::collections::BTreeMap;

use crate::dtype::DataType;
use crate::model::{Description, Feature, Flexibility, Interface, Metadata};

use super::fault::{At, Decoded, Fault};
use super::messages as pb;

/// The numbers of `FeatureTypes.proto`'s `ArrayDataType`.
const DATA_TYPES: [(DataType, i32); 5] = [
    (DataType::Fp32, 65568),
    (DataType::Fp16, 65552),
    (DataType::Fp64, 65600),
    (DataType::Int32, 131_104),
    (DataType::Int8, 131_080),
];

/// The function of a model whose description names none.
const MAIN: &str = "main";

/// Why the description cannot be written, if it cannot.
pub(super) fn check(description: &Description) -> Result<(), String> {
    if description.default_function.is_none() {
        match description.functions.as_slice() {
            [only] if only.name == MAIN => {}
            others => {
                let names: Vec<_> = others.iter().map(|f| format!("`{}`", f.name)).collect();
                let names = names.join(", ");
                return Err(format!(
                    "no default function is named, so the only function must be `main`, found [{names}]"
                ));
            }
        }
    } else if description.interface(description.default_name()).is_none() {
        return Err(format!(
            "the default function `{}` is not among the functions",
            description.default_name()
        ));
    }
    for f in &description.functions {
        for feature in f.inputs.iter().chain(&f.outputs).chain(&f.states) {
            if number_of(feature.dtype).is_none() {
                let (name, dtype) = (&feature.name, feature.dtype);
                return Err(format!(
                    "function `{}`: feature `{name}` is {dtype}, expected fp16, fp32, fp64, int32 or int8",
                    f.name
                ));
            }
        }
    }
    Ok(())
}

fn number_of(dtype: DataType) -> Option<i32> {
    DATA_TYPES.iter().find(|(d, _)| *d == dtype).map(|(_, n)| *n)
}

pub(super) fn encode(description: &Description) -> pb::ModelDescription {
    let mut message =
        pb::ModelDescription { metadata: Some(encode_metadata(&description.metadata)), ..Default::default() };
    if let Some(name) = &description.default_function {
        message.default_function_name.clone_from(name);
        message.functions = description.functions.iter().map(encode_interface).collect();
    } else if let Some(main) = description.functions.first() {
        let main = encode_interface(main);
        (message.input, message.output, message.state) = (main.input, main.output, main.state);
    }
    message
}

fn encode_interface(interface: &Interface) -> pb::FunctionDescription {
    let arrays = |features: &[Feature]| {
        features.iter().map(|f| encode_feature(f, pb::FeatureKind::MultiArray(encode_array(f)))).collect()
    };
    let state = |f: &Feature| {
        let array_type = Some(encode_array(f));
        encode_feature(f, pb::FeatureKind::State(pb::StateFeatureType { array_type }))
    };
    pb::FunctionDescription {
        name: interface.name.clone(),
        input: arrays(&interface.inputs),
        output: arrays(&interface.outputs),
        state: interface.states.iter().map(state).collect(),
    }
}

fn encode_feature(feature: &Feature, kind: pb::FeatureKind) -> pb::FeatureDescription {
    pb::FeatureDescription {
        name: feature.name.clone(),
        short_description: feature.short_description.clone(),
        ty: Some(pb::FeatureType { kind: Some(kind), is_optional: feature.optional }),
    }
}

fn encode_array(feature: &Feature) -> pb::ArrayFeatureType {
    let flexibility = feature.flexibility.as_ref().map(|flexibility| match flexibility {
        Flexibility::Range(bounds) => {
            let range = |&(lower_bound, upper_bound): &(u64, i64)| pb::SizeRange { lower_bound, upper_bound };
            pb::ShapeFlexibility::Range(pb::ShapeRange { size_ranges: bounds.iter().map(range).collect() })
        }
        Flexibility::Enumerated(shapes) => {
            let shapes = shapes.iter().map(|s| pb::Shape { shape: s.clone() }).collect();
            pb::ShapeFlexibility::Enumerated(pb::EnumeratedShapes { shapes })
        }
    });
    let data_type = number_of(feature.dtype).unwrap_or_default();
    pb::ArrayFeatureType { shape: feature.shape.clone(), data_type, flexibility }
}

fn encode_metadata(metadata: &Metadata) -> pb::Metadata {
    let entry = |(key, value): (&String, &String)| pb::UserDefinedEntry {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    pb::Metadata {
        short_description: metadata.short_description.clone(),
        version_string: metadata.version.clone(),
        author: metadata.author.clone(),
        license: metadata.license.clone(),
        user_defined: metadata.user_defined.iter().map(entry).collect(),
    }
}

pub(super) fn decode(description: pb::ModelDescription) -> Decoded<Description> {
    let metadata = decode_metadata(description.metadata.unwrap_or_default())?;
    let main = pb::FunctionDescription {
        name: MAIN.to_owned(),
        input: description.input,
        output: description.output,
        state: description.state,
    };
    if description.functions.is_empty() {
        if !description.default_function_name.is_empty() {
            return Err(Fault::malformed(format!(
                "the default function is `{}` but no functions are described",
                description.default_function_name
            )));
        }
        return Ok(Description {
            functions: vec![decode_interface(main)?],
            default_function: None,
            metadata,
        });
    }
    if main.input.len() + main.output.len() + main.state.len() > 0 {
        return Err(Fault::malformed("both functions and top-level features are described"));
    }
    let functions = description.functions.into_iter().map(decode_interface).collect::<Decoded<_>>()?;
    let name = description.default_function_name;
    let decoded = Description { functions, default_function: Some(name), metadata };
    check(&decoded).map_err(Fault::malformed)?;
    Ok(decoded)
}

fn decode_interface(interface: pb::FunctionDescription) -> Decoded<Interface> {
    let name = interface.name;
    let place = || format!("function `{name}`");
    let features = |features: Vec<pb::FeatureDescription>, is_state: bool| {
        features.into_iter().map(|f| decode_feature(f, is_state)).collect::<Decoded<Vec<_>>>()
    };
    let inputs = features(interface.input, false).at(place)?;
    let outputs = features(interface.output, false).at(place)?;
    let states = features(interface.state, true).at(place)?;
    Ok(Interface { name, inputs, outputs, states })
}

fn decode_feature(feature: pb::FeatureDescription, is_state: bool) -> Decoded<Feature> {
    let place = format!("feature `{}`", feature.name);
    let ty = feature.ty.unwrap_or_default();
    let array = match ty.kind {
        Some(pb::FeatureKind::MultiArray(array)) if !is_state => Ok(array),
        Some(pb::FeatureKind::State(state)) if is_state => Ok(state.array_type.unwrap_or_default()),
        Some(pb::FeatureKind::MultiArray(_)) => Err(Fault::malformed("is an array, expected a state")),
        Some(pb::FeatureKind::State(_)) => Err(Fault::malformed("is a state, expected an array")),
        None => Err(Fault::malformed("has no type")),
    };
    let array = array.at(|| place.clone())?;
    Ok(Feature {
        name: feature.name,
        short_description: feature.short_description,
        dtype: decode_data_type(array.data_type).at(|| place)?,
        shape: array.shape,
        optional: ty.is_optional,
        flexibility: array.flexibility.map(decode_flexibility),
    })
}

fn decode_data_type(number: i32) -> Decoded<DataType> {
    let found = DATA_TYPES.iter().find(|(_, n)| *n == number);
    found.map(|(d, _)| *d).ok_or_else(|| {
        Fault::malformed(format!(
            "data type number is {number}, expected 65552 (fp16), 65568 (fp32), 65600 (fp64), 131080 (int8) or 131104 (int32)"
        ))
    })
}

fn decode_flexibility(flexibility: pb::ShapeFlexibility) -> Flexibility {
    match flexibility {
        pb::ShapeFlexibility::Range(range) => {
            Flexibility::Range(range.size_ranges.iter().map(|r| (r.lower_bound, r.upper_bound)).collect())
        }
        pb::ShapeFlexibility::Enumerated(shapes) => {
            Flexibility::Enumerated(shapes.shapes.into_iter().map(|s| s.shape).collect())
        }
    }
}

fn decode_metadata(metadata: pb::Metadata) -> Decoded<Metadata> {
    let mut user_defined = BTreeMap::new();
    for entry in metadata.user_defined {
        let key = entry.key.unwrap_or_default();
        if user_defined.contains_key(&key) {
            return Err(Fault::malformed(format!("metadata key `{key}` occurs twice")));
        }
        user_defined.insert(key, entry.value.unwrap_or_default());
    }
    Ok(Metadata {
        short_description: metadata.short_description,
        version: metadata.version_string,
        author: metadata.author,
        license: metadata.license,
        user_defined,
    })
}
