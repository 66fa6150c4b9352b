//! Constants in dense form: literals decoded, lookup tables applied.

use rayon::prelude::*;

use half::f16;

use anelith_mil::DataType;

use crate::tensor::{Tensor, TensorData, element_count, strides};

/// The elements of type `dtype` in `bytes`, which are little-endian and packed.
///
/// # Errors
/// Types that the executor does not hold.
pub(crate) fn decode(dtype: DataType, bytes: &[u8]) -> Result<TensorData, String> {
    Ok(match dtype {
        DataType::Bool => bytes.iter().map(|b| *b != 0).collect::<Vec<_>>().into(),
        DataType::Fp16 => numbers(bytes, |b| f16::from_le_bytes(b).to_f32()).into(),
        DataType::Fp32 => numbers(bytes, f32::from_le_bytes).into(),
        DataType::Int8 => numbers(bytes, |b| i32::from(i8::from_le_bytes(b))).into(),
        DataType::UInt8 => numbers(bytes, |b| i32::from(u8::from_le_bytes(b))).into(),
        DataType::Int16 => numbers(bytes, |b| i32::from(i16::from_le_bytes(b))).into(),
        DataType::UInt16 => numbers(bytes, |b| i32::from(u16::from_le_bytes(b))).into(),
        DataType::Int32 => numbers(bytes, i32::from_le_bytes).into(),
        other => return Err(format!("tensors of type {other} are not supported")),
    })
}

fn numbers<T: Send, const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> T + Sync) -> Vec<T> {
    let (words, _) = bytes.as_chunks::<N>();
    words.par_iter().with_min_len(1 << 14).map(|w| f(*w)).collect()
}

/// Palettized weights: which entry of which table each weight is.
#[derive(Debug)]
pub(crate) struct Palette<'a> {
    /// The indices, `bits` wide, packed from the lowest bit on.
    pub(crate) indices: &'a [u8],
    /// Width of an index: 1 to 8.
    pub(crate) bits: u32,
    /// Shape of the indices.
    pub(crate) shape: &'a [usize],
    /// The tables.
    pub(crate) lut: &'a [f32],
    /// Shape of the tables: groups for each axis of `shape`, entries, elements of an entry.
    pub(crate) lut_shape: &'a [usize],
    /// The axis along which the elements of an entry are laid.
    pub(crate) vector_axis: usize,
}

