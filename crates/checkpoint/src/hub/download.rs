//! One file from the hub to the cache: what is there already is kept, and nothing is taken that is not what it should be.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anelith_report::Reported;

use super::cache::{Repository, make_dir, remove};
use super::client::{Answer, Client, Told, Trouble};
use super::digest::Digest;
use super::listing::RemoteFile;
use super::refusal::Request;
use crate::error::{Error, Result};

/// How much is read at once.
const PIECE: usize = 1 << 18;

/// Downloads one file.
pub(super) struct Download<'d> {
    pub(super) client: &'d Client,
    pub(super) repository: &'d Repository,
    pub(super) request: Request<'d>,
    pub(super) file: &'d RemoteFile,
    pub(super) url: String,
    /// Told how many bytes of the file are there.
    pub(super) reached: &'d dyn Fn(u64),
    /// Told why there is a wait.
    pub(super) told: Told<'d>,
}

/// A file that grows, and its digest so far.
struct Partial<'p> {
    path: &'p Path,
    file: File,
    digest: Digest,
    /// How long it is.
    len: u64,
}

impl Download<'_> {
    /// Makes the blob, of whom others keep away: the caller holds its lock.
    pub(super) fn run(&self) -> Result<()> {
        let (path, blob) = (self.repository.partial(self.file), self.repository.blob(self.file));
        make_dir(path.parent().unwrap_or(&path))?;
        let mut partial = Partial::open(&path, self.file)?;
        (self.reached)(partial.len);
        self.fill(&mut partial)?;
        partial.file.sync_all().map_err(|e| Error::io("write", &path, &e))?;
        self.check(partial)?;
        fs::rename(&path, &blob).map_err(|e| Error::io("name", &blob, &e))
    }

    fn fill(&self, partial: &mut Partial) -> Result<()> {
        let (mut patience, mut furthest) = (self.client.patience(self.told), partial.len);
        while partial.len < self.file.size {
            let trouble = match self.client.get(&self.url, partial.len) {
                Ok(answer) => match self.take(answer, partial)? {
                    None => continue,
                    Some(trouble) => trouble,
                },
                Err(Trouble::Status(refusal)) if refusal.status == 416 && partial.len > 0 => {
                    // The server has no such part; what is there cannot be of this file.
                    partial.restart(self.file)?;
                    continue;
                }
                Err(trouble) => trouble,
            };
            if partial.len > furthest {
                // It goes on, if in pieces; what has been there before does not count.
                (patience, furthest) = (self.client.patience(self.told), partial.len);
            }
            self.request.answered(patience.wait(trouble))?;
        }
        Ok(())
    }

    /// Takes what a server sends, until its end or the trouble that ends it.
    fn take(&self, answer: Answer, partial: &mut Partial) -> Result<Option<Trouble>> {
        if partial.len > 0 && answer.status != 206 {
            // The whole file, from its beginning.
            partial.restart(self.file)?;
        }
        if answer.status == 206 && answer.first != Some(partial.len) {
            return Ok(Some(Trouble::Connection("the server sends another part than was asked for".into())));
        }
        let mut body = answer.body.into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            let read = match body.read(&mut piece) {
                Ok(0) if partial.len < self.file.size => {
                    let why = format!("the answer ends after {} of {} bytes", partial.len, self.file.size);
                    return Ok(Some(Trouble::Connection(why)));
                }
                Ok(0) => return Ok(None),
                Ok(read) => read,
                Err(e) => return Ok(Some(Trouble::Connection(e.to_string()))),
            };
            partial.push(&piece[..read])?;
            if partial.len > self.file.size {
                let found = format!("more than {} bytes", self.file.size);
                return Err(self.other(partial.path, &format!("{} bytes", self.file.size), &found));
            }
            (self.reached)(partial.len);
        }
    }

    fn check(&self, partial: Partial) -> Result<()> {
        match partial.digest.finish() {
            Some((kind, digest)) if digest != self.file.etag => {
                let expected = format!("{kind} {}", self.file.etag);
                Err(self.other(partial.path, &expected, &format!("{kind} {digest}")))
            }
            _ => Ok(()),
        }
    }

    /// What came is another file: it goes.
    fn other(&self, path: &Path, expected: &str, found: &str) -> Error {
        let what = format!("what was downloaded is not `{}` of `{}`", self.file.name, self.request.id);
        let error = Error::network(what).at(&self.url).expecting(expected).finding(found);
        match remove(path) {
            Ok(()) => error.mending(
                "run again, which downloads the file from its beginning; if it stays so, something between the hub and \
                 this machine changes it",
            ),
            Err(_) => error.mending(format!("remove {} and run again", path.display())),
        }
    }
}

impl<'p> Partial<'p> {
    /// Opens what an earlier download has left, or begins a file.
    fn open(path: &'p Path, wanted: &RemoteFile) -> Result<Partial<'p>> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|e| Error::io("open", path, &e))?;
        let metadata = file.metadata().map_err(|e| Error::io("read", path, &e))?;
        Error::unless_file(path, &metadata)?;
        let mut partial = Partial { path, file, digest: Digest::new(&wanted.etag, wanted.size), len: 0 };
        if metadata.len() > wanted.size {
            partial.restart(wanted)?;
        }
        partial.read_what_is_there()?;
        Ok(partial)
    }

    fn read_what_is_there(&mut self) -> Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let read = self.file.read(&mut piece).map_err(|e| Error::io("read", self.path, &e))?;
            if read == 0 {
                return Ok(());
            }
            self.digest.update(&piece[..read]);
            self.len += read as u64;
        }
    }

    fn restart(&mut self, wanted: &RemoteFile) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|e| Error::io("write", self.path, &e))?;
        self.digest = Digest::new(&wanted.etag, wanted.size);
        self.len = 0;
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io("write", self.path, &e))?;
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}
