//! Streams the planned weights into `weight.bin`, palettizing on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anelith_mil::blob::BlobWriter;
use anelith_mil::{Data, pack};
use half::f16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Component, Entry, Palette, Stored, Weights};
use crate::error::{Error, Result};
use crate::kmeans::{Clustering, KMeans, Noise};
use crate::progress::Progress;

/// Elements that are read, clustered and written at a time, unless one group has more.
const CHUNK: usize = 1 << 21;

/// What an element in work takes: itself as fp16, its index in its group, in the piece, and packed.
const BYTES_PER_ELEMENT: u64 = 2 + 1 + 1 + 1;

/// What clustering takes on each thread; more only where 8 bits meet a group of very many distinct weights.
const BYTES_PER_THREAD: u64 = 8 << 20;

/// What became of the weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightReport {
    /// One row a component and number of bits.
    pub components: Vec<ComponentReport>,
    /// Tensors whose rows the wanted group does not divide.
    pub regrouped: Vec<Regrouped>,
    /// What was to be palettized and is too small for it.
    #[serde(default)]
    pub small: Vec<Small>,
}

/// What became of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentReport {
    /// The component.
    pub component: Component,
    /// Bits of an index; `None` for fp16.
    pub bits: Option<u32>,
    /// Rows that share a table; `None` for fp16, and where it varies.
    pub group: Option<u64>,
    /// Whether every tensor has one table for all of its rows.
    #[serde(default)]
    pub per_tensor: bool,
    /// Bytes as fp16.
    pub bytes_before: u64,
    /// Bytes as stored, tables included.
    pub bytes_after: u64,
    /// Squared error relative to the weights' variance, in dB to a thousandth; `None` where there is no error.
    pub decibels: Option<f64>,
}

/// A tensor that got smaller groups than the options ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regrouped {
    /// Its name.
    pub name: String,
    /// Its output channels.
    pub rows: u64,
    /// Channels that share a table: the largest divisor of `rows` not above `wanted`.
    pub used: u64,
    /// Channels that were to share one.
    pub wanted: u64,
}

/// Tensors that stay fp16, having no more than 2,048 elements each, in a component that is palettized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Small {
    /// The component.
    pub component: Component,
    /// How many tensors of it.
    pub tensors: u64,
}

impl Weights<'_> {
    /// Bytes of source weights that `write` will go through.
    pub fn source_bytes(&self) -> u64 {
        self.entries.iter().map(|e| 2 * e.elements()).sum()
    }

    /// Bytes that `write` holds at once, at most.
    pub(crate) fn working_bytes(&self) -> u64 {
        let threads = rayon::current_num_threads() as u64;
        let largest = self.entries.iter().map(|e| e.piece() as u64).max().unwrap_or(0);
        let tables = self.entries.iter().map(Entry::table_bytes).max().unwrap_or(0);
        // Tables twice: those in work, and those of a tied matrix that are kept.
        largest * BYTES_PER_ELEMENT + 2 * tables + threads * BYTES_PER_THREAD
    }

    /// Writes every planned blob to a new file at `path`.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16, when the file cannot be written, or `Interrupted`.
    pub fn write(&self, path: &Path, progress: &dyn Progress) -> Result<WeightReport> {
        let mut blobs = Blobs { writer: BlobWriter::create(path, &self.layout)?, next: 0 };
        let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
        let twins: Vec<Option<usize>> = (0..self.entries.len()).map(|i| self.twin(i)).collect();
        let mut kept: BTreeMap<usize, Vec<f16>> = BTreeMap::new();
        for (i, entry) in self.entries.iter().enumerate() {
            let noise = match entry.palette {
                Some(palette) => {
                    let twin = twins[i].and_then(|t| Some((&self.entries[t], kept.get(&t)?)));
                    let solved = twin.map(|(twin, tables)| entry.tables_of(palette, twin, tables));
                    let (tables, noise) = entry.write_palettized(palette, solved, &mut blobs, progress)?;
                    if twins.contains(&Some(i)) {
                        kept.insert(i, tables);
                    }
                    noise
                }
                None => entry.write_dense(&mut blobs, progress)?,
            };
            sums.entry(entry.row()).or_default().add(entry, &noise);
        }
        blobs.writer.finish()?;
        Ok(self.report(sums))
    }

    /// What `write` will report, without the errors, which only the clustering tells.
    pub fn planned(&self) -> WeightReport {
        let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
        for entry in &self.entries {
            sums.entry(entry.row()).or_default().add(entry, &Noise::default());
        }
        self.report(sums)
    }

    /// Reads all weights as `write` would, and writes nothing.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16, or `Interrupted`.
    pub fn check(&self, progress: &dyn Progress) -> Result<()> {
        self.entries.iter().try_for_each(|entry| entry.pieces(progress, |_| Ok(())))
    }

    fn report(&self, sums: BTreeMap<(Component, Option<u32>), Sum>) -> WeightReport {
        let components =
            sums.into_iter().map(|((component, bits), sum)| sum.report(component, bits)).collect();
        let regrouped = self.entries.iter().filter_map(Entry::regrouped).collect();
        WeightReport { components, regrouped, small: self.small() }
    }

    fn small(&self) -> Vec<Small> {
        let mut counts: BTreeMap<Component, u64> = BTreeMap::new();
        for entry in
            self.entries.iter().filter(|e| e.palette.is_none() && self.lut(e.component).bits().is_some())
        {
            *counts.entry(entry.component).or_default() += 1;
        }
        counts.into_iter().map(|(component, tensors)| Small { component, tensors }).collect()
    }

    /// The first entry before `i` that has all of its groups: a tied matrix is stored twice but clustered once.
    fn twin(&self, i: usize) -> Option<usize> {
        self.entries[..i].iter().position(|other| self.entries[i].is_part_of(other))
    }
}

