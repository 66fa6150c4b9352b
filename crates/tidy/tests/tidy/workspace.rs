//! Where the workspace is and which files belong to it.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold what was built or fetched, not what was written.
const NOT_OURS: [&str; 6] = ["target", ".git", "converted", "vectors", "corpus", "__pycache__"];

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Path from the root, with `/`, and text of each file that `wanted` picks by its path; sorted.
pub(crate) fn files(wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    visit(&root(), "", &mut |path, file| {
        if wanted(path) {
            let text = fs::read_to_string(file);
            found.push((path.to_owned(), text.unwrap_or_else(|e| panic!("{path}: {e}"))));
        }
    });
    found.sort();
    found
}

fn visit(dir: &Path, prefix: &str, take: &mut impl FnMut(&str, &Path)) {
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let entry = entry.expect("the directory can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if !entry.path().is_dir() {
            take(&path, &entry.path());
        } else if !NOT_OURS.contains(&name.as_str()) {
            visit(&entry.path(), &format!("{path}/"), take);
        }
    }
}
