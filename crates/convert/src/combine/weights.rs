//! The weight file of a combined package: the one that both parts have, or a new one of both parts' blobs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anelith_mil::blob::{BlobPool, BlobWriter, WEIGHT_FILE, repoint};
use anelith_mil::disk;
use anelith_mil::{BlobRef, Function, Model, TensorType};

use crate::error::{Error, Result, io};
use crate::progress::Progress;

use super::Weights;

/// Bytes that are written between two looks at whether to stop.
const PIECE: usize = 1 << 20;

/// The weight file of both parts, if they have one alike, so that all offsets hold in either; `None` where the
/// combined package needs a file of its own.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn shared_file(parts: &[Weights; 2], progress: &dyn Progress) -> Result<Option<PathBuf>> {
    let uses_one = |weights: &Weights| {
        let mut files = weights.store.files().map(|(name, _)| name);
        files.next() == Some(WEIGHT_FILE) && files.next().is_none()
    };
    if !parts.iter().all(uses_one) {
        return Ok(None);
    }
    let [first, second] = parts.each_ref().map(|weights| weights.root.join("weights/weight.bin"));
    let length = |path: &Path| fs::metadata(path).map(|m| m.len()).map_err(io("read", path));
    if length(&first)? != length(&second)? {
        return Ok(None);
    }
    Ok(are_equal(&first, &second, progress)?.then_some(first))
}

/// Whether two files of equal length have equal contents, byte by byte.
fn are_equal(first: &Path, second: &Path, progress: &dyn Progress) -> Result<bool> {
    if disk::is_same_file(first, second) {
        return Ok(true);
    }
    let open = |path: &Path| fs::File::open(path).map_err(io("read", path));
    let (mut one, mut other) = (open(first)?, open(second)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        check_interrupted(progress)?;
        for (path, file, bytes) in [(first, &mut one, &mut ours), (second, &mut other, &mut theirs)] {
            bytes.clear();
            file.take(PIECE as u64).read_to_end(bytes).map_err(io("read", path))?;
        }
        if ours != theirs || ours.is_empty() {
            return Ok(ours == theirs);
        }
    }
}

/// Writes one weight file, at `path`, of all blobs that the functions of `model` refer to in the weights of their
/// parts, equal ones once, and leads the functions there. They come in the order that they have in the files of the
/// first part, then those that only the second has.
///
/// No file is written where there are no blobs. The blobs are read in place; nothing is held in memory but where
/// each lies.
///
/// # Errors
/// When a file cannot be read or written, or `Interrupted`.
pub(crate) fn write_merged(
    model: &mut Model,
    parts: &[Weights; 2],
    path: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    let mut pool = BlobPool::new();
    for (function, weights) in model.program.functions.iter_mut().zip(parts) {
        let places = gather(function, weights, &mut pool, progress)?;
        repoint(function, |blob| {
            if let Some(offset) = places.get(blob) {
                *blob = BlobRef { file: WEIGHT_FILE.to_owned(), offset: *offset };
            }
        });
    }
    if pool.layout().count() == 0 { Ok(()) } else { write(&pool, path, progress) }
}

/// Adds all blobs of a function to the pool; the answer is the new offset of each.
fn gather<'p>(
    function: &Function,
    weights: &'p Weights,
    pool: &mut BlobPool<'p>,
    progress: &dyn Progress,
) -> Result<BTreeMap<BlobRef, u64>> {
    // In file order, for the sake of reading; two references to one blob may differ in shape only.
    let blobs: BTreeMap<&BlobRef, &TensorType> = function.blobs().collect();
    let mut places = BTreeMap::new();
    for (blob, ty) in blobs {
        check_interrupted(progress)?;
        let data = weights.store.bytes(blob, ty)?;
        // A type that has blobs has a known count: the store has compared it with the record.
        let offset = pool.add(ty.dtype, ty.element_count().unwrap_or_default(), data)?;
        places.insert(blob.clone(), offset);
    }
    Ok(places)
}

fn write(pool: &BlobPool<'_>, path: &Path, progress: &dyn Progress) -> Result<()> {
    let mut writer = BlobWriter::create(path, pool.layout())?;
    for (index, data) in pool.data().enumerate() {
        writer.begin(index)?;
        for piece in data.chunks(PIECE) {
            check_interrupted(progress)?;
            writer.write(piece)?;
        }
    }
    writer.finish()?;
    Ok(())
}

fn check_interrupted(progress: &dyn Progress) -> Result<()> {
    if progress.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}