/// The weight file being written, blob after blob.
struct Blobs {
    writer: BlobWriter,
    next: usize,
}

impl Blobs {
    fn begin(&mut self) -> Result<()> {
        self.next += 1;
        Ok(self.writer.begin(self.next - 1)?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.writer.write(bytes)?)
    }
}

/// What the entries of one row of the report add up to.
#[derive(Default)]
struct Sum {
    groups: BTreeSet<Option<u64>>,
    /// Tensors of more than one table, or of none.
    divided: u64,
    bytes_before: u64,
    bytes_after: u64,
    noise: Noise,
}

impl Sum {
    fn add(&mut self, entry: &Entry, noise: &Noise) {
        self.groups.insert(entry.palette.map(|p| p.rows));
        self.divided += u64::from(entry.palette.is_none_or(|p| p.rows < entry.rows));
        self.bytes_before += 2 * entry.elements();
        self.bytes_after += entry.stored_bytes();
        self.noise.merge(noise);
    }

    fn report(self, component: Component, bits: Option<u32>) -> ComponentReport {
        ComponentReport {
            component,
            bits,
            group: if self.groups.len() == 1 { self.groups.into_iter().flatten().next() } else { None },
            per_tensor: self.divided == 0,
            bytes_before: self.bytes_before,
            bytes_after: self.bytes_after,
            // Few digits come back from the record as they were; all digits would not.
            decibels: self.noise.decibels().filter(|d| d.is_finite()).map(|d| (d * 1e3).round() / 1e3),
        }
    }
}

impl Entry {
    fn elements(&self) -> u64 {
        self.rows * self.columns
    }

    /// The row of the report that this entry belongs to.
    fn row(&self) -> (Component, Option<u32>) {
        (self.component, self.palette.map(|p| p.bits))
    }

    fn stored_bytes(&self) -> u64 {
        match self.palette {
            None => 2 * self.elements(),
            Some(p) => (self.elements() * u64::from(p.bits)).div_ceil(8) + self.table_bytes(),
        }
    }

    fn table_bytes(&self) -> u64 {
        self.palette.map_or(0, |p| (self.rows / p.rows) * (2 << p.bits))
    }

    fn regrouped(&self) -> Option<Regrouped> {
        let palette = self.palette.filter(|p| p.rows < p.wanted)?;
        Some(Regrouped {
            name: self.name.clone(),
            rows: self.rows,
            used: palette.rows,
            wanted: palette.wanted,
        })
    }

    /// Elements that are in work at a time: whole groups, and of the packed indices whole bytes.
    fn piece(&self) -> usize {
        let unit = match self.palette {
            None => 1,
            // Eight groups end on a byte whatever the width of an index.
            Some(palette) => palette.rows.saturating_mul(self.columns).saturating_mul(8),
        };
        let unit = usize::try_from(unit).unwrap_or(usize::MAX);
        ((CHUNK / unit).max(1) * unit).min(self.elements() as usize)
    }

