//! What targets share: a directory for the files that readers are given, and a hook for caught panics.

use std::fs;
use std::panic::{set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

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

/// Lets panics of the tokenizer and template libraries pass: their callers catch them, and the fuzzer would end
/// at them all the same.
pub(crate) fn let_libraries_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let end = take_hook();
        set_hook(Box::new(move |info| {
            let caught = |file: &str| file.contains("/tokenizers-") || file.contains("/minijinja-");
            if !info.location().is_some_and(|l| caught(l.file())) {
                end(info);
            }
        }));
    });
}
