//! A directory of this process for the files that readers are given.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The directory, below the system's temporary one; `fuzz/run` keeps that in memory and removes it.
pub(crate) fn dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("anelith-fuzz-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory can be made");
        dir
    })
}

/// Writes `bytes` to `name` in the directory; the answer is the path.
pub(crate) fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir().join(name);
    fs::write(&path, bytes).expect("the temporary directory takes files");
    path
}
