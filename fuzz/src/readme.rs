//! The front matter of a model's `README.md`: the license is one line, no longer than the text.

use anelith_checkpoint::license;

use crate::scratch;

/// Reads `bytes` as a README.
///
/// # Panics
/// When the license is empty, more than a line, or longer than the text that it is read from.
pub fn check(bytes: &[u8]) {
    scratch::write("README.md", bytes);
    let license = license(scratch::dir()).expect("any file has a license or none");
    if let Some(license) = license {
        assert!(!license.is_empty() && !license.contains('\n'));
        // Quotes and escapes go, so it need not stand in the text as it is.
        assert!(license.len() <= String::from_utf8_lossy(bytes).len());
    }
}
