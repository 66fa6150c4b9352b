//! `coremldata.bin` of a compiled model: what is read describes a model that can be written and read again.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use anelith_mil::compiled::{Compiler, Source, read, write};
use anelith_mil::{disk, validate_model};

use crate::scratch;

const PROGRAM: &str = "program(1.3)\n{\n    func main<ios18>(tensor<fp16, [1, 8]> x) {\n            \
     tensor<fp16, [1, 8]> y = relu(x = x)[name = string(\"y\")];\n        } -> (y);\n}";

/// Reads `bytes` beside a program of one function.
///
/// # Panics
/// When a valid model comes back as another from what is written of it.
pub fn check(bytes: &[u8]) {
    let dir = dir();
    fs::write(dir.join("coremldata.bin"), bytes).expect("the temporary directory takes files");
    let Ok(model) = read(dir) else { return };
    let Ok(info) = validate_model(&model) else { return };
    let copy = scratch::dir().join("copy.mlmodelc");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(&copy).expect("a directory");
    let source = Source {
        specification: b"",
        model_name: "model",
        weights_root: dir,
        class_name: "model",
        // The program has no weights.
        place: &|from, to| disk::share_file(from, to, &|_| true),
    };
    let compiler = Compiler::default();
    if write(&copy, &model, &info, &source, &compiler).is_err() {
        // Enumerated shapes can be read and not written.
        return;
    }
    let again = read(&copy).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(model.description, again.description);
    assert_eq!(model.program.functions, again.program.functions);
}

fn dir() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = scratch::dir().join("model.mlmodelc");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("model.mil"), PROGRAM).expect("a file");
        dir
    })
}
