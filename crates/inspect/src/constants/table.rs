//! Lookup tables applied to indices.

use super::{Checked, Dense, Groups, Mask, Node, element_count};

/// Palettized elements: which entry of which table each is.
#[derive(Debug)]
pub(super) struct Table<'m> {
    indices: Node<'m>,
    groups: Groups,
    lut: Node<'m>,
    /// Entries of a table.
    entries: u64,
    /// Elements of an entry.
    vector: u64,
    /// The axis along which the elements of an entry are laid.
    axis: usize,
    /// Elements of the indices behind that axis.
    inner: u64,
    mask: Option<Mask<'m>>,
}

impl<'m> Table<'m> {
    /// Tables `lut` [groups..., entries, vector] for indices of `bits` bits and of `shape`.
    pub(super) fn new(
        indices: Node<'m>,
        shape: &[u64],
        bits: u32,
        lut: Dense<'m>,
        axis: usize,
        mask: Option<Mask<'m>>,
    ) -> Checked<Table<'m>> {
        let bad = || format!("tables of shape {:?} do not fit indices of shape {shape:?}", lut.shape);
        let [blocks @ .., entries, vector] = &lut.shape[..] else { return Err(bad()) };
        let groups = Groups::new(shape, blocks).map_err(|_| bad())?;
        if !(1..=8).contains(&bits) || *entries != 1 << bits || *vector == 0 {
            return Err(bad());
        }
        let behind = shape.get(axis + 1..).ok_or("`vector_axis` is out of range")?;
        let (inner, entries, vector) = (element_count(behind)?.max(1), *entries, *vector);
        Ok(Table { indices, groups, lut: lut.node, entries, vector, axis, inner, mask })
    }

    /// The shape of what comes of indices of `shape`.
    pub(super) fn shape(&self, shape: &[u64]) -> Checked<Vec<u64>> {
        let mut out = shape.to_vec();
        let axis = out.get_mut(self.axis).ok_or("the indices are a scalar")?;
        *axis = axis.checked_mul(self.vector).ok_or("the vector axis overflows")?;
        element_count(&out)?;
        Ok(out)
    }

    /// The blocks of the tensor of `shape` that comes of it.
    pub(super) fn output_groups(&self, shape: &[u64]) -> Option<Groups> {
        Groups::new(shape, &self.groups.blocks()).ok()
    }

    pub(super) fn read(&self, start: u64, out: &mut [f64]) {
        let mut cached =
            Cached { group: u64::MAX, entries: vec![0.0; (self.entries * self.vector) as usize] };
        let (mut at, mut rest) = (start, out);
        while !rest.is_empty() {
            // Elements that lie side by side behind the vector axis have neighbouring indices.
            let (row, column) = (at / self.inner, at % self.inner);
            let length = match self.vector {
                1 => rest.len(),
                _ => usize::try_from(self.inner - column).unwrap_or(usize::MAX).min(rest.len()),
            };
            let (run, others) = rest.split_at_mut(length);
            let first = row / self.vector * self.inner + column;
            self.look_up(first, row % self.vector, run, &mut cached);
            at += length as u64;
            rest = others;
        }
    }

    /// Element `v` of the entries that the indices from `first` on ask for.
    fn look_up(&self, first: u64, v: u64, out: &mut [f64], cached: &mut Cached) {
        let (first, v) = if self.vector == 1 { (first, 0) } else { (first, v as usize) };
        self.indices.read(first, out);
        self.groups.runs(first, out, |group, run| {
            if cached.group != group {
                self.lut.read(group * self.entries * self.vector, &mut cached.entries);
                cached.group = group;
            }
            let entry = |i: f64| cached.entries.get(i as usize * self.vector as usize + v).copied();
            run.iter_mut().for_each(|i| *i = entry(*i).unwrap_or_default());
        });
        if let Some(mask) = &self.mask {
            mask.clear_unset(first, out);
        }
    }
}

/// The table that was looked at last.
struct Cached {
    group: u64,
    entries: Vec<f64>,
}
