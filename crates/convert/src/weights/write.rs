//! Streams the planned weights into `weight.bin`, palettizing on the way.
//!
//! The checkpoint is read once: threads share the pieces, and this one writes what they made of them in the order of
//! the file. Only a group larger than a piece is read twice, first to find its table.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anelith_mil::blob::BlobWriter;
use anelith_mil::digest::Digest;

use super::pieces::{Piece, Twin};
use super::report::{Sums, WeightReport};
use super::source::SourceDigest;
use super::work::{Done, Tables, Worker, little_endian};
use super::{Entry, Weights};
use crate::error::{Error, Result};
use crate::kmeans::Noise;
use crate::ordered::{in_order, results_at_once};
use crate::progress::{Clock, Progress, Stage};

/// What an element takes while a thread works on it: itself as fp16, as it was read, and its index.
const BYTES_IN_WORK: usize = 2 + 2 + 1;

/// What clustering takes on each thread; more only where 8 bits meet a group of very many distinct weights.
const BYTES_PER_THREAD: usize = 8 << 20;

/// What `write` has done.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// What became of the weights.
    pub report: WeightReport,
    /// The digest of the weight file.
    pub file: Digest,
    /// The digest of the tensors that were read.
    pub source: String,
}

impl Weights<'_> {
    /// Bytes of source weights that `write` will go through; those of groups that take two passes count twice.
    pub fn source_bytes(&self) -> u64 {
        let passes = |e: &Entry| if e.is_large() { 2 } else { 1 };
        self.entries.iter().filter(|e| !e.is_in_program()).map(|e| 2 * e.elements() * passes(e)).sum()
    }

    /// Bytes that `write` holds at once, at most.
    pub(crate) fn working_bytes(&self) -> u64 {
        let threads = rayon::current_num_threads();
        let data = 2 * results_at_once(threads);
        let pieces = self.largest_piece() * (threads * BYTES_IN_WORK + data) + threads * BYTES_PER_THREAD;
        let large = self.entries.iter().filter(|e| e.is_large()).map(Entry::table_bytes).sum::<u64>();
        let tables = self.entries.iter().map(Entry::table_bytes).max().unwrap_or(0);
        pieces as u64 + tables + large
    }

    /// Writes every planned blob to a new file at `path`.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16, when the file cannot be written, or `Interrupted`.
    pub fn write(&self, path: &Path, progress: &dyn Progress) -> Result<Written> {
        let twins = self.twins();
        let large = self.large_tables(&twins, progress)?;
        let pieces = self.pieces(&twins);
        let mut writing = Writing::create(self, path, &twins, progress)?;
        let worker = || Worker::new(self, progress);
        let work = |worker: &mut Worker<'_>, number: usize| {
            let piece = &pieces[number];
            Ok((piece, worker.work(piece, &large)?))
        };
        in_order(pieces.len(), rayon::current_num_threads(), worker, work, |done: Result<_>| {
            let (piece, done) = done?;
            writing.take(piece, &done, large.get(&piece.entry))
        })?;
        writing.finish()
    }

    /// The tables of all groups that are larger than a piece.
    fn large_tables(&self, twins: &[Option<Twin>], progress: &dyn Progress) -> Result<Tables> {
        let mut groups: Vec<(usize, u32, Range<usize>)> = Vec::new();
        for (i, entry) in self.entries.iter().enumerate().filter(|(i, e)| twins[*i].is_none() && e.is_large())
        {
            let Some(palette) = entry.palette else { continue };
            let (all, group) = (entry.elements() as usize, entry.group());
            groups.extend((0..all).step_by(group).map(|start| (i, palette.bits, start..start + group)));
        }
        let mut tables = Tables::new();
        let worker = || Worker::new(self, progress);
        let work = |worker: &mut Worker<'_>, number: usize| {
            let (i, bits, elements) = groups[number].clone();
            Ok((i, worker.table(&self.entries[i], bits, elements)?))
        };
        in_order(groups.len(), rayon::current_num_threads(), worker, work, |done: Result<_>| {
            let (i, table) = done?;
            tables.entry(i).or_default().extend(table);
            Ok::<_, Error>(())
        })?;
        Ok(tables)
    }

    /// Bytes that `source` will go through.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.claimed.values().map(|tensor| 2 * tensor.element_count() as u64).sum()
    }

    /// The digest of all tensors that `write` would read: what its answer will say, unless they change.
    ///
    /// # Errors
    /// When a weight cannot be read or is not finite in fp16, or `Interrupted`.
    pub(crate) fn source(&self, progress: &dyn Progress) -> Result<String> {
        SourceDigest::new(self).finish(progress)
    }
}

