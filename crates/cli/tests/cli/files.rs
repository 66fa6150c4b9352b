//! What a directory holds, for comparison.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// All files below `dir`, hidden ones too, by relative path.
pub(crate) fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    walk(dir, &|path| fs::read(path).expect("the file can be read"))
}

/// When each file below `dir` was last written, and which file it is.
pub(crate) fn stamps(dir: &Path) -> BTreeMap<String, (SystemTime, u64)> {
    walk(dir, &|path| {
        let metadata = fs::metadata(path).expect("the file is there");
        (metadata.modified().expect("the file system knows"), metadata.len())
    })
}

/// Demands the same files with the same bytes.
#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (contents(left), contents(right));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    for (name, bytes) in &left {
        assert!(right[name] == *bytes, "{name} differs");
    }
}

/// Copies a directory with all it holds.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (name, bytes) in contents(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().expect("the path has a parent")).expect("there is room");
        fs::write(path, bytes).expect("there is room");
    }
}

fn walk<T>(dir: &Path, look: &dyn Fn(&Path) -> T) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("the directory can be read") {
        let entry = entry.expect("the directory can be read");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if entry.path().is_dir() {
            let below = walk(&entry.path(), look);
            found.extend(below.into_iter().map(|(below, value)| (format!("{name}/{below}"), value)));
        } else {
            found.insert(name, look(&entry.path()));
        }
    }
    found
}
