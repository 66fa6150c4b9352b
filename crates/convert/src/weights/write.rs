//! Streams the planned weights into `weight.bin`, palettizing on the way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anelith_mil::blob::BlobWriter;
use anelith_mil::pack;
use half::f16;
use rayon::prelude::*;

use super::{Component, Entry, Palette, Source, Weights};
use crate::error::{Error, Result};
use crate::kmeans::{KMeans, Noise};
use crate::progress::Progress;

/// Elements that are read, clustered and written at a time, unless one group has more.
const CHUNK: usize = 1 << 21;

/// What became of the weights.
#[derive(Clone, Debug, Default)]
pub struct WeightReport {
    /// One row a component and storage form, in a fixed order.
    pub components: Vec<ComponentReport>,
    /// Tensors whose rows the wanted group does not divide: name, rows, group used, group wanted.
    pub regrouped: Vec<(String, u64, u64, u64)>,
}

/// What became of one component.
#[derive(Clone, Debug)]
pub struct ComponentReport {
    /// The component.
    pub component: Component,
    /// Bits of an index; `None` for fp16.
    pub bits: Option<u32>,
    /// Rows that share a table; `None` where it varies or does not apply.
    pub group: Option<u64>,
    /// Bytes as fp16.
    pub bytes_before: u64,
    /// Bytes as stored, tables included.
    pub bytes_after: u64,
    /// What palettization did to the weights.
    pub noise: Noise,
}

impl Weights<'_> {
    /// Bytes of source weights that `write` will go through.
    pub fn source_bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.rows * e.columns * 2).sum()
    }

    /// Writes every planned blob to a new file at `path`.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16, when the file cannot be written, or `Interrupted`.
    pub fn write(&self, path: &Path, progress: &dyn Progress) -> Result<WeightReport> {
        let mut writer = BlobWriter::create(path, &self.layout)?;
        let mut report = WeightReport::default();
        let mut rows = BTreeMap::new();
        for entry in &self.entries {
            let noise = match entry.palette {
                Some(palette) => entry.write_palettized(palette, &mut writer, progress)?,
                None => entry.write_dense(&mut writer, progress)?,
            };
            report.add(&mut rows, entry, noise);
        }
        writer.finish()?;
        report.components = rows.into_values().collect();
        Ok(report)
    }
}

impl WeightReport {
    fn add(&mut self, rows: &mut BTreeMap<(Component, Option<u32>), ComponentReport>, entry: &Entry, noise: Noise) {
        let bits = entry.palette.map(|p| p.bits);
        let group = entry.palette.map(|p| p.rows);
        let elements = entry.rows * entry.columns;
        let after = match entry.palette {
            None => elements * 2,
            Some(p) => (elements * u64::from(p.bits)).div_ceil(8) + (entry.rows / p.rows) * (2 << p.bits),
        };
        let row = rows.entry((entry.component, bits)).or_insert_with(|| ComponentReport {
            component: entry.component,
            bits,
            group,
            bytes_before: 0,
            bytes_after: 0,
            noise: Noise::default(),
        });
        row.bytes_before += elements * 2;
        row.bytes_after += after;
        row.noise.merge(&noise);
        if row.group != group {
            row.group = None;
        }
        if let Some(p) = entry.palette.filter(|p| p.rows != p.wanted && p.wanted < entry.rows) {
            self.regrouped.push((entry.name.clone(), entry.rows, p.rows, p.wanted));
        }
    }
}

impl Entry {
    fn read(&self, range: Range<usize>, out: &mut Vec<f16>) -> Result<()> {
        match &self.source {
            Source::Tensor { tensor, first } => Ok(tensor.read_f16(first + range.start..first + range.end, out)?),
            Source::Computed(values) => {
                out.clear();
                out.extend_from_slice(&values[range]);
                Ok(())
            }
        }
    }

    /// Calls `take` with the elements, in pieces of whole multiples of `unit`.
    fn chunks(
        &self,
        unit: usize,
        progress: &dyn Progress,
        mut take: impl FnMut(&[f16]) -> Result<()>,
    ) -> Result<()> {
        let total = (self.rows * self.columns) as usize;
        let step = (CHUNK / unit).max(1) * unit;
        let mut piece = Vec::new();
        for start in (0..total).step_by(step) {
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let end = total.min(start + step);
            self.read(start..end, &mut piece)?;
            take(&piece)?;
            progress.advance(2 * (end - start) as u64);
        }
        Ok(())
    }

    fn write_dense(&self, writer: &mut BlobWriter, progress: &dyn Progress) -> Result<Noise> {
        if matches!(&self.stored, super::Stored::Dense(v) if !matches!(v.data, anelith_mil::Data::Blob(_))) {
            return Ok(Noise::default());
        }
        self.chunks(1, progress, |piece| Ok(writer.write(&little_endian(piece))?))?;
        Ok(Noise::default())
    }

    /// Writes the indices as they come and the tables, which are small, at the end.
    fn write_palettized(&self, palette: Palette, writer: &mut BlobWriter, progress: &dyn Progress) -> Result<Noise> {
        let group = (palette.rows * self.columns) as usize;
        // Pieces of eight groups end on a byte whatever the width of an index.
        let unit = group * 8;
        let (mut tables, mut noise) = (Vec::new(), Noise::default());
        self.chunks(unit, progress, |piece| {
            let mut indices = Vec::with_capacity(piece.len());
            for clustering in cluster(piece, group, palette.bits)? {
                indices.extend_from_slice(&clustering.indices);
                tables.extend_from_slice(&clustering.table);
                noise.merge(&clustering.noise);
            }
            Ok(writer.write(&pack::pack(&indices, palette.bits))?)
        })?;
        writer.write(&little_endian(&tables))?;
        Ok(noise)
    }
}

/// The clusterings of consecutive groups, in order whatever the number of threads.
fn cluster(weights: &[f16], group: usize, bits: u32) -> Result<Vec<crate::kmeans::Clustering>> {
    let one = |means: &mut KMeans, group: &[f16]| means.cluster(group);
    let clusterings: std::result::Result<Vec<_>, _> =
        weights.par_chunks(group).map_init(|| KMeans::new(bits), one).collect();
    Ok(clusterings.expect("the checkpoint hands out finite weights only"))
}

fn little_endian(values: &[f16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
