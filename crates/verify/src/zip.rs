//! Reads members of zip archives, stored or deflated, from the beginning to the end of each.
//!
//! Bytes are read, and unpacked, when they are asked for, so a member may be larger than memory.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anelith_report::{Report, Reported};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush};

use crate::error::{Error, Result};

const DIRECTORY_END: &[u8; 4] = b"PK\x05\x06";
const DIRECTORY_ENTRY: &[u8; 4] = b"PK\x01\x02";
const LOCAL_HEADER: &[u8; 4] = b"PK\x03\x04";

/// The end of the directory without its comment, and the longest comment.
const END_LEN: u64 = 22;
const MAX_COMMENT: u64 = u16::MAX as u64;

/// Most bytes of a directory: far beyond what numpy writes.
const MAX_DIRECTORY: u64 = 1 << 20;

/// What stands for a size or a place that does not fit into 32 bits.
const BEYOND: u64 = u32::MAX as u64;

/// How members are kept.
const STORED: u64 = 0;
const DEFLATED: u64 = 8;

/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// The bytes of a file, by place.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    file: File,
    len: u64,
}

/// An open archive.
#[derive(Debug)]
pub(crate) struct Archive {
    source: Source,
    members: Vec<Member>,
}

/// A member as the directory lists it.
#[derive(Debug)]
struct Member {
    name: String,
    method: u64,
    packed: u64,
    size: u64,
    local: u64,
}

/// The bytes of a member, the next of which can be had.
#[derive(Debug)]
pub(crate) struct Content {
    source: Source,
    /// Where the next bytes of the file are, and how many are left.
    at: u64,
    packed: u64,
    /// How many bytes of the member are left.
    pub(crate) left: u64,
    deflated: Option<Deflated>,
}

/// What has been read of a deflated member and is not unpacked yet.
struct Deflated {
    state: Box<InflateState>,
    bytes: Vec<u8>,
    done: usize,
}

impl fmt::Debug for Deflated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflated").field("bytes", &self.bytes.len()).field("done", &self.done).finish()
    }
}

impl Source {
    fn broken(&self, what: &str) -> Error {
        let report = Report::new(format!("`{}` is no whole .npz file: {what}", self.path.display()));
        let report = report.at(self.path.display()).expecting("an archive as numpy.savez writes it");
        Error::input(report.finding(format!("{} bytes", self.len)).mending("write the file again"))
    }

    /// Another reader of the same file.
    fn again(&self) -> Result<Source> {
        let file = self.file.try_clone().map_err(|e| self.unreadable(e))?;
        Ok(Source { path: self.path.clone(), file, len: self.len })
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        let report = Report::new(format!("cannot read `{}`", self.path.display())).finding(error);
        Error::machine(report.at(self.path.display()))
    }

    /// The `len` bytes at `start`.
    fn bytes(&mut self, start: u64, len: u64) -> Result<Vec<u8>> {
        if start.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(self.broken("it ends too early"));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| self.broken("a part is too large"))?];
        let read = self.file.seek(SeekFrom::Start(start)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|e| self.unreadable(e))?;
        Ok(bytes)
    }
}

impl Archive {
    /// Reads the directory of the archive.
    ///
    /// # Errors
    /// `Machine` where the file cannot be read, `Input` where it is no archive, or a part of one.
    pub(crate) fn open(path: &Path) -> Result<Archive> {
        let cannot = |e: std::io::Error| {
            let report = Report::new(format!("cannot read `{}`", path.display()));
            let report = report.at(path.display()).finding(&e);
            match e.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory => {
                    Error::input(report.mending("check the path given to --ids"))
                }
                _ => Error::machine(report),
            }
        };
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(cannot(std::io::ErrorKind::IsADirectory.into()));
        }
        let len = metadata.len();
        let mut source = Source { path: path.to_owned(), file, len };
        let members = directory(&mut source)?;
        Ok(Archive { source, members })
    }

    /// What is said of a file that is not as it should be.
    pub(crate) fn broken(&self, what: &str) -> Error {
        self.source.broken(what)
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.source.path
    }

    /// The bytes of the member `name`; `None` where there is none.
    ///
    /// # Errors
    /// `Input` for a member that is neither stored nor deflated, or not whole.
    pub(crate) fn content(&mut self, name: &str) -> Result<Option<Content>> {
        let Some(member) = self.members.iter().find(|m| m.name == name) else { return Ok(None) };
        let source = &mut self.source;
        if [member.packed, member.size, member.local].contains(&BEYOND) {
            return Err(source.broken("it is larger than 4 GiB"));
        }
        let deflated = match member.method {
            STORED if member.packed == member.size => None,
            DEFLATED => {
                Some(Deflated { state: InflateState::new_boxed(DataFormat::Raw), bytes: Vec::new(), done: 0 })
            }
            method => return Err(source.broken(&format!("`{name}` is packed by method {method}"))),
        };
        let header = source.bytes(member.local, 30)?;
        if !header.starts_with(LOCAL_HEADER) {
            return Err(source.broken("a member has no header"));
        }
        let at = member.local + 30 + number(&header, 26, 2) + number(&header, 28, 2);
        if at + member.packed > source.len {
            return Err(source.broken(&format!("`{name}` ends too early")));
        }
        let source = source.again()?;
        Ok(Some(Content { source, at, packed: member.packed, left: member.size, deflated }))
    }
}

