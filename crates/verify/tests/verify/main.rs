//! Verification of models that are as they should be, and of models that are not.

mod damaged;
mod model;
mod npz;
mod refused;
mod whole;

use std::fs;
use std::path::{Path, PathBuf};

use anelith_chat::Meta;
use anelith_checkpoint::Checkpoint;
use anelith_verify::{Scope, Silent, Tokens, Verification, verify};

/// A folder beside the repository; `None` when it is absent and need not be there.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("ANELITH_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
    println!("skipped: no ../shared/{folder}");
    None
}

/// Verifies a package that stands elsewhere, with the recorded tokens and logits of the checkpoint.
fn of_another_tool(model: &Path, package: &Path, splits: usize) -> Verification {
    let dir = tempfile::tempdir().unwrap();
    let meta = format!(
        "model_info:\n  parameters:\n    context_length: 256\n    batch_size: 32\n    split_lm_head: {splits}\n    \
         monolithic_model: {}\n",
        package.display()
    );
    fs::write(dir.path().join("meta.yaml"), meta).unwrap();
    let (checkpoint, meta) = (Checkpoint::open(model).unwrap(), Meta::open(dir.path()).unwrap());
    let tokens = Tokens::of_npz(&model.join("expected.npz"), 96).unwrap();
    verify(&checkpoint, &meta, tokens, Scope::All, &Silent).unwrap()
}
