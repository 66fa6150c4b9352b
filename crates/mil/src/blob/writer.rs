//! Writes a planned weight file front to back.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Digester};
use crate::error::{Error, Result};

use super::flush::Flusher;
use super::layout::BlobLayout;
use super::record::{ALIGNMENT, METADATA_LEN, Record, header};

/// Bytes that are gathered before they are written: small pieces are, large ones go to the system as they are.
const GATHERED: usize = 1 << 16;

/// Bytes that are copied at a time.
const COPIED: usize = 1 << 20;

/// A weight file being written. Blobs come in plan order, each as `begin` and any number of `write` and `copy`; then
/// `finish`. A writer that is dropped without `finish` leaves an incomplete file.
#[derive(Debug)]
pub struct BlobWriter {
    path: PathBuf,
    file: BufWriter<File>,
    /// Until it has ended, well or not.
    flusher: Option<Flusher>,
    planned: Vec<Planned>,
    /// Blobs begun so far; the last of them is the current one.
    begun: usize,
    /// Bytes of the current blob still to come.
    missing: u64,
    /// Bytes written to the file.
    position: u64,
    digester: Digester,
}

/// A planned blob.
#[derive(Clone, Copy, Debug)]
struct Planned {
    metadata: [u8; METADATA_LEN],
    data_offset: u64,
    byte_len: u64,
}

impl BlobWriter {
    /// Creates (or empties) the file at `path` and writes the header.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub fn create(path: &Path, layout: &BlobLayout) -> Result<BlobWriter> {
        let file = File::create(path).map_err(Error::io("cannot create", path))?;
        let second = file.try_clone().map_err(Error::io("cannot open", path))?;
        let flusher = Flusher::start(move || second.sync_data());
        let flusher = flusher.map_err(Error::io("cannot start a thread to write", path))?;
        let planned = |(metadata, record): ([u8; METADATA_LEN], &Record)| Planned {
            metadata,
            data_offset: record.data_offset,
            byte_len: record.byte_len,
        };
        let mut writer = BlobWriter {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(GATHERED, file),
            flusher: Some(flusher),
            planned: layout.metadata().map(planned).collect(),
            begun: 0,
            missing: 0,
            position: 0,
            digester: Digester::new(),
        };
        let count = u32::try_from(layout.count()).map_err(|_| writer.broken_plan("too many blobs".into()))?;
        writer.put(&header(count))?;
        Ok(writer)
    }

    /// Starts the blob with the given index in the plan, which must be the next one.
    ///
    /// # Errors
    /// `Malformed` when the blob before it is not complete or another blob is due; `Io`.
    pub fn begin(&mut self, index: usize) -> Result<()> {
        self.expect_complete()?;
        if index != self.begun {
            return Err(self.broken_plan(format!("blob {index} is begun, expected blob {}", self.begun)));
        }
        let Some(planned) = self.planned.get(index).copied() else {
            let planned = self.planned.len();
            return Err(self.broken_plan(format!("blob {index} is begun, but only {planned} are planned")));
        };
        self.pad()?;
        self.put(&planned.metadata)?;
        self.begun += 1;
        self.missing = planned.byte_len;
        Ok(())
    }

    /// Appends packed data to the current blob.
    ///
    /// # Errors
    /// `Malformed` when that is more than was planned; `Io`.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        self.expect_room(data.len() as u64)?;
        self.missing -= data.len() as u64;
        self.put(data)
    }

    /// Appends to the current blob the bytes of this `range` of the data of blob `index`, which is complete. They are
    /// read back from the file, piece by piece; each is announced to `go_on`, and an error of that ends it.
    ///
    /// # Errors
    /// `Malformed` when that blob is not complete or not so long, or the current one has no room for it; `Io`; those
    /// of `go_on`.
    pub fn copy<E: From<Error>>(
        &mut self,
        index: usize,
        range: Range<u64>,
        mut go_on: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.data_start(index, &range)?;
        let mut left = range.end - range.start;
        self.expect_room(left)?;
        self.file.flush().map_err(Error::io("cannot write", &self.path))?;
        // A handle of its own, since this one stands at the end of the file.
        let mut written = File::open(&self.path).map_err(Error::io("cannot read", &self.path))?;
        written.seek(SeekFrom::Start(start)).map_err(Error::io("cannot read", &self.path))?;
        let mut buffer = vec![0; COPIED];
        while left > 0 {
            let piece = &mut buffer[..left.min(COPIED as u64) as usize];
            go_on(piece.len() as u64)?;
            written.read_exact(piece).map_err(Error::io("cannot read", &self.path))?;
            self.write(piece)?;
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// Completes the file and waits until it is on the disk; answers with its digest.
    ///
    /// # Errors
    /// `Malformed` when blobs or parts of blobs are missing; `Io`.
    pub fn finish(mut self) -> Result<Digest> {
        self.expect_complete()?;
        if self.begun != self.planned.len() {
            let (found, planned) = (self.begun, self.planned.len());
            return Err(self.broken_plan(format!("{found} blobs are written, but {planned} are planned")));
        }
        self.file.flush().map_err(Error::io("cannot write", &self.path))?;
        self.end_flusher()?;
        self.file.get_ref().sync_all().map_err(Error::io("cannot write", &self.path))?;
        Ok(self.digester.digest())
    }

    /// Where in the file this `range` of the data of blob `index` starts.
    fn data_start(&self, index: usize, range: &Range<u64>) -> Result<u64> {
        let is_complete = index + 1 < self.begun;
        let blob = self.planned.get(index).filter(|_| is_complete);
        match blob.filter(|blob| range.start <= range.end && range.end <= blob.byte_len) {
            Some(blob) => Ok(blob.data_offset + range.start),
            None => {
                Err(self.broken_plan(format!("bytes {range:?} of blob {index} are not there to be copied")))
            }
        }
    }

    fn end_flusher(&mut self) -> Result<()> {
        let ended = self.flusher.take().map_or(Ok(()), Flusher::finish);
        ended.map_err(Error::io("cannot write", &self.path))
    }

    fn expect_complete(&self) -> Result<()> {
        if self.missing == 0 {
            return Ok(());
        }
        let blob = self.begun.saturating_sub(1);
        Err(self.broken_plan(format!("blob {blob} is {} bytes short of what was planned", self.missing)))
    }

    fn expect_room(&self, bytes: u64) -> Result<()> {
        if bytes <= self.missing {
            return Ok(());
        }
        let (missing, blob) = (self.missing, self.begun.saturating_sub(1));
        Err(self.broken_plan(format!("blob {blob} gets {bytes} bytes, but only {missing} are missing")))
    }

    fn broken_plan(&self, problem: String) -> Error {
        Error::malformed(self.path.display().to_string(), problem)
    }

    fn pad(&mut self) -> Result<()> {
        let padding = (ALIGNMENT - self.position % ALIGNMENT) % ALIGNMENT;
        let zeros = [0; METADATA_LEN];
        self.put(&zeros[..padding as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("cannot write", &self.path))?;
        if self.flusher.as_mut().is_some_and(|flusher| flusher.written(bytes.len() as u64).is_err()) {
            self.end_flusher()?;
        }
        self.digester.update(bytes);
        self.position += bytes.len() as u64;
        Ok(())
    }
}
