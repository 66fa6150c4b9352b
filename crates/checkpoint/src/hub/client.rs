//! Requests to a hub: redirects, further tries, and who gets to see the token.

use std::fmt;
use std::io::Read;
use std::thread;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

use super::address::{is_here, is_same_server, next};
use super::settings::{HubSettings, HubToken};

/// How many redirects are followed; a hub needs two.
const MAX_REDIRECTS: usize = 8;

/// How often a request is made that fails for reasons that pass.
const TRIES: u32 = 5;

/// The longest that a server can make us wait between two tries.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How much of an error's own text is kept, in characters.
const QUOTE: usize = 300;

/// Why a request has no answer that can be used.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No server, no answer from it, or one that broke off.
    Connection(String),
    /// An answer that says no.
    Status(Refusal),
}

/// An answer with another status than 2xx.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The hub's word for it, as in `GatedRepo`.
    pub(super) code: Option<String>,
    /// The hub's sentence for it.
    pub(super) message: Option<String>,
    /// When to ask again.
    wait: Option<Duration>,
}

impl Trouble {
    /// Whether the same request may succeed later, so that asking again makes sense.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Trouble::Connection(_) => true,
            Trouble::Status(refusal) => matches!(refusal.status, 408 | 429 | 500 | 502 | 503 | 504),
        }
    }

    fn wait(&self) -> Option<Duration> {
        match self {
            Trouble::Connection(_) => None,
            Trouble::Status(refusal) => refusal.wait,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Connection(why) => f.write_str(why),
            Trouble::Status(refusal) => write!(f, "HTTP status {}", refusal.status),
        }
    }
}

impl From<ureq::Error> for Trouble {
    fn from(error: ureq::Error) -> Trouble {
        Trouble::Connection(error.to_string())
    }
}

/// An answer with a status of 2xx, behind all redirects.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The name of the file's blob, which is its digest.
    pub(super) etag: Option<String>,
    /// The size of the file.
    pub(super) size: Option<u64>,
    /// The first byte that a part of a file begins with.
    pub(super) first: Option<u64>,
    pub(super) body: Body,
}

/// Makes requests to one hub.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    token: Option<HubToken>,
    endpoint: Uri,
    first_wait: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Method {
    Get,
    Head,
}

impl Client {
    pub(super) fn new(settings: &HubSettings) -> Client {
        let endpoint: Uri = settings.endpoint.parse().unwrap_or_default();
        let config = Agent::config_builder();
        // A mirror on this machine is behind no proxy.
        let config = if is_here(&endpoint) { config.proxy(None) } else { config };
        let config = config
            .http_status_as_error(false)
            // Each redirect is looked at here: only one host gets the token, and the first answer has the digest.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(settings.silence))
            .timeout_recv_response(Some(settings.silence * 2))
            .timeout_per_read(Some(settings.silence))
            .timeout_per_write(Some(settings.silence))
            .user_agent(concat!("anelith/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .tls_config(TlsConfig::builder().root_certs(root_certificates()).build())
            .build();
        Client {
            agent: config.new_agent(),
            token: settings.token.clone(),
            endpoint,
            first_wait: settings.first_wait,
        }
    }

    /// Whether requests to the hub carry a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// As many tries as make sense; `told` hears of each failure that is waited for.
    pub(super) fn patience<'t>(&self, told: Told<'t>) -> Patience<'t> {
        Patience { failures: 0, next: self.first_wait, told }
    }

