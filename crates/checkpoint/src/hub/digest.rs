//! Whether a file is the one that the hub has: the name of its blob is its digest.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The digest of a file, as it grows.
pub(super) enum Digest {
    /// That of a large file.
    Sha256(Sha256),
    /// That of a small file: git's, which begins with the size.
    Git(Sha1),
    /// A hub that names blobs in a way of its own: only the size can be checked.
    Unknown,
}

impl Digest {
    /// Whether a file whose blob is called `etag` can be checked.
    pub(super) fn is_known(etag: &str) -> bool {
        !matches!(Digest::new(etag, 0), Digest::Unknown)
    }

    /// A digest of nothing yet, of the kind that the blob name `etag` is.
    pub(super) fn new(etag: &str, size: u64) -> Digest {
        let is_hex = etag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match etag.len() {
            64 if is_hex => Digest::Sha256(Sha256::new()),
            40 if is_hex => Digest::Git(Sha1::new_with_prefix(format!("blob {size}\0").as_bytes())),
            _ => Digest::Unknown,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Digest::Sha256(digest) => digest.update(bytes),
            Digest::Git(digest) => digest.update(bytes),
            Digest::Unknown => {}
        }
    }

    /// The digest in hexadecimal, and what it is called; `None` where there is none to compare.
    pub(super) fn finish(self) -> Option<(&'static str, String)> {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        match self {
            Digest::Sha256(digest) => Some(("SHA-256", hex(&digest.finalize()))),
            Digest::Git(digest) => Some(("git SHA-1", hex(&digest.finalize()))),
            Digest::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_of_lfs() {
        // `printf hello | git hash-object --stdin`, `printf hello | sha256sum`
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        let lfs = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for etag in [git, lfs] {
            let mut digest = Digest::new(etag, 5);
            digest.update(b"he");
            digest.update(b"llo");
            assert_eq!(digest.finish().unwrap().1, etag);
        }
        assert!(Digest::new("a-name", 5).finish().is_none());
    }
}
