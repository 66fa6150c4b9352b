//! What a thread does with a piece: read, cluster, pack.

use std::collections::BTreeMap;
use std::ops::Range;

use anelith_mil::digest::Digest;
use anelith_mil::pack;
use half::f16;

use super::pieces::Piece;
use super::source::digest_rows;
use super::{Entry, Weights};
use crate::error::{Error, Result};
use crate::kmeans::{KMeans, Noise};
use crate::progress::{Clock, Progress, Stage};

/// Elements of a large group that are counted at a time.
const PASS: usize = 1 << 18;

const FINITE: &str = "the checkpoint hands out finite weights only";

/// The lookup tables of the groups that are larger than a piece, by the number of the entry.
pub(super) type Tables = BTreeMap<usize, Vec<f16>>;

/// A piece as it will be stored.
pub(super) struct Done {
    /// Packed elements.
    pub(super) data: Vec<u8>,
    /// The lookup tables of its groups, unless those were known before.
    pub(super) tables: Vec<u8>,
    /// What the tables do to the weights.
    pub(super) noise: Noise,
    /// The digest of each row as it was read.
    pub(super) rows: Vec<Digest>,
}

/// What a thread keeps from one piece to the next.
pub(super) struct Worker<'w> {
    weights: &'w Weights<'w>,
    progress: &'w dyn Progress,
    /// By bits.
    means: BTreeMap<u32, KMeans>,
    halves: Vec<f16>,
    indices: Vec<u8>,
}

impl<'w> Worker<'w> {
    pub(super) fn new(weights: &'w Weights<'w>, progress: &'w dyn Progress) -> Worker<'w> {
        Worker { weights, progress, means: BTreeMap::new(), halves: Vec::new(), indices: Vec::new() }
    }

    /// Makes of a piece what is stored of it.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16.
    pub(super) fn work(&mut self, piece: &Piece, large: &Tables) -> Result<Done> {
        let entry = &self.weights.entries[piece.entry];
        let mut clock = Clock::start(self.progress);
        entry.source.read(piece.elements.clone(), &mut self.halves)?;
        let mut done = Done::of(little_endian(&self.halves), entry);
        clock.lap(Stage::Read);
        if let Some(palette) = entry.palette {
            self.indices.clear();
            let means = self.means.entry(palette.bits).or_insert_with(|| KMeans::new(palette.bits));
            let mut work = Palettizing { means, indices: &mut self.indices, clock: &mut clock };
            done.noise = match large.get(&piece.entry) {
                None => work.cluster(&self.halves, entry.group(), &mut done.tables),
                Some(tables) => {
                    let parts = entry.parts_of_groups(&piece.elements);
                    let table = |group: usize| &tables[group << palette.bits..(group + 1) << palette.bits];
                    work.label(parts.map(|(group, part)| (table(group), &self.halves[part])))
                }
            };
            done.data = pack::pack(&self.indices, palette.bits);
            clock.lap(Stage::Pack);
        }
        Ok(done)
    }

    /// The lookup table of one group that is larger than a piece: the `elements` of `entry`.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16, or `Interrupted`.
    pub(super) fn table(&mut self, entry: &Entry, bits: u32, elements: Range<usize>) -> Result<Vec<f16>> {
        let means = self.means.entry(bits).or_insert_with(|| KMeans::new(bits));
        let mut clock = Clock::start(self.progress);
        for start in elements.clone().step_by(PASS) {
            if self.progress.interrupted() {
                return Err(Error::Interrupted);
            }
            let end = elements.end.min(start + PASS);
            entry.source.read(start..end, &mut self.halves)?;
            clock.lap(Stage::Read);
            means.count(&self.halves);
            clock.lap(Stage::Sort);
            self.progress.advance(2 * (end - start) as u64);
        }
        means.sort(&[]).expect(FINITE);
        clock.lap(Stage::Sort);
        means.solve();
        let mut table = Vec::new();
        means.append_table(&mut table);
        clock.lap(Stage::Cluster);
        Ok(table)
    }
}

impl Done {
    /// A piece that is stored as it was read.
    fn of(data: Vec<u8>, entry: &Entry) -> Done {
        let is_read = entry.source.place().is_some();
        let rows = if is_read { digest_rows(&data, entry.columns as usize) } else { Vec::new() };
        Done { data, tables: Vec::new(), noise: Noise::default(), rows }
    }
}

/// What palettizing a piece needs.
struct Palettizing<'a, 'p> {
    means: &'a mut KMeans,
    indices: &'a mut Vec<u8>,
    clock: &'a mut Clock<'p>,
}

impl Palettizing<'_, '_> {
    /// Clusters whole groups.
    fn cluster(&mut self, weights: &[f16], group: usize, tables: &mut Vec<u8>) -> Noise {
        let (mut table, mut noise) = (Vec::new(), Noise::default());
        for group in weights.chunks(group) {
            self.means.sort(group).expect(FINITE);
            self.clock.lap(Stage::Sort);
            self.means.solve();
            self.means.append_table(&mut table);
            self.clock.lap(Stage::Cluster);
            noise.merge(&self.means.label(group, self.indices));
            self.clock.lap(Stage::Pack);
        }
        tables.extend(little_endian(&table));
        noise
    }

    /// Labels parts of groups, each by the table of its group.
    fn label<'w>(&mut self, parts: impl Iterator<Item = (&'w [f16], &'w [f16])>) -> Noise {
        let mut noise = Noise::default();
        for (table, weights) in parts {
            self.means.sort(weights).expect(FINITE);
            self.clock.lap(Stage::Sort);
            self.means.adopt(table);
            noise.merge(&self.means.label(weights, self.indices));
            self.clock.lap(Stage::Pack);
        }
        noise
    }
}

/// As a file has them.
pub(super) fn little_endian(values: &[f16]) -> Vec<u8> {
    let mut bytes = vec![0; 2 * values.len()];
    let (pairs, _) = bytes.as_chunks_mut::<2>();
    pairs.iter_mut().zip(values).for_each(|(pair, value)| *pair = value.to_le_bytes());
    bytes
}
