//! `Manifest.json` in a package: the model that it leads to lies in the package.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use anelith_mil::package::{Package, write_into};

use crate::scratch;

/// Reads `bytes` as the manifest of a package that holds the model `model` beside its weights.
///
/// # Panics
/// When a manifest leads out of its package, or to another model.
pub fn check(bytes: &[u8]) {
    let dir = dir();
    fs::write(dir.join("Manifest.json"), bytes).expect("the temporary directory takes files");
    let Ok(package) = Package::open(dir) else { return };
    let path = package.model_path.canonicalize().expect("the model is there");
    assert!(path.starts_with(dir.join("Data").canonicalize().expect("it was made")));
    assert_eq!(package.specification, fs::read(path).expect("it is a file"));
}

fn dir() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = scratch::dir().join("model.mlpackage");
        fs::create_dir_all(&dir).expect("a directory");
        write_into(&dir, b"model").expect("a package");
        fs::write(scratch::dir().join("secret"), b"outside").expect("a file");
        fs::write(dir.join("secret"), b"outside").expect("a file");
        dir
    })
}