    /// Calls `take` with all elements, piece by piece.
    fn pieces(&self, progress: &dyn Progress, mut take: impl FnMut(&[f16]) -> Result<()>) -> Result<()> {
        let (total, step) = (self.elements() as usize, self.piece());
        let mut piece = Vec::new();
        for start in (0..total).step_by(step) {
            if progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let end = total.min(start + step);
            self.source.read(start..end, &mut piece)?;
            take(&piece)?;
            progress.advance(2 * (end - start) as u64);
        }
        Ok(())
    }

    fn write_dense(&self, blobs: &mut Blobs, progress: &dyn Progress) -> Result<Noise> {
        let in_program = matches!(&self.stored, Stored::Dense(v) if !matches!(v.data, Data::Blob(_)));
        if in_program {
            return Ok(Noise::default());
        }
        blobs.begin()?;
        self.pieces(progress, |piece| blobs.write(&little_endian(piece)))?;
        Ok(Noise::default())
    }

    /// Whether the groups of this entry are groups of `other` too.
    fn is_part_of(&self, other: &Entry) -> bool {
        let (Some(ours), Some(theirs)) = (self.palette, other.palette) else { return false };
        let (Some((name, first)), Some((other_name, start))) = (self.source.place(), other.source.place())
        else {
            return false;
        };
        let group = (ours.rows * self.columns) as usize;
        let end = start + other.elements() as usize;
        (name, ours.bits, ours.rows, self.columns) == (other_name, theirs.bits, theirs.rows, other.columns)
            && (start..end).contains(&first)
            && first + self.elements() as usize <= end
            && (first - start).is_multiple_of(group)
    }

    /// The tables of this entry among those of its `twin`.
    fn tables_of<'t>(&self, palette: Palette, twin: &Entry, tables: &'t [f16]) -> &'t [f16] {
        let first = |entry: &Entry| entry.source.place().map_or(0, |(_, first)| first);
        let skipped = (first(self) - first(twin)) / (palette.rows * self.columns) as usize;
        let groups = (self.rows / palette.rows) as usize;
        &tables[skipped << palette.bits..(skipped + groups) << palette.bits]
    }

    /// Writes the indices as they come and the tables, which are small, at the end; `solved` are the tables where
    /// they are known. Answers with the tables.
    fn write_palettized(
        &self,
        palette: Palette,
        solved: Option<&[f16]>,
        blobs: &mut Blobs,
        progress: &dyn Progress,
    ) -> Result<(Vec<f16>, Noise)> {
        let group = (palette.rows * self.columns) as usize;
        let (mut tables, mut noise) = (Vec::new(), Noise::default());
        blobs.begin()?;
        self.pieces(progress, |piece| {
            let mut indices = Vec::with_capacity(piece.len());
            let solved = solved.map(|all| &all[tables.len()..]);
            for clustering in cluster(piece, group, palette.bits, solved) {
                indices.extend_from_slice(&clustering.indices);
                tables.extend_from_slice(&clustering.table);
                noise.merge(&clustering.noise);
            }
            blobs.write(&pack::pack(&indices, palette.bits))
        })?;
        blobs.begin()?;
        blobs.write(&little_endian(&tables))?;
        Ok((tables, noise))
    }
}

/// The clusterings of consecutive groups, in order whatever the number of threads; `solved` begins with their tables,
/// where those are known.
fn cluster(weights: &[f16], group: usize, bits: u32, solved: Option<&[f16]>) -> Vec<Clustering> {
    let groups = weights.par_chunks(group);
    let means = || KMeans::new(bits);
    let clusterings: std::result::Result<Vec<_>, _> = match solved {
        None => groups.map_init(means, |means, group| means.cluster(group)).collect(),
        Some(tables) => {
            let labelled = groups.zip(tables.par_chunks(1 << bits));
            let label = |means: &mut KMeans, (group, table): (&[f16], &[f16])| {
                let mut found =
                    Clustering { table: Vec::new(), indices: Vec::new(), noise: Noise::default() };
                means.sort(group)?;
                means.adopt(table);
                found.noise = means.label(group, &mut found.table, &mut found.indices);
                Ok(found)
            };
            labelled.map_init(means, label).collect()
        }
    };
    clusterings.expect("the checkpoint hands out finite weights only")
}

fn little_endian(values: &[f16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
