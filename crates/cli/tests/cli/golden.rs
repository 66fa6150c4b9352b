//! Golden files: `BLESS=1` writes them anew; the diff is the review.

use std::path::Path;

const BLESS: &str = "if this is intended, run `BLESS=1 cargo test -p anelith-cli` and review the diff of crates/cli/tests/golden";

/// Holds `found` against the golden file `name`.
#[track_caller]
pub(crate) fn check(name: &str, found: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, found).expect("a file");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((golden, found)) = golden.lines().zip(found.lines()).find(|(golden, found)| golden != found) {
        panic!("{name} differs\n  golden: {golden}\n  found:  {found}\n{BLESS}");
    }
    let (old, new) = (golden.lines().count(), found.lines().count());
    assert!(golden == found, "{name}: {new} lines, the golden has {old}\n{BLESS}");
}