/// The weight file being written, entry after entry.
struct Writing<'w> {
    weights: &'w Weights<'w>,
    twins: &'w [Option<Twin>],
    progress: &'w dyn Progress,
    writer: BlobWriter,
    /// The number of the first blob of each entry begun.
    blobs: Vec<usize>,
    /// Blobs begun.
    begun: usize,
    /// The lookup tables of the current entry so far.
    tables: Vec<u8>,
    /// What palettization did to each piece of the entries that have a twin.
    noises: BTreeMap<usize, Vec<(Range<usize>, Noise)>>,
    sums: Sums,
    source: SourceDigest<'w>,
}

impl<'w> Writing<'w> {
    fn create(
        weights: &'w Weights<'_>,
        path: &Path,
        twins: &'w [Option<Twin>],
        progress: &'w dyn Progress,
    ) -> Result<Writing<'w>> {
        Ok(Writing {
            weights,
            twins,
            progress,
            writer: BlobWriter::create(path, &weights.layout)?,
            blobs: Vec::new(),
            begun: 0,
            tables: Vec::new(),
            noises: twins.iter().flatten().map(|twin| (twin.entry, Vec::new())).collect(),
            sums: Sums::default(),
            source: SourceDigest::new(weights),
        })
    }

    /// Writes the next piece; `large` are the tables of its entry, if they were known before.
    fn take(&mut self, piece: &Piece, done: &Done, large: Option<&Vec<half::f16>>) -> Result<()> {
        if self.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let mut clock = Clock::start(self.progress);
        let entry = &self.weights.entries[piece.entry];
        if piece.elements.start == 0 {
            self.copy_until(piece.entry)?;
            self.blobs.push(self.begun);
            self.begin()?;
        }
        self.writer.write(&done.data)?;
        self.tables.extend_from_slice(&done.tables);
        self.sums.add_noise(entry, &done.noise);
        if let Some(noises) = self.noises.get_mut(&piece.entry) {
            noises.push((piece.elements.clone(), done.noise));
        }
        if let Some((tensor, first)) = entry.source.place() {
            self.source.add(tensor, first + piece.elements.start, &done.rows);
        }
        if piece.elements.end == entry.elements() as usize {
            self.end(entry, large)?;
        }
        self.progress.advance(2 * piece.elements.len() as u64);
        clock.lap(Stage::Write);
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.begun += 1;
        Ok(self.writer.begin(self.begun - 1)?)
    }

    /// Writes the tables of an entry behind its indices.
    fn end(&mut self, entry: &Entry, large: Option<&Vec<half::f16>>) -> Result<()> {
        self.sums.add(entry);
        if entry.palette.is_none() {
            return Ok(());
        }
        self.begin()?;
        match large {
            Some(tables) => self.writer.write(&little_endian(tables))?,
            None => self.writer.write(&self.tables)?,
        }
        self.tables.clear();
        Ok(())
    }

    /// Writes the entries before `entry` that no thread works on: those that have a twin.
    fn copy_until(&mut self, entry: usize) -> Result<()> {
        for i in self.blobs.len()..entry {
            self.blobs.push(self.begun);
            let copied = &self.weights.entries[i];
            match self.twins[i] {
                Some(twin) => self.copy(copied, twin)?,
                // Values in the program.
                None => self.sums.add(copied),
            }
        }
        Ok(())
    }

    fn copy(&mut self, entry: &Entry, twin: Twin) -> Result<()> {
        let elements = twin.skipped..twin.skipped + entry.elements() as usize;
        let original = self.blobs[twin.entry];
        let bits = |n: usize| (n * entry.bits()).div_ceil(8) as u64;
        self.copy_blob(original, bits(elements.start)..bits(elements.end), 16.0 / entry.bits() as f64)?;
        if entry.palette.is_some() {
            let first = elements.start / entry.group() * entry.table_len();
            self.copy_blob(original + 1, first as u64..first as u64 + entry.table_bytes(), 0.0)?;
        }
        let pieces = self.noises[&twin.entry].iter();
        for (_, noise) in pieces.filter(|(piece, _)| elements.contains(&piece.start)) {
            self.sums.add_noise(entry, noise);
        }
        self.sums.add(entry);
        Ok(())
    }

    /// Copies bytes of a blob, each of which counts as so many of the source.
    fn copy_blob(&mut self, original: usize, bytes: Range<u64>, source_bytes: f64) -> Result<()> {
        self.begin()?;
        let progress = self.progress;
        self.writer.copy(original, bytes, |copied| {
            progress.advance((copied as f64 * source_bytes) as u64);
            if progress.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
        })
    }

    fn finish(mut self) -> Result<Written> {
        let mut clock = Clock::start(self.progress);
        self.copy_until(self.weights.entries.len())?;
        let file = self.writer.finish()?;
        clock.lap(Stage::Write);
        let source = self.source.finish(self.progress)?;
        Ok(Written { report: self.weights.report(self.sums), file, source })
    }
}
