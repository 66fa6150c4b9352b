//! Files of text that a person names.

use std::env;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anelith_report::{Report, Reported, remedy};

use crate::failure::{Failure, Result, Status};

/// How many bytes of text are read at most; the longest contexts hold a part of this.
pub(super) const MOST_BYTES: u64 = 64 << 20;

/// The file that a person means: `~/` is the home directory.
pub(super) fn place(name: &str) -> PathBuf {
    let home = name.strip_prefix("~/").and_then(|rest| Some(env::home_dir()?.join(rest)));
    home.unwrap_or_else(|| name.into())
}

/// The text of a file, which holds `what` and was named `at` some place.
///
/// # Errors
/// When it cannot be read, has more than [`MOST_BYTES`], or is no text or no file: of a pipe or a device nobody knows when
/// it ends.
pub(super) fn read(what: &str, path: &Path, at: impl Display) -> Result<String> {
    text(path).map_err(|e| {
        let mut report = Report::new(format!("cannot read {what}: {e}")).at(at);
        report.mend = remedy(e.kind()).map(str::to_owned);
        Failure::new(Status::Input, report)
    })
}

fn text(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    let length = File::open(path)?.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    match length as u64 > MOST_BYTES {
        true => Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_where_the_tilde_is() {
        assert_eq!(place("a b.json"), Path::new("a b.json"));
        assert!(!place("~/a.json").starts_with("~"));
    }

    #[test]
    fn only_files_of_text_are_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("a.txt");
        let failure = read("it", &path, "here").unwrap_err();
        assert_eq!(failure.status, Status::Input);
        assert!(failure.text().contains("cannot read it: ") && failure.text().contains("here"));
        assert!(text(dir.path()).unwrap_err().to_string().contains("not a file"));
        fs::write(&path, "Grüß dich").unwrap();
        assert_eq!(text(&path).unwrap(), "Grüß dich");
        fs::write(&path, b"Gr\xfc").unwrap();
        assert_eq!(text(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(text(&path).unwrap_err().to_string().contains("more than"));
    }
}