    /// Asks for `url` from byte `from` on. One try.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Answer, Trouble> {
        self.follow(Method::Get, url, from)
    }

    /// Asks for what a GET would say before its body.
    pub(super) fn head(&self, url: &str, mut patience: Patience<'_>) -> Result<Answer, Trouble> {
        loop {
            match self.follow(Method::Head, url, 0) {
                Err(trouble) => patience.wait(trouble)?,
                answer => return answer,
            }
        }
    }

    /// The whole answer, of `limit` bytes at most.
    pub(super) fn bytes(
        &self,
        url: &str,
        limit: u64,
        mut patience: Patience<'_>,
    ) -> Result<Vec<u8>, Trouble> {
        loop {
            match self.get(url, 0).and_then(|answer| read_whole(answer.body, limit)) {
                Err(trouble) => patience.wait(trouble)?,
                bytes => return bytes,
            }
        }
    }

    fn follow(&self, method: Method, url: &str, from: u64) -> Result<Answer, Trouble> {
        let mut at: Uri = url.parse().map_err(|e| Trouble::Connection(format!("`{url}`: {e}")))?;
        let (mut etag, mut size) = (None, None);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(method, &at, from)?;
            let headers = response.headers();
            etag = etag.or_else(|| Some(plain_etag(text(headers, "x-linked-etag")?)));
            size = size.or_else(|| number(headers, "x-linked-size"));
            let status = response.status().as_u16();
            if matches!(status, 301 | 302 | 303 | 307 | 308) {
                // The file itself is behind a large file's redirect, and its etag is that of a storage.
                let is_elsewhere = text(headers, "location").is_some_and(|l| !l.starts_with('/'));
                if method == Method::Head && etag.is_some() && is_elsewhere {
                    return Ok(Answer { status, etag, size, first: None, body: response.into_body() });
                }
                at = next(&at, text(headers, "location")).map_err(Trouble::Connection)?;
                continue;
            }
            if !(200..300).contains(&status) {
                return Err(Trouble::Status(refusal(status, headers)));
            }
            let etag = etag.or_else(|| Some(plain_etag(text(headers, "etag")?)));
            let length = (status == 200).then(|| number(headers, "content-length")).flatten();
            let first = text(headers, "content-range").and_then(first_byte);
            return Ok(Answer { status, etag, size: size.or(length), first, body: response.into_body() });
        }
        Err(Trouble::Connection(format!("more than {MAX_REDIRECTS} redirects from {url}")))
    }

    fn once(&self, method: Method, at: &Uri, from: u64) -> Result<Response<Body>, Trouble> {
        let mut request = match method {
            Method::Get => self.agent.get(at),
            Method::Head => self.agent.head(at),
        };
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        // Redirects lead to storage of others, who must not learn the token.
        if let Some(token) = self.token.as_ref().filter(|_| is_same_server(at, &self.endpoint)) {
            request = request.header("authorization", format!("Bearer {}", token.secret()));
        }
        Ok(request.call()?)
    }
}

/// Whoever hears why there is a wait: some take minutes.
pub(super) type Told<'t> = &'t dyn Fn(&str);

/// How many failures are borne, and how long each is waited for.
pub(super) struct Patience<'t> {
    failures: u32,
    next: Duration,
    told: Told<'t>,
}

impl Patience<'_> {
    /// None: where something else can be done than to ask again.
    pub(super) fn none() -> Patience<'static> {
        Patience { failures: TRIES, next: Duration::ZERO, told: &|_| {} }
    }

    /// Waits, or gives the trouble back where waiting does not help or has not helped.
    pub(super) fn wait(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        self.failures += 1;
        if self.failures >= TRIES || !trouble.is_passing() {
            return Err(trouble);
        }
        let wait = trouble.wait().unwrap_or(self.next).min(MAX_WAIT);
        (self.told)(&format!("{trouble}; asked again in {wait:?}"));
        thread::sleep(wait);
        self.next *= 2;
        Ok(())
    }
}

/// The file that `SSL_CERT_FILE` names, as where a company has a certificate of its own; else those that browsers know.
fn root_certificates() -> RootCerts {
    let file = std::env::var_os("SSL_CERT_FILE").and_then(|path| std::fs::read(path).ok());
    let known: Vec<Certificate<'static>> = file.map_or(Vec::new(), |pem| {
        let certificate = |item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        };
        parse_pem(&pem).filter_map(certificate).collect()
    });
    if known.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&known) }
}

fn read_whole(body: Body, limit: u64) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let mut reader = body.into_reader().take(limit + 1);
    reader.read_to_end(&mut bytes).map_err(|e| Trouble::Connection(e.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(Trouble::Connection(format!("an answer of more than {limit} bytes")));
    }
    Ok(bytes)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// An ETag without its quotes.
fn plain_etag(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// The first byte of `bytes 10-19/20`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn refusal(status: u16, headers: &HeaderMap) -> Refusal {
    let quoted = |name| text(headers, name).map(|value| value.chars().take(QUOTE).collect());
    Refusal {
        status,
        code: quoted("x-error-code"),
        message: quoted("x-error-message"),
        wait: number(headers, "retry-after").map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        assert_eq!(plain_etag("W/\"abc\""), "abc");
        assert_eq!(plain_etag("\"abc\""), "abc");
        assert_eq!(first_byte("bytes 10-19/20"), Some(10));
        assert_eq!(first_byte("items 10-19/20"), None);
    }
}
