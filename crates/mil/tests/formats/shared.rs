//! The folder of real models that may stand beside the repository.

use std::path::{Path, PathBuf};

/// `../shared`; `None` when it is absent and need not be there.
pub(crate) fn folder() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if path.is_dir() {
        return Some(path.to_path_buf());
    }
    assert!(std::env::var_os("ANELITH_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
    println!("skipped: no ../shared");
    None
}

/// What a folder holds, sorted.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Every wanted path below `folder`, sorted; nothing is looked for inside a wanted folder.
pub(crate) fn find(folder: &Path, wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if wanted(&path) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(find(&path, wanted));
        }
    }
    found
}

/// Whether the file name ends in `.extension`.
pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}
