//! Programs that the tests of other crates bring, and the folder of real models that may stand beside the repository.

use std::path::{Path, PathBuf};

use anelith_mil::blob::WeightStore;
use anelith_mil::{Bundle, Description, Interface, Model, Program, text, validate};

/// A path in `../shared`; `None`, with a line on the terminal, where the folder is absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if root.is_dir() {
        return Some(root.join(path));
    }
    assert!(std::env::var_os("ANELITH_REQUIRE_SHARED").is_none(), "../shared is absent");
    println!("skipped: ../shared is absent");
    None
}

/// Every package below `folder`, sorted.
pub(crate) fn packages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        match path.extension().and_then(|e| e.to_str()) {
            Some("mlpackage" | "mlmodelc") => found.push(path),
            _ if path.is_dir() => found.extend(packages(&path)),
            _ => {}
        }
    }
    found
}

/// The programs that the executor is tested with, by file name.
pub(crate) fn programs() -> Vec<(String, Bundle)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/mil"));
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a file");
    paths.iter().map(|path| (name(path), bundle(&read(path)))).collect()
}

/// A model of the program that `source` is the text of, with nothing said of its inputs.
pub(crate) fn bundle(source: &str) -> Bundle {
    of_program(text::parse(source, "a program").expect("a program"))
}

/// A model of `program`, which has no weight files.
pub(crate) fn of_program(program: Program) -> Bundle {
    let info = validate(&program).expect("a valid program");
    let weights = WeightStore::open(Path::new("."), &program).expect("no weights");
    let interface = |name: &String| Interface { name: name.clone(), ..Interface::default() };
    let functions: Vec<Interface> = program.functions.iter().map(|f| interface(&f.name)).collect();
    let description = Description { functions, ..Description::default() };
    Bundle { model: Model { specification_version: 9, description, program }, info, weights }
}
