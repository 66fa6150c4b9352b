//! Who may ask what.

use std::net::IpAddr;

use anelith_report::{Report, Reported};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};

use crate::error::Error;
use crate::problem::Problem;
use crate::settings::Settings;

/// Keys, hosts and origins.
#[derive(Debug)]
pub(crate) struct Guard {
    host: IpAddr,
    key: Option<String>,
    /// Whether hosts are compared: a page of the web may call a name of its own by this machine's address.
    checks_host: bool,
    cors: Option<String>,
}

/// Paths that are answered without a key: the page asks for one itself, and whoever looks after the server needs none.
const OPEN: [&str; 2] = ["/", "/health"];

impl Guard {
    /// # Errors
    /// When everybody in the network could use the server without a key, and for keys and origins that cannot be sent.
    pub(crate) fn new(settings: &Settings) -> Result<Guard, Error> {
        let has_key = match &settings.api_key {
            // Of a header, spaces at the ends do not count.
            Some(key) if key.is_empty() || key.trim() != key || key.chars().any(char::is_control) => {
                let report = Report::new("the API key cannot be used").at("--api-key, or ANELITH_API_KEY");
                let report =
                    report.expecting("a key of characters that can be seen, with no space at its ends");
                return Err(Error::usage(report));
            }
            key => key.is_some(),
        };
        let is_local = settings.host.is_loopback();
        if !is_local && !has_key && !settings.allow_remote {
            let report = Report::new("everybody who reaches this machine could use the model")
                .at("--host")
                .expecting("a loopback address such as 127.0.0.1, or a key")
                .finding(settings.host)
                .mending("set ANELITH_API_KEY; or give --allow-remote if this is what you want");
            return Err(Error::usage(report));
        }
        if let Some(origin) = settings.cors.as_deref().filter(|origin| !is_origin(origin)) {
            let report = Report::new("browsers send no such origin").at("--cors").finding(origin);
            return Err(Error::usage(
                report.expecting("*, or scheme, host and port as in https://example.org:8443"),
            ));
        }
        let checks_host = is_local && !has_key;
        let (host, key, cors) = (settings.host, settings.api_key.clone(), settings.cors.clone());
        Ok(Guard { host, key, checks_host, cors })
    }

    /// Lets a request pass.
    ///
    /// # Errors
    /// 403 for a host that is not ours, 401 for a key that is not.
    pub(crate) fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
        if self.checks_host && !self.is_our_host(headers) {
            return Err(Problem::forbidden(
                "The Host of the request is not this machine. Ask at http://127.0.0.1, or start the server with a key.",
            ));
        }
        if *method == Method::OPTIONS || OPEN.contains(&path) {
            return Ok(());
        }
        let Some(key) = &self.key else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let Some(given) = given.and_then(bearer) else { return Err(Problem::no_key(false)) };
        if is_equal(given, key.as_bytes()) { Ok(()) } else { Err(Problem::no_key(true)) }
    }

    fn is_our_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Ok(host) = host.to_str() else { return false };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let is_address = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == self.host);
        is_address || name.eq_ignore_ascii_case("localhost")
    }

    /// The origin that may read answers, if the request comes from there.
    pub(crate) fn cors(&self, headers: &HeaderMap) -> Option<&str> {
        let allowed = self.cors.as_deref()?;
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        (allowed == "*" || allowed == origin).then_some(allowed)
    }

    /// Whether answers depend on where a request comes from.
    pub(crate) fn has_cors(&self) -> bool {
        self.cors.is_some()
    }
}

/// Whether a browser could send this as the origin of a page, or it is `*`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return text == "*" };
    let is_host = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !"/?#@\\,".contains(c);
    let is_scheme = |c: char| c.is_ascii_lowercase() || "+-".contains(c);
    !scheme.is_empty() && scheme.chars().all(is_scheme) && !host.is_empty() && host.chars().all(is_host)
}

/// The key in `Bearer KEY`.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Compares in a time that does not tell how much of `given` is right.
fn is_equal(given: &[u8], key: &[u8]) -> bool {
    let mut differing = given.len() ^ key.len();
    for i in 0..given.len() {
        let right = key[i % key.len()];
        differing |= usize::from(std::hint::black_box(given[i] ^ right));
    }
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests;
