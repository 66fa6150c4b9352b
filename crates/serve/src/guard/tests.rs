//! Hosts, keys and origins.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Guard;
use crate::settings::Settings;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

fn status(guard: &Guard, path: &str, pairs: &[(&'static str, &'static str)]) -> u16 {
    guard.check(&Method::GET, path, &headers(pairs)).map_or_else(|problem| problem.status, |()| 200)
}

#[test]
fn everybody_may_ask_only_if_that_is_wanted() {
    let settings = |host: [u8; 4], key: Option<&str>, allow_remote| Settings {
        host: host.into(),
        api_key: key.map(str::to_owned),
        allow_remote,
        ..Settings::default()
    };
    assert!(Guard::new(&settings([127, 0, 0, 1], None, false)).is_ok());
    assert!(Guard::new(&settings([0, 0, 0, 0], None, false)).is_err());
    assert!(Guard::new(&settings([192, 168, 0, 2], None, false)).is_err());
    assert!(Guard::new(&settings([0, 0, 0, 0], None, true)).is_ok());
    assert!(Guard::new(&settings([0, 0, 0, 0], Some("k"), false)).is_ok());
    for key in ["", " ", " a", "a ", "a\nb"] {
        assert!(Guard::new(&settings([127, 0, 0, 1], Some(key), false)).is_err(), "{key:?}");
    }
}

#[test]
fn names_of_others_for_this_machine_are_refused_without_a_key() {
    let guard = Guard::new(&Settings::default()).unwrap();
    let ours = ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "[::1]"];
    for host in ours {
        assert_eq!(status(&guard, "/card", &[("host", host)]), 200, "{host}");
    }
    let others =
        ["evil.example", "localhost.evil.example:8080", "192.168.0.1", "", "127.0.0.1.evil.example", "[::2]"];
    for host in others {
        assert_eq!(status(&guard, "/", &[("host", host)]), 403, "{host}");
    }
    assert_eq!(status(&guard, "/card", &[]), 403);
    assert_eq!(status(&guard, "/card", &[("host", "localhost"), ("host", "evil.example")]), 403);
    let remote = Settings { host: [0, 0, 0, 0].into(), allow_remote: true, ..Settings::default() };
    assert_eq!(status(&Guard::new(&remote).unwrap(), "/card", &[("host", "a.example")]), 200);
}

#[test]
fn keys_are_compared_whole() {
    let settings = Settings { api_key: Some("sesame".to_owned()), ..Settings::default() };
    let guard = Guard::new(&settings).unwrap();
    let cases = [
        (Some("Bearer sesame"), 200),
        (Some("bearer sesame"), 200),
        (Some("Bearer  sesame "), 200),
        (Some("Bearer sesam"), 401),
        (Some("Bearer sesamesesame"), 401),
        (Some("Bearer sesamE"), 401),
        (Some("Bearer "), 401),
        (Some("Basic sesame"), 401),
        (Some("sesame"), 401),
        (None, 401),
    ];
    for (given, expected) in cases {
        let pairs: Vec<_> = given.map(|given| ("authorization", given)).into_iter().collect();
        for path in ["/v1/models", "/v1/chat/completions", "/card", "/metrics", "/nothing"] {
            assert_eq!(status(&guard, path, &pairs), expected, "{path} {given:?}");
        }
        for path in ["/", "/health"] {
            assert_eq!(status(&guard, path, &pairs), 200, "{path} {given:?}");
        }
    }
    let without = guard.check(&Method::GET, "/card", &headers(&[])).unwrap_err();
    assert_eq!(without.code, Some("missing_api_key"));
}

#[test]
fn one_origin_may_read() {
    let with =
        |cors: &str| Guard::new(&Settings { cors: Some(cors.to_owned()), ..Settings::default() }).unwrap();
    let from = headers(&[("origin", "https://a.example")]);
    assert_eq!(with("https://a.example").cors(&from), Some("https://a.example"));
    assert_eq!(with("*").cors(&from), Some("*"));
    assert_eq!(with("https://b.example").cors(&from), None);
    assert_eq!(with("*").cors(&headers(&[])), None);
    assert_eq!(Guard::new(&Settings::default()).unwrap().cors(&from), None);
}

#[test]
fn origins_are_what_browsers_send() {
    let guard = |cors: &str| Guard::new(&Settings { cors: Some(cors.to_owned()), ..Settings::default() });
    for origin in ["*", "https://example.org", "http://localhost:3000", "http://[::1]:80"] {
        assert!(guard(origin).is_ok(), "{origin}");
    }
    for other in
        ["", "example.org", "https://example.org/", "https://Example.org", "https://a, https://b", "https://"]
    {
        assert!(guard(other).is_err(), "{other}");
    }
}