impl Palette<'_> {
    /// The weights.
    ///
    /// # Errors
    /// Extents that contradict each other.
    pub(crate) fn to_dense(&self) -> Result<Tensor, String> {
        let count = element_count(self.shape).ok_or("the shape has too many elements")?;
        let needed = count.checked_mul(self.bits as usize).map(|n| n.div_ceil(8));
        if !(1..=8).contains(&self.bits) || needed.is_none_or(|n| n > self.indices.len()) {
            let (found, bits) = (self.indices.len(), self.bits);
            return Err(format!("{found} bytes do not hold {count} indices of {bits} bits"));
        }
        let vector = self.check_lut()?;
        let mut shape = self.shape.to_vec();
        if vector != 1 {
            let axis = shape.get_mut(self.vector_axis).ok_or("`vector_axis` is out of range")?;
            *axis = axis.checked_mul(vector).ok_or("the vector axis overflows")?;
        }
        let total = element_count(&shape).ok_or("the result has too many elements")?;
        let mut out = vec![0f32; total];
        if total > 0 {
            self.fill(vector, &mut out);
        }
        Tensor::made(shape, out)
    }

    /// Checks the tables against the indices; answers the number of elements in an entry.
    fn check_lut(&self) -> Result<usize, String> {
        let bad =
            || format!("tables of shape {:?} do not fit indices of shape {:?}", self.lut_shape, self.shape);
        let [groups @ .., entries, vector] = self.lut_shape else { return Err(bad()) };
        let divides = |(d, g): (&usize, &usize)| *g > 0 && d.is_multiple_of(*g);
        let fits = groups.len() == self.shape.len()
            && self.shape.iter().zip(groups).all(divides)
            && *entries == 1 << self.bits
            && element_count(self.lut_shape) == Some(self.lut.len());
        if fits { Ok(*vector) } else { Err(bad()) }
    }

    /// Writes the weights, run by run of indices that share a table.
    fn fill(&self, vector: usize, out: &mut [f32]) {
        let (run, tables) = self.runs();
        let table = (1usize << self.bits) * vector;
        let entry = |run_index: usize, i: usize| {
            let at = tables[run_index] * table + self.index(run_index * run + i) * vector;
            &self.lut[at..at + vector]
        };
        if vector == 1 {
            out.par_chunks_mut(run).enumerate().for_each(|(r, out)| {
                out.iter_mut().enumerate().for_each(|(i, v)| *v = entry(r, i)[0]);
            });
            return;
        }
        let inner: usize = self.shape[self.vector_axis + 1..].iter().product();
        for i in 0..out.len() / vector {
            let (outer, column) = (i / inner, i % inner);
            for (v, element) in entry(i / run, i % run).iter().enumerate() {
                out[(outer * vector + v) * inner + column] = *element;
            }
        }
    }

    /// How many neighbouring indices share a table, and the table of each such run.
    fn runs(&self) -> (usize, Vec<usize>) {
        let groups = &self.lut_shape[..self.shape.len()];
        let Some(axis) = groups.iter().rposition(|g| *g > 1) else {
            return (self.shape.iter().product::<usize>().max(1), vec![0]);
        };
        let width = self.shape[axis] / groups[axis];
        let run = width * self.shape[axis + 1..].iter().product::<usize>();
        let mut extents = self.shape[..=axis].to_vec();
        extents[axis] = groups[axis];
        let (from, steps) = (strides(&extents), strides(&groups[..=axis]));
        let table = |flat: usize| -> usize {
            let on_axis = |a: usize| {
                let position = flat / from[a] % extents[a];
                (position * groups[a] / extents[a]) * steps[a]
            };
            (0..=axis).map(on_axis).sum()
        };
        (run, (0..extents.iter().product()).map(table).collect())
    }

    fn index(&self, i: usize) -> usize {
        let bits = self.bits as usize;
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let low = usize::from(self.indices[byte]);
        let high = usize::from(self.indices.get(byte + 1).copied().unwrap_or(0));
        ((high << 8 | low) >> shift) & ((1 << bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(indices: &[usize], bits: u32) -> Vec<u8> {
        let mut out = vec![0u8; (indices.len() * bits as usize).div_ceil(8)];
        for (i, index) in indices.iter().enumerate() {
            for b in 0..bits as usize {
                let at = i * bits as usize + b;
                out[at / 8] |= ((index >> b & 1) as u8) << (at % 8);
            }
        }
        out
    }

    /// One weight at a time, by coordinates.
    fn reference(indices: &[usize], p: &Palette<'_>) -> Vec<f32> {
        let rank = p.shape.len();
        let (entries, vector) = (p.lut_shape[rank], p.lut_shape[rank + 1]);
        let mut shape = p.shape.to_vec();
        shape[p.vector_axis] *= vector;
        let steps = strides(&shape);
        let position = |flat: usize| -> f32 {
            let mut at: Vec<usize> = (0..rank).map(|a| flat / steps[a] % shape[a]).collect();
            let element = at[p.vector_axis] % vector;
            at[p.vector_axis] /= vector;
            let index: usize = at.iter().zip(strides(p.shape)).map(|(i, s)| i * s).sum();
            let group = (0..rank).fold(0, |g, a| g * p.lut_shape[a] + at[a] / (p.shape[a] / p.lut_shape[a]));
            p.lut[(group * entries + indices[index]) * vector + element]
        };
        (0..shape.iter().product()).map(position).collect()
    }

    #[test]
    fn tables_agree_with_their_slow_twin() {
        type Case<'a> = (&'a [usize], &'a [usize], u32, usize, usize);
        let cases: [Case<'_>; 8] = [
            (&[8, 6], &[2, 1], 4, 1, 0),
            (&[8, 6], &[1, 1], 3, 1, 0),
            (&[4, 6], &[2, 3], 6, 1, 0),
            (&[4, 6], &[1, 3], 2, 1, 0),
            (&[6, 3, 1, 1], &[3, 1, 1, 1], 1, 1, 0),
            (&[2, 4, 3], &[2, 2, 1], 8, 1, 0),
            (&[4, 6], &[2, 1], 2, 2, 0),
            (&[4, 6], &[2, 1], 3, 3, 1),
        ];
        for (shape, groups, bits, vector, vector_axis) in cases {
            let count: usize = shape.iter().product();
            let indices: Vec<usize> = (0..count).map(|i| (i * 7 + i / 3) % (1 << bits)).collect();
            let packed = pack(&indices, bits);
            let lut_shape = [groups, &[1 << bits, vector]].concat();
            let lut: Vec<f32> = (0..lut_shape.iter().product::<usize>()).map(|i| i as f32 - 3.5).collect();
            let p = Palette { indices: &packed, bits, shape, lut: &lut, lut_shape: &lut_shape, vector_axis };
            let dense = p.to_dense().unwrap();
            assert_eq!(dense.as_f32s().unwrap(), reference(&indices, &p), "{shape:?} {groups:?} {bits}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let good = Palette {
            indices: &[0; 3],
            bits: 4,
            shape: &[2, 3],
            lut: &[0.0; 32],
            lut_shape: &[2, 1, 16, 1],
            vector_axis: 0,
        };
        assert!(good.to_dense().is_ok());
        assert!(Palette { indices: &[0; 2], ..good }.to_dense().unwrap_err().contains("6 indices of 4 bits"));
        let good = Palette { indices: &[0; 3], ..good };
        assert!(Palette { lut_shape: &[1, 2, 16, 1], ..good }.to_dense().is_err());
    }

    #[test]
    fn literals_are_little_endian_and_signed() {
        assert_eq!(decode(DataType::Int16, &[0xff, 0xff]).unwrap(), vec![-1].into());
        assert_eq!(decode(DataType::UInt16, &[0xff, 0xff]).unwrap(), vec![65535].into());
        assert_eq!(decode(DataType::Fp16, &[0x00, 0x3c]).unwrap(), vec![1.0f32].into());
        assert!(decode(DataType::Int64, &[0; 8]).unwrap_err().contains("int64"));
    }
}
