//! Type inference of the ops that unpack a weight. Since iOS 18 their parameters are arguments, which
//! constexpr ops may have made; before, they were attributes, and masks and indices were packed bytes.

use super::{Call, Inferred, normalize_axis, one};
use crate::dtype::DataType;
use crate::types::{TensorType, Type};
use crate::value::{Data, Value};

/// Integers that a weight is quantized to.
const QUANTIZED: [DataType; 4] = [DataType::Int4, DataType::UInt4, DataType::Int8, DataType::UInt8];
/// What a table holds, and what the sparse op of iOS 16 unpacks.
const ENTRY: [DataType; 4] = [DataType::Int8, DataType::UInt8, DataType::Fp16, DataType::Fp32];
/// Weights as they are computed with.
const WEIGHT: [DataType; 2] = [DataType::Fp16, DataType::Fp32];

/// The types of the op called `op` as defined before iOS 18, whose parameters are the attributes in `call`.
pub(crate) fn as_attributes(op: &str, call: &Call<'_>) -> Inferred {
    type Rule = fn(&Call<'_>) -> Inferred;
    let (names, rule): (&[&str], Rule) = match op {
        "constexpr_affine_dequantize" => {
            (&["quantized_data", "zero_point", "scale", "axis"], affine_dequantize)
        }
        "constexpr_cast" => (&["source_val", "output_dtype"], constexpr_cast),
        "constexpr_lut_to_dense" => (&["indices", "lut", "shape"], packed_lut_to_dense),
        "constexpr_sparse_to_dense" => (&["nonzero_data", "mask", "shape"], packed_sparse_to_dense),
        _ => return Err(format!("`{op}` has no form with attributes")),
    };
    if let Some(missing) = names.iter().find(|name| !call.has(name)) {
        return Err(format!("attribute `{missing}` is missing"));
    }
    if let Some(unknown) = call.arguments.keys().find(|name| !names.contains(name)) {
        return Err(format!("has an attribute `{unknown}`, expected `name`, `{}`", names.join("`, `")));
    }
    rule(call)
}

/// `scale` times (`quantized_data` minus `zero_point`): one of each, or one for each index along `axis`.
pub(crate) fn affine_dequantize(call: &Call<'_>) -> Inferred {
    expect_dtype(call, "quantized_data", &[DataType::Int8, DataType::UInt8])?;
    expect_dtype(call, "zero_point", &[DataType::Int8, DataType::UInt8, DataType::Fp32])?;
    let dtype = expect_dtype(call, "scale", &WEIGHT)?;
    let shape = call.shape("quantized_data")?;
    let axis = normalize_axis(call.i32_or("axis", 0)?, shape.len())?;
    for name in ["zero_point", "scale"] {
        let found = call.shape(name)?;
        if !found.is_empty() && found != [shape[axis]] {
            let expected = shape[axis];
            return Err(format!(
                "`{name}` has shape {found:?}, expected a scalar or [{expected}], the extent of axis {axis}"
            ));
        }
    }
    one(dtype, &shape)
}

/// `scale` times (`data` minus `offset`), with one scale and one offset for each block of `data`.
pub(crate) fn blockwise_shift_scale(call: &Call<'_>) -> Inferred {
    expect_shift_scale(call, "data")?;
    let shape = call.shape("data")?;
    expect_blocks("data", &shape, "scale", &call.shape("scale")?)?;
    one(call.tensor("scale")?.dtype, &shape)
}

/// What of a mask is set, dequantized as in a dense tensor of the mask's shape.
pub(crate) fn sparse_blockwise_shift_scale(call: &Call<'_>) -> Inferred {
    expect_shift_scale(call, "nonzero_data")?;
    let (mask, count) = sparse(call, "data_mask", "nonzero_data")?;
    expect_blocks("data_mask", &mask, "scale", &call.shape("scale")?)?;
    let dtype = call.tensor("scale")?.dtype;
    Ok(vec![Type::tensor(DataType::UInt1, &mask), Type::tensor(dtype, &[count])])
}

/// The element types of quantized `data`, `scale` and `offset`, and the shape of `offset`.
fn expect_shift_scale(call: &Call<'_>, data: &str) -> Result<(), String> {
    let dtype = expect_dtype(call, data, &[QUANTIZED.as_slice(), &WEIGHT].concat())?;
    expect_dtype(call, "scale", &WEIGHT)?;
    if !call.has("offset") {
        return Ok(());
    }
    expect_dtype(call, "offset", &[[dtype].as_slice(), &WEIGHT].concat())?;
    let (offset, scale) = (call.shape("offset")?, call.shape("scale")?);
    if offset != scale {
        return Err(format!("`offset` has shape {offset:?}, expected {scale:?} as `scale`"));
    }
    Ok(())
}

/// `source_val`, which is fp16, in fp32.
pub(crate) fn constexpr_cast(call: &Call<'_>) -> Inferred {
    expect_dtype(call, "source_val", &[DataType::Fp16])?;
    match call.value("output_dtype").and_then(Value::as_str) {
        Some("fp32") => one(DataType::Fp32, &call.shape("source_val")?),
        Some(other) => Err(format!("`output_dtype` is \"{other}\", expected \"fp32\"")),
        None => Err("`output_dtype` is not a constant string".to_owned()),
    }
}

/// `indices` replaced by entries of `lut` [groups..., entries, vector].
pub(crate) fn lut_to_dense(call: &Call<'_>) -> Inferred {
    let indices = call.shape("indices")?;
    let shape = table(call, "indices", &indices)?.map_or(indices.clone(), |vector| vector.of(&indices));
    one(call.tensor("lut")?.dtype, &shape)
}

/// What of a mask is set, replaced by entries of `lut` as in a dense tensor of the mask's shape.
pub(crate) fn lut_to_sparse(call: &Call<'_>) -> Inferred {
    let (mask, count) = sparse(call, "indices_mask", "indices_nonzero_data")?;
    let vector = table(call, "indices_nonzero_data", &mask)?;
    let shape = vector.as_ref().map_or(mask.clone(), |vector| vector.of(&mask));
    let size = vector.map_or(1, |vector| vector.size);
    let count = count.checked_mul(size).ok_or("the number of elements overflows")?;
    let dtype = call.tensor("lut")?.dtype;
    Ok(vec![Type::tensor(DataType::UInt1, &shape), Type::tensor(dtype, &[count])])
}

/// Entries of several elements, and the extent that the axis takes along which they are laid.
struct Vector {
    size: u64,
    axis: usize,
    extent: u64,
}

impl Vector {
    /// The shape of what comes of indices of shape `indices`.
    fn of(&self, indices: &[u64]) -> Vec<u64> {
        let mut shape = indices.to_vec();
        shape[self.axis] = self.extent;
        shape
    }
}

/// Checks `lut` against the element type of `indices` and the shape that they have in a dense tensor; `None`
/// when an entry is one element.
fn table(call: &Call<'_>, indices: &str, shape: &[u64]) -> Result<Option<Vector>, String> {
    let dtype = call.tensor(indices)?.dtype;
    expect_dtype(call, "lut", &ENTRY)?;
    let (lut, rank) = (call.shape("lut")?, shape.len());
    let [groups @ .., entries, size] = &lut[..] else {
        return Err(format!("`lut` has {} dimensions, expected {}", lut.len(), rank + 2));
    };
    if groups.len() != rank {
        return Err(format!("`lut` has {} dimensions, expected {}", lut.len(), rank + 2));
    }
    if !is_index(dtype) || *entries != 1 << dtype.bits() {
        return Err(format!("`lut` has {entries} entries, which does not match {dtype} indices"));
    }
    expect_blocks(indices, shape, "lut", groups)?;
    if *size == 0 {
        return Err("the entries of `lut` are empty".to_owned());
    }
    if *size > 1 && !call.has("vector_axis") {
        return Err(format!("parameter `vector_axis` is missing; an entry of `lut` has {size} elements"));
    }
    let axis = normalize_axis(call.i32_or("vector_axis", 0)?, rank)?;
    let extent = shape[axis].checked_mul(*size).ok_or("the vector axis overflows")?;
    Ok((*size > 1).then_some(Vector { size: *size, axis, extent }))
}

fn is_index(dtype: DataType) -> bool {
    DataType::unsigned(dtype.bits()) == Some(dtype) && dtype.bits() <= 8
}

/// `nonzero_data` where `mask` is set, and zero elsewhere.
pub(crate) fn sparse_to_dense(call: &Call<'_>) -> Inferred {
    let dtype = expect_dtype(call, "nonzero_data", &[QUANTIZED.as_slice(), &WEIGHT].concat())?;
    let (mask, _) = sparse(call, "mask", "nonzero_data")?;
    one(dtype, &mask)
}

/// The shape of a mask and the number of elements that belong to it; they must agree where the mask is known.
fn sparse(call: &Call<'_>, mask: &str, nonzero: &str) -> Result<(Vec<u64>, u64), String> {
    expect_dtype(call, mask, &[DataType::UInt1])?;
    let shape = call.shape(mask)?;
    if shape.is_empty() {
        return Err(format!("`{mask}` is a scalar, expected at least one dimension"));
    }
    let count = vector(call, nonzero)?;
    expect_ones(call, mask, nonzero, count)?;
    Ok((shape, count))
}

/// That the bytes of a mask hold `count` ones, if they are in the program; the executor looks at those in a file.
fn expect_ones(call: &Call<'_>, mask: &str, nonzero: &str, count: u64) -> Result<(), String> {
    let Some(Data::Bytes(bytes)) = call.value(mask).map(|value| &value.data) else { return Ok(()) };
    let ones: u64 = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
    if ones != count {
        return Err(format!(
            "`{mask}` has {ones} bits set, expected {count} for the elements of `{nonzero}`"
        ));
    }
    Ok(())
}

/// iOS 16: `indices` are packed bytes for a tensor of `shape`, with one table for all.
fn packed_lut_to_dense(call: &Call<'_>) -> Inferred {
    let dtype = expect_dtype(call, "lut", &ENTRY)?;
    let entries = vector(call, "lut")?;
    if ![2, 4, 16, 64, 256].contains(&entries) {
        return Err(format!("`lut` has {entries} entries, expected 2, 4, 16, 64 or 256"));
    }
    let shape = expect_packed(call, "indices", entries.ilog2())?;
    one(dtype, &shape)
}

/// iOS 16: `mask` is packed bytes for a tensor of `shape`.
fn packed_sparse_to_dense(call: &Call<'_>) -> Inferred {
    let dtype = expect_dtype(call, "nonzero_data", &ENTRY)?;
    let count = vector(call, "nonzero_data")?;
    let shape = expect_packed(call, "mask", 1)?;
    expect_ones(call, "mask", "nonzero_data", count)?;
    one(dtype, &shape)
}

/// The extents in `shape`, for whose elements, of `bits` each, the bytes called `name` must be as many as needed.
fn expect_packed(call: &Call<'_>, name: &str, bits: u32) -> Result<Vec<u64>, String> {
    expect_dtype(call, name, &[DataType::UInt8])?;
    let found = vector(call, name)?;
    let shape = call.value("shape").and_then(extents);
    let shape = shape.ok_or("`shape` is not an immediate vector of uint32")?;
    let count = TensorType::new(DataType::UInt8, &shape).element_count();
    let needed = count.and_then(|count| count.checked_mul(u64::from(bits))).map(|bits| bits.div_ceil(8));
    if needed != Some(found) {
        return Err(format!(
            "`{name}` has {found} bytes, which are not those of a tensor of shape {shape:?} of {bits} bits each"
        ));
    }
    Ok(shape)
}

fn extents(shape: &Value) -> Option<Vec<u64>> {
    let ty = shape.ty.as_tensor().filter(|ty| ty.dtype == DataType::UInt32 && ty.rank() == 1);
    let (Some(_), Data::Bytes(bytes)) = (ty, &shape.data) else { return None };
    Some(bytes.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_le_bytes(*word))).collect())
}

