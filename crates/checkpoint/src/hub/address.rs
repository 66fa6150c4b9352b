//! Addresses of a hub and of where it leads.

use std::fmt::Write as _;

use ureq::http::Uri;

/// Where a redirect from `at` leads.
pub(super) fn next(at: &Uri, location: Option<&str>) -> Result<Uri, String> {
    let location = location.unwrap_or_default();
    let (scheme, host) = (at.scheme_str().unwrap_or_default(), at.authority().map_or("", |a| a.as_str()));
    let absolute = match location {
        path if path.starts_with("//") => format!("{scheme}:{path}"),
        path if path.starts_with('/') => format!("{scheme}://{host}{path}"),
        other => other.to_owned(),
    };
    let next: Uri = absolute.parse().map_err(|e| format!("a redirect to `{location}`: {e}"))?;
    match next.scheme_str() {
        Some("https") => Ok(next),
        // Whoever asked in secret must not be led to answers that anyone can have changed.
        Some("http") if scheme == "http" => Ok(next),
        _ => Err(format!("a redirect from {scheme} to `{location}`")),
    }
}

/// Whether an address is of this machine.
pub(super) fn is_here(uri: &Uri) -> bool {
    matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Whether two addresses are of one server, asked in one way.
pub(super) fn is_same_server(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
    one.scheme_str() == other.scheme_str() && host(one) == host(other) && port(one) == port(other)
}

/// A part of an address, with everything but plain letters, digits and `-_.~` written as `%XX`.
pub(super) fn escaped(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => text.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => text.push(byte.into()),
            _ => write!(text, "%{byte:02X}").expect("a string takes all"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn the_token_is_for_one_server() {
        let hub = uri("https://hub.example");
        for (other, expected) in [
            ("https://hub.example/a/b", true),
            ("https://HUB.example:443/a", true),
            ("http://hub.example/a", false),
            ("https://hub.example:8443/a", false),
            ("https://hub.example.org/a", false),
            ("https://cdn.hub.example/a", false),
        ] {
            assert_eq!(is_same_server(&uri(other), &hub), expected, "{other}");
        }
    }

    #[test]
    fn redirects_lead_on_but_not_out_of_secrecy() {
        let at = uri("https://hub.example/a?b");
        for (location, expected) in [
            ("/c/d?e", Some("https://hub.example/c/d?e")),
            ("//cdn.example/f", Some("https://cdn.example/f")),
            ("https://cdn.example/f", Some("https://cdn.example/f")),
            ("http://hub.example/a", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            let next = next(&at, Some(location)).ok().map(|uri| uri.to_string());
            assert_eq!(next.as_deref(), expected, "{location}");
        }
        assert!(next(&uri("http://localhost:1/a"), Some("http://localhost:2/b")).is_ok());
    }

    #[test]
    fn parts_are_escaped() {
        assert_eq!(escaped("refs/pr 1~x"), "refs%2Fpr%201~x");
    }
}
