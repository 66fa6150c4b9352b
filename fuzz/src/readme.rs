//! The front matter of a model's `README.md`: the license is a line of it.

use anelith_checkpoint::license;

use crate::scratch;

/// Reads `bytes` as a README.
///
/// # Panics
/// When the license is no line of the text.
pub fn check(bytes: &[u8]) {
    scratch::write("README.md", bytes);
    let license = license(scratch::dir()).expect("any file has a license or none");
    if let Some(license) = license {
        assert!(!license.is_empty() && !license.contains('\n'));
        assert!(String::from_utf8_lossy(bytes).contains(&license));
    }
}