/// The only extent of an argument of rank 1.
fn vector(call: &Call<'_>, name: &str) -> Result<u64, String> {
    match call.shape(name)?[..] {
        [count] => Ok(count),
        ref other => Err(format!("`{name}` has {} dimensions, expected one", other.len())),
    }
}

fn expect_dtype(call: &Call<'_>, name: &str, allowed: &[DataType]) -> Result<DataType, String> {
    let dtype = call.tensor(name)?.dtype;
    if allowed.contains(&dtype) {
        return Ok(dtype);
    }
    let allowed: Vec<_> = allowed.iter().map(|d| d.name()).collect();
    Err(format!("`{name}` has type {dtype}, expected {}", allowed.join(" or ")))
}

/// That a tensor of shape `groups` has an element for each block of a tensor of `shape`.
fn expect_blocks(data: &str, shape: &[u64], name: &str, groups: &[u64]) -> Result<(), String> {
    if shape.is_empty() {
        return Err(format!("`{data}` is a scalar, expected at least one dimension"));
    }
    if shape.len() != groups.len() {
        let (found, expected) = (groups.len(), shape.len());
        return Err(format!("`{name}` has {found} dimensions, expected {expected} as `{data}`"));
    }
    let divides = |(d, g): (&u64, &u64)| *g > 0 && d.is_multiple_of(*g);
    if shape.iter().zip(groups).all(divides) {
        return Ok(());
    }
    Err(format!("the groups {groups:?} of `{name}` do not divide the shape {shape:?}"))
}