fn directory(source: &mut Source) -> Result<Vec<Member>> {
    let tail_start = source.len.saturating_sub(END_LEN + MAX_COMMENT);
    let tail = source.bytes(tail_start, source.len - tail_start)?;
    let end = tail.windows(4).rposition(|w| w == DIRECTORY_END);
    let end = end.and_then(|at| tail.get(at..at + END_LEN as usize));
    let end = end.ok_or_else(|| source.broken("it has no directory"))?;
    let [count, size, start] = [(10, 2), (12, 4), (16, 4)].map(|(at, len)| number(end, at, len));
    if start == BEYOND {
        return Err(source.broken("it is larger than 4 GiB"));
    }
    if size > MAX_DIRECTORY {
        return Err(source.broken("its directory is too large"));
    }
    let entries = source.bytes(start, size)?;
    let mut at = 0;
    let mut members = Vec::new();
    for _ in 0..count {
        let entry = entries.get(at..).filter(|e| e.len() >= 46 && e.starts_with(DIRECTORY_ENTRY));
        let entry = entry.ok_or_else(|| source.broken("its directory is broken"))?;
        let [name, extra, comment] = [28, 30, 32].map(|field| number(entry, field, 2) as usize);
        let text = entry.get(46..46 + name).ok_or_else(|| source.broken("its directory is broken"))?;
        members.push(Member {
            name: String::from_utf8_lossy(text).into_owned(),
            method: number(entry, 10, 2),
            packed: number(entry, 20, 4),
            size: number(entry, 24, 4),
            local: number(entry, 42, 4),
        });
        at += 46 + name + extra + comment;
    }
    Ok(members)
}

impl Content {
    /// What is said of a member that is not as it should be.
    pub(crate) fn broken(&self, what: &str) -> Error {
        self.source.broken(what)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// `Input` where there are no more so many, or where they cannot be unpacked.
    pub(crate) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > self.left {
            return Err(self.broken("it ends too early"));
        }
        let bytes = match self.deflated.take() {
            None => self.packed_bytes(len)?,
            Some(mut deflated) => {
                let bytes = self.unpacked(&mut deflated, len)?;
                self.deflated = Some(deflated);
                bytes
            }
        };
        self.left -= len;
        Ok(bytes)
    }

    /// The next `len` bytes as they stand in the file.
    fn packed_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let bytes = self.source.bytes(self.at, len)?;
        self.at += len;
        self.packed -= len;
        Ok(bytes)
    }

    /// Grows with what is found, not with what the directory promises.
    fn unpacked(&mut self, deflated: &mut Deflated, len: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(len).map_err(|_| self.broken("a part is too large"))?;
        let mut all = Vec::new();
        while all.len() < len {
            let done = all.len();
            all.resize(len.min(done + PIECE), 0);
            self.fill(deflated, &mut all[done..])?;
        }
        Ok(all)
    }

    fn fill(&mut self, deflated: &mut Deflated, mut piece: &mut [u8]) -> Result<()> {
        while !piece.is_empty() {
            if deflated.done == deflated.bytes.len() {
                deflated.bytes = self.packed_bytes(self.packed.min(PIECE as u64))?;
                deflated.done = 0;
            }
            let packed = &deflated.bytes[deflated.done..];
            let step = inflate(&mut deflated.state, packed, piece, MZFlush::None);
            let is_stuck = step.bytes_consumed == 0 && step.bytes_written == 0;
            if is_stuck || step.status.is_err_and(|error| error != MZError::Buf) {
                return Err(self.broken("a member cannot be unpacked"));
            }
            deflated.done += step.bytes_consumed;
            piece = &mut piece[step.bytes_written..];
        }
        Ok(())
    }
}

/// A number of `len` bytes, the lowest first.
pub(crate) fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.iter().skip(at).take(len).rev().fold(0, |n, b| n << 8 | u64::from(*b))
}
