//! What `inspect --json` prints.

use std::path::Path;

use anelith_inspect::compare::{Deviation, coordinates};
use anelith_inspect::detail::{Detail, Palette, SourceError};
use anelith_inspect::names;
use anelith_inspect::summary::{FeatureSummary, FunctionSummary, Size, Summary};
use anelith_inspect::weights::{Piece, Purpose, Use, Weight};
use serde_json::{Map, Value, json};

pub(super) fn summary(path: &Path, summary: &Summary, weights: &[Weight<'_>]) -> Value {
    let metadata = &summary.metadata;
    json!({
        "path": path.display().to_string(),
        "specification_version": summary.specification_version,
        "metadata": {
            "short_description": metadata.short_description,
            "version": metadata.version,
            "author": metadata.author,
            "license": metadata.license,
            "user_defined": metadata.user_defined,
        },
        "build_info": summary.build_info,
        "functions": summary.functions.iter().map(function).collect::<Vec<_>>(),
        "sizes": summary.sizes.iter().map(size).collect::<Vec<_>>(),
        "weights": weights.iter().map(listed).collect::<Vec<_>>(),
        "files": summary.files.iter().map(|file| json!({
            "name": file.name,
            "bytes": file.bytes,
            "blobs": file.blobs,
            "referenced": file.referenced,
            "referenced_bytes": file.referenced_bytes,
        })).collect::<Vec<_>>(),
    })
}

fn listed(weight: &Weight<'_>) -> Value {
    json!({
        "name": weight.name,
        "type": weight.ty.to_string(),
        "component": weight.component(),
        "layer": names::layer(&weight.words),
        "storage": weight.storage(),
        "element_bytes": weight.bytes(Purpose::Elements),
        "table_bytes": weight.bytes(Purpose::Tables),
    })
}

fn function(function: &FunctionSummary) -> Value {
    let features = |list: &[FeatureSummary]| {
        list.iter().map(|f| json!({ "name": f.name, "type": f.ty })).collect::<Vec<_>>()
    };
    let ops: Map<String, Value> = function.ops.iter().map(|(kind, n)| (kind.clone(), json!(n))).collect();
    json!({
        "name": function.name,
        "default": function.is_default,
        "opset": function.opset,
        "inputs": features(&function.inputs),
        "outputs": features(&function.outputs),
        "states": features(&function.states),
        "ops": ops,
    })
}

fn size(size: &Size) -> Value {
    json!({
        "component": size.component,
        "storage": size.storage,
        "tensors": size.tensors,
        "elements": size.elements,
        "element_bytes": size.element_bytes,
        "table_bytes": size.table_bytes,
        "bits_per_weight": size.bits,
    })
}

pub(super) fn weight(weight: &Weight<'_>, detail: &Detail) -> Value {
    let range = &detail.range;
    json!({
        "name": weight.name,
        "type": weight.ty.to_string(),
        "shape": detail.shape,
        "component": weight.component(),
        "layer": names::layer(&weight.words),
        "storage": weight.storage(),
        "element_bytes": weight.bytes(Purpose::Elements),
        "table_bytes": weight.bytes(Purpose::Tables),
        "made_by": weight.makers,
        "read_by": weight.uses.iter().map(used).collect::<Vec<_>>(),
        "pieces": weight.pieces.iter().map(piece).collect::<Vec<_>>(),
        "min": range.min,
        "max": range.max,
        "mean": range.mean,
        "rms": range.rms,
        "not_finite": range.not_finite,
        "palette": detail.palette.as_ref().map(palette),
        "source": detail.error.as_ref().map(|error| source(error, &detail.shape)),
    })
}

fn used(used: &Use) -> Value {
    json!({ "function": used.function, "op": used.op, "kind": used.kind, "parameter": used.parameter })
}

fn piece(piece: &Piece<'_>) -> Value {
    json!({
        "role": piece.role,
        "type": piece.ty.to_string(),
        "bytes": piece.bytes,
        "file": piece.place.as_ref().map(|place| place.file),
        "metadata_offset": piece.place.as_ref().map(|place| place.metadata),
        "data_offset": piece.place.as_ref().map(|place| place.data),
    })
}

fn palette(palette: &Palette) -> Value {
    json!({
        "groups": palette.groups,
        "tables": palette.tables,
        "entries": palette.entries,
        "vector": palette.vector,
        "histogram": palette.histogram,
        "unused_entries": palette.unused,
        "group": palette.shown,
        "table": palette.table,
        "table_histogram": palette.table_histogram,
    })
}

fn source(error: &SourceError, shape: &[u64]) -> Value {
    let mut value = deviation(&error.deviation, shape);
    value["tensor"] = json!(error.rows.name());
    value["dtype"] = json!(error.rows.dtype());
    value["first_row"] = json!(error.rows.first);
    value["rows_shape"] = json!(error.rows.shape);
    value["groups"] = json!(error.groups);
    value
}

/// Ratios are `null` where nothing differs, and numbers that are not finite are `null` as well.
pub(crate) fn deviation(deviation: &Deviation, shape: &[u64]) -> Value {
    json!({
        "elements": deviation.elements,
        "differing": deviation.differing,
        "not_finite": deviation.not_finite,
        "mean_square_error": deviation.mean_square,
        "snr_db": deviation.snr,
        "max_difference": deviation.max,
        "at": coordinates(shape, deviation.at),
        "reference_value": deviation.values.0,
        "value": deviation.values.1,
        "worst_group": deviation.worst.map(|(group, _)| group),
        "worst_group_snr_db": deviation.worst.map(|(_, snr)| snr),
    })
}
