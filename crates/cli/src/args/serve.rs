//! The arguments of `serve`.

use std::net::IpAddr;

use clap::Args;

use super::MetaArgs;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) meta: MetaArgs,
    /// Address to listen at; one that other machines reach needs a key, or --allow-remote
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = host)]
    pub(crate) host: IpAddr,
    /// Port to listen at; 0 is any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Key that clients must send. Everybody on this machine can read a command line: better set ANELITH_API_KEY
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Let everybody who reaches this machine use the model, without a key
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Origin of web pages that may ask, such as `https://example.org`; * is any [default: only the server's own page]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Option<String>,
    /// Id by which clients ask for the model [default: the name in meta.yaml]
    #[arg(long, value_name = "NAME")]
    pub(crate) model_name: Option<String>,
    /// Answers under way at a time, each with a cache of its own, 1 to 256
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) slots: u16,
    /// Requests that wait beside those; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) queue: u16,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// Tokens of an answer at most, whatever a request asks for [default: what the context has room for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Bytes of a request's body at most [default: 65536, and 256 for each token of the context]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_body: Option<u32>,
    /// How long a request may take until the end of its answer
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: u32,
    /// How long the head of a request may take, and how long a connection may be idle
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) header_timeout: u32,
    /// How long the body of a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) body_timeout: u32,
    /// How long a client may leave unread what is there for it
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) write_timeout: u32,
    /// How long answers under way may go on after a request to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) grace: u32,
    /// Say nothing of requests
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// An address, or `localhost`.
fn host(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    let text = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse().map_err(|_| "expected an IP address, such as 127.0.0.1, ::1 or 0.0.0.0".to_owned())
}
