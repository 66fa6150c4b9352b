//! Writes a planned weight file front to back.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

use super::layout::BlobLayout;
use super::record::{ALIGNMENT, METADATA_LEN, header};

/// A weight file being written. Blobs come in plan order, each as `begin` and any number of `write`; then
/// `finish`. A writer that is dropped without `finish` leaves an incomplete file.
#[derive(Debug)]
pub struct BlobWriter {
    path: PathBuf,
    file: BufWriter<File>,
    /// Metadata and length of each planned blob.
    planned: Vec<([u8; METADATA_LEN], u64)>,
    /// Blobs begun so far; the last of them is the current one.
    begun: usize,
    /// Bytes of the current blob still to come.
    missing: u64,
    /// Bytes written to the file.
    position: u64,
}

impl BlobWriter {
    /// Creates (or empties) the file at `path` and writes the header.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub fn create(path: &Path, layout: &BlobLayout) -> Result<BlobWriter> {
        let file = File::create(path).map_err(Error::io("cannot create", path))?;
        let mut writer = BlobWriter {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(1 << 20, file),
            planned: layout.metadata().collect(),
            begun: 0,
            missing: 0,
            position: 0,
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
        let Some((metadata, byte_len)) = self.planned.get(index).copied() else {
            let planned = self.planned.len();
            return Err(self.broken_plan(format!("blob {index} is begun, but only {planned} are planned")));
        };
        self.pad()?;
        self.put(&metadata)?;
        self.begun += 1;
        self.missing = byte_len;
        Ok(())
    }

    /// Appends packed data to the current blob.
    ///
    /// # Errors
    /// `Malformed` when that is more than was planned; `Io`.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        match self.missing.checked_sub(data.len() as u64) {
            Some(missing) => self.missing = missing,
            None => {
                let (found, missing) = (data.len(), self.missing);
                let blob = self.begun.saturating_sub(1);
                return Err(self
                    .broken_plan(format!("blob {blob} gets {found} bytes, but only {missing} are missing")));
            }
        }
        self.put(data)
    }

    /// Completes the file and waits until it is on the disk.
    ///
    /// # Errors
    /// `Malformed` when blobs or parts of blobs are missing; `Io`.
    pub fn finish(mut self) -> Result<()> {
        self.expect_complete()?;
        if self.begun != self.planned.len() {
            let (found, planned) = (self.begun, self.planned.len());
            return Err(self.broken_plan(format!("{found} blobs are written, but {planned} are planned")));
        }
        self.file.flush().map_err(Error::io("cannot write", &self.path))?;
        self.file.get_ref().sync_all().map_err(Error::io("cannot write", &self.path))
    }

    fn expect_complete(&self) -> Result<()> {
        if self.missing == 0 {
            return Ok(());
        }
        let blob = self.begun.saturating_sub(1);
        Err(self.broken_plan(format!("blob {blob} is {} bytes short of what was planned", self.missing)))
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
        self.position += bytes.len() as u64;
        Ok(())
    }
}
