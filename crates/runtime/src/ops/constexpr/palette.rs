//! Lookup tables applied to packed indices.

use super::groups::Groups;
use crate::tensor::{element_count, room_for};

/// Palettized weights: which entry of which table each weight is.
#[derive(Debug)]
pub(crate) struct Palette<'a> {
    /// The indices, `bits` wide, packed from the lowest bit on.
    pub(crate) indices: &'a [u8],
    /// Width of an index: 1 to 8.
    pub(crate) bits: u32,
    /// Shape of the indices.
    pub(crate) shape: &'a [usize],
    /// Shape of the tables: groups for each axis of `shape`, entries, elements of an entry.
    pub(crate) lut_shape: &'a [usize],
    /// The axis along which the elements of an entry are laid.
    pub(crate) vector_axis: usize,
}

/// Tables that have been checked against the indices.
struct Tables<'a, T> {
    lut: &'a [T],
    groups: Groups,
    /// Elements of an entry.
    vector: usize,
}

impl Palette<'_> {
    /// The shape of the weights, and the weights, for tables of elements `lut`.
    ///
    /// # Errors
    /// Extents that contradict each other.
    pub(crate) fn to_dense<T>(&self, lut: &[T]) -> Result<(Vec<usize>, Vec<T>), String>
    where
        T: Copy + Default + Send + Sync,
    {
        let count = element_count(self.shape).ok_or("the shape has too many elements")?;
        let needed = count.checked_mul(self.bits as usize).map(|n| n.div_ceil(8));
        if !(1..=8).contains(&self.bits) || needed.is_none_or(|n| n > self.indices.len()) {
            let (found, bits) = (self.indices.len(), self.bits);
            return Err(format!("{found} bytes do not hold {count} indices of {bits} bits"));
        }
        let tables = self.tables(lut)?;
        let mut shape = self.shape.to_vec();
        if tables.vector != 1 {
            let axis = shape.get_mut(self.vector_axis).ok_or("`vector_axis` is out of range")?;
            *axis = axis.checked_mul(tables.vector).ok_or("the vector axis overflows")?;
        }
        let mut out = vec![T::default(); room_for(&shape)?];
        match tables.vector {
            1 => self.fill(&tables, &mut out),
            _ => self.fill_vectors(&tables, &mut out),
        }
        Ok((shape, out))
    }

    /// Checks the tables against the indices.
    fn tables<'l, T>(&self, lut: &'l [T]) -> Result<Tables<'l, T>, String> {
        let bad =
            || format!("tables of shape {:?} do not fit indices of shape {:?}", self.lut_shape, self.shape);
        let [blocks @ .., entries, vector] = self.lut_shape else { return Err(bad()) };
        let groups = Groups::new(self.shape, blocks).map_err(|_| bad())?;
        let fits = *entries == 1 << self.bits && element_count(self.lut_shape) == Some(lut.len());
        if fits { Ok(Tables { lut, groups, vector: *vector }) } else { Err(bad()) }
    }

    /// Writes the weights, run by run of indices that share a table.
    fn fill<T: Copy + Send + Sync>(&self, tables: &Tables<'_, T>, out: &mut [T]) {
        let entries = 1usize << self.bits;
        tables.groups.for_each_run(out, |group, start, run| {
            let table = &tables.lut[group * entries..(group + 1) * entries];
            run.iter_mut().enumerate().for_each(|(i, v)| *v = table[self.index(start + i)]);
        });
    }

    /// Writes weights of which an entry holds several.
    fn fill_vectors<T: Copy>(&self, tables: &Tables<'_, T>, out: &mut [T]) {
        let vector = tables.vector;
        let inner: usize = self.shape[self.vector_axis + 1..].iter().product();
        for i in 0..out.len().checked_div(vector).unwrap_or(0) {
            let at = ((tables.groups.of(i) << self.bits) + self.index(i)) * vector;
            let (outer, column) = (i / inner, i % inner);
            for (v, element) in tables.lut[at..at + vector].iter().enumerate() {
                out[(outer * vector + v) * inner + column] = *element;
            }
        }
    }

    fn index(&self, i: usize) -> usize {
        let bits = self.bits as usize;
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let low = usize::from(self.indices[byte]);
        let high = usize::from(self.indices.get(byte + 1).copied().unwrap_or(0));
        ((high << 8 | low) >> shift) & ((1 << bits) - 1)
    }
}
