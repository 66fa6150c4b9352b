//! The page at `/`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page: one file with its one script and its one style sheet.
pub(crate) const PAGE: &str = include_str!("../page/index.html");

/// What the page may do: run its own script and style, which are known by their digests, and ask this server.
pub(crate) fn policy(page: &str) -> String {
    let [script, style] = ["script", "style"].map(|tag| sources(page, tag));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The digests of the contents of all elements of this name, or `'none'`.
fn sources(page: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let contents = page.match_indices(&open).filter_map(|(at, _)| {
        let element = &page[at..];
        let begin = element.find('>')? + 1;
        element[begin..].find(&close).map(|end| &element[begin..begin + end])
    });
    let digests = contents.map(|text| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text))));
    let digests: Vec<String> = digests.collect();
    if digests.is_empty() { "'none'".to_owned() } else { digests.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_knows_scripts_by_their_digests() {
        let policy = policy("<style>a{}</style><script type=module>alert(1)</script>");
        // printf 'alert(1)' | openssl dgst -sha256 -binary | base64
        assert!(policy.contains(
            "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='; style-src 'sha256-"
        ));
        assert!(sources("<p>", "script") == "'none'");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(PAGE.trim_start().to_lowercase().starts_with("<!doctype html>"));
        for reference in ["src=\"http", "href=\"http", "@import", " style=\"", " onclick="] {
            assert!(!PAGE.contains(reference), "{reference}");
        }
    }
}
