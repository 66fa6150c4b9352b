//! Constants: literals decoded, and compressed weights unpacked by the ops that say how.
//!
//! An unpacked weight is computed in `f32`, and rounded once to the type that its op declares where results are
//! rounded at all.

mod groups;
mod palette;
mod sparse;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anelith_mil::{DataType, Opcode, pack};

use super::Problem;
use super::arguments::normalize_axis;
use crate::kernels::round_to_fp16;
use crate::tensor::{element_count, room_for};
use groups::Groups;
use sparse::{pick, repeat, scatter};

pub(crate) use palette::Palette;
pub(crate) use stored::{Elements, Stored};

/// The parameters of a constexpr op, whether they are arguments or attributes.
#[derive(Debug)]
pub(crate) struct Parameters<'v> {
    /// Their values.
    pub(crate) by_name: BTreeMap<&'v str, Stored<'v>>,
    /// Whether what is computed is rounded to its type.
    pub(crate) round: bool,
}

/// The results of the op `opcode`.
///
/// # Errors
/// Parameters that contradict each other, as a mask does that has another number of bits set than there are
/// elements; an op that is no constexpr op.
pub(crate) fn unpack(opcode: Opcode, parameters: &Parameters<'_>) -> Result<Vec<Stored<'static>>, Problem> {
    let unpacked = match opcode {
        Opcode::ConstexprAffineDequantize => vec![parameters.affine_dequantize()?],
        Opcode::ConstexprBlockwiseShiftScale => vec![parameters.blockwise_shift_scale()?],
        Opcode::ConstexprCast => vec![parameters.cast()?],
        Opcode::ConstexprLutToDense => vec![parameters.lut_to_dense()?],
        Opcode::ConstexprLutToSparse => parameters.lut_to_sparse()?.into(),
        Opcode::ConstexprSparseBlockwiseShiftScale => parameters.sparse_blockwise_shift_scale()?.into(),
        Opcode::ConstexprSparseToDense => vec![parameters.sparse_to_dense()?],
        other => return Err(Problem::Unsupported(format!("`{}` unpacks no weight", other.info().name))),
    };
    Ok(unpacked)
}

/// Numbers for the blocks of a tensor: scales or offsets.
#[derive(Debug)]
struct PerBlock {
    groups: Groups,
    values: Vec<f32>,
}

impl PerBlock {
    /// Replaces each of `numbers` by what `f` makes of it and of the number for its block.
    fn apply(&self, numbers: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
        self.groups.for_each_run(numbers, |block, _, run| {
            let value = self.values[block];
            run.iter_mut().for_each(|v| *v = f(*v, value));
        });
    }
}

impl<'v> Parameters<'v> {
    fn optional(&self, name: &str) -> Option<&Stored<'v>> {
        self.by_name.get(name)
    }

    fn get(&self, name: &str) -> Result<&Stored<'v>, String> {
        self.optional(name).ok_or_else(|| format!("parameter `{name}` is missing"))
    }

    /// `name` as numbers for the blocks of a tensor of `shape`, of which it has `blocks` along each axis.
    fn per_block(&self, name: &str, shape: &[usize], blocks: &[usize]) -> Result<PerBlock, String> {
        let groups = Groups::new(shape, blocks).map_err(|problem| format!("`{name}`: {problem}"))?;
        let values = self.get(name)?.numbers()?;
        if element_count(blocks) != Some(values.len()) {
            return Err(format!(
                "`{name}` has {} elements, expected one for each of {blocks:?}",
                values.len()
            ));
        }
        Ok(PerBlock { groups, values })
    }

    /// iOS 16: one scale and one zero point, or one for each index along `axis`.
    fn affine_dequantize(&self) -> Result<Stored<'static>, String> {
        let data = self.get("quantized_data")?;
        let axis = self.get("axis")?.integers()?;
        let [axis] = axis[..] else { return Err("`axis` is not one number".to_owned()) };
        let axis = normalize_axis(axis, data.shape.len())?;
        let along = |name: &str| {
            let mut blocks = vec![1; data.shape.len()];
            if !self.get(name)?.shape.is_empty() {
                blocks[axis] = data.shape[axis];
            }
            self.per_block(name, &data.shape, &blocks)
        };
        let (scale, zero_point) = (along("scale")?, along("zero_point")?);
        let dtype = self.get("scale")?.dtype;
        Stored::floats(
            dtype,
            data.shape.clone(),
            self.scaled(data.numbers()?, &scale, Some(&zero_point), dtype),
        )
    }

    fn blockwise_shift_scale(&self) -> Result<Stored<'static>, String> {
        let data = self.get("data")?;
        let numbers = self.shift_scale(data.numbers()?, &data.shape)?;
        Stored::floats(self.get("scale")?.dtype, data.shape.clone(), numbers)
    }

    /// The mask, and the dequantized elements where it is set.
    fn sparse_blockwise_shift_scale(&self) -> Result<[Stored<'static>; 2], String> {
        let mask = self.get("data_mask")?;
        let bits = mask.bytes()?;
        let dense = scatter(&bits, &self.get("nonzero_data")?.numbers()?)?;
        let numbers = pick(&bits, &self.shift_scale(dense, &mask.shape)?);
        let nonzero = Stored::floats(self.get("scale")?.dtype, vec![numbers.len()], numbers)?;
        Ok([Stored::bytes_of(DataType::UInt1, mask.shape.clone(), bits.into_owned()), nonzero])
    }

    /// `numbers`, a tensor of `shape`, less `offset` and times `scale`.
    fn shift_scale(&self, numbers: Vec<f32>, shape: &[usize]) -> Result<Vec<f32>, String> {
        let along = |name: &str| self.per_block(name, shape, &self.get(name)?.shape);
        let scale = along("scale")?;
        let offset = self.optional("offset").map(|_| along("offset")).transpose()?;
        Ok(self.scaled(numbers, &scale, offset.as_ref(), self.get("scale")?.dtype))
    }

    /// `numbers` less `offset` and times `scale`, of type `dtype`.
    fn scaled(
        &self,
        mut numbers: Vec<f32>,
        scale: &PerBlock,
        offset: Option<&PerBlock>,
        dtype: DataType,
    ) -> Vec<f32> {
        if let Some(offset) = offset {
            offset.apply(&mut numbers, |v, offset| v - offset);
        }
        scale.apply(&mut numbers, |v, scale| v * scale);
        if self.round && dtype == DataType::Fp16 {
            round_to_fp16(&mut numbers);
        }
        numbers
    }

    /// fp16 as fp32, which is how it is held anyway.
    fn cast(&self) -> Result<Stored<'static>, String> {
        let source = self.get("source_val")?;
        Stored::floats(DataType::Fp32, source.shape.clone(), source.numbers()?)
    }

    fn lut_to_dense(&self) -> Result<Stored<'static>, String> {
        let (indices, lut) = (self.get("indices")?, self.get("lut")?);
        let Some(shape) = self.packed_shape()? else {
            return self.entries(&indices.packed()?, indices.dtype.bits(), &indices.shape);
        };
        let entries = lut.shape.first().copied().unwrap_or(0);
        let lut_shape = [vec![1; shape.len()], vec![entries, 1]].concat();
        let bits = entries.checked_ilog2().unwrap_or(0);
        let palette = Palette {
            indices: &indices.bytes()?,
            bits,
            shape: &shape,
            lut_shape: &lut_shape,
            vector_axis: 0,
        };
        looked_up(&palette, lut)
    }

    /// The entries of `lut` that `indices`, packed and `bits` wide, of `shape`, ask for.
    fn entries(&self, indices: &[u8], bits: u32, shape: &[usize]) -> Result<Stored<'static>, String> {
        let (lut, vector_axis) = (self.get("lut")?, self.vector_axis(shape.len())?);
        looked_up(&Palette { indices, bits, shape, lut_shape: &lut.shape, vector_axis }, lut)
    }

    fn vector_axis(&self, rank: usize) -> Result<usize, String> {
        let Some(axis) = self.optional("vector_axis") else { return Ok(0) };
        match axis.integers()?[..] {
            [axis] => normalize_axis(axis, rank),
            _ => Err("`vector_axis` is not one number".to_owned()),
        }
    }

    /// The mask, and the entries of `lut` where it is set.
    fn lut_to_sparse(&self) -> Result<[Stored<'static>; 2], String> {
        let (mask, indices) = (self.get("indices_mask")?, self.get("indices_nonzero_data")?);
        let bits = indices.dtype.bits();
        if !matches!(bits, 1 | 2 | 3 | 4 | 6 | 8) {
            return Err(format!("`indices_nonzero_data` has type {}", indices.dtype));
        }
        let scattered = scatter(&mask.bytes()?, &indices.bytes()?)?;
        let dense = self.entries(&pack::pack(&scattered, bits), bits, &mask.shape)?;
        let vector = self.get("lut")?.shape.last().copied().unwrap_or(1);
        let axis = self.vector_axis(mask.shape.len())?;
        let mask = match vector {
            1 => mask.bytes()?.into_owned(),
            _ => repeat(&mask.bytes()?, &mask.shape, axis, vector),
        };
        let nonzero = dense.picked(&mask)?;
        Ok([Stored::bytes_of(DataType::UInt1, dense.shape, mask), nonzero])
    }

    fn sparse_to_dense(&self) -> Result<Stored<'static>, String> {
        let (mask, nonzero) = (self.get("mask")?, self.get("nonzero_data")?);
        let Some(shape) = self.packed_shape()? else {
            return nonzero.scattered(&mask.bytes()?, mask.shape.clone());
        };
        let count = room_for(&shape)?;
        let packed = mask.bytes()?;
        let bits = pack::unpack(&packed, 1, count as u64).ok_or_else(|| {
            format!("`mask` has {} bytes, which are not a bit for each of {shape:?}", packed.len())
        })?;
        if packed.last().is_some_and(|last| count % 8 != 0 && last >> (count % 8) != 0) {
            return Err(format!("`mask` has bits set beyond the {count} elements of its shape"));
        }
        nonzero.scattered(&bits, shape)
    }

    /// iOS 16: the shape of what the bytes in `indices` or `mask` stand for. Since iOS 18 those have it themselves.
    fn packed_shape(&self) -> Result<Option<Vec<usize>>, String> {
        let Some(shape) = self.optional("shape") else { return Ok(None) };
        let extent = |n: &i64| usize::try_from(*n).map_err(|_| format!("`shape` has an extent {n}"));
        shape.extents()?.iter().map(extent).collect::<Result<_, _>>().map(Some)
    }
}

/// What `palette` makes of the tables `lut`.
fn looked_up(palette: &Palette<'_>, lut: &Stored<'_>) -> Result<Stored<'static>, String> {
    if lut.dtype.is_float() {
        let (shape, weights) = palette.to_dense(&lut.numbers()?)?;
        return Stored::floats(lut.dtype, shape, weights);
    }
    let (shape, weights) = palette.to_dense(&lut.bytes()?)?;
    Ok(Stored::bytes_of(lut.dtype, shape, weights))
}
