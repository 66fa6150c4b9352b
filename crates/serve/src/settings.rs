//! How a server listens and what it takes.

use std::net::IpAddr;
use std::time::Duration;

/// The limits of a server, and who may use it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen at.
    pub host: IpAddr,
    /// The port; 0 is any that is free.
    pub port: u16,
    /// What clients must know, if anything.
    pub api_key: Option<String>,
    /// Whether others than this machine may ask without a key.
    pub allow_remote: bool,
    /// The origin of web pages that may ask, beside the server's own.
    pub cors: Option<String>,
    /// How many answers are under way at a time, each with a cache of its own; at least 1.
    pub slots: usize,
    /// How many requests wait beside those.
    pub queue: usize,
    /// How many connections are open at a time; more wait to be accepted.
    pub connections: usize,
    /// The most tokens of one answer; the context is the only limit when not set.
    pub max_tokens: Option<usize>,
    /// The most bytes of a body.
    pub max_body: usize,
    /// How long a request may take from its first line to the end of its answer.
    pub timeout: Duration,
    /// How long the head of a request may take to arrive, and how long a connection may say nothing.
    pub header_timeout: Duration,
    /// How long its body may take.
    pub body_timeout: Duration,
    /// How long a client may read nothing of what is there for it.
    pub write_timeout: Duration,
    /// How long answers under way may go on when the server is to stop.
    pub grace: Duration,
}

impl Default for Settings {
    /// For this machine alone, at port 8080.
    fn default() -> Settings {
        let seconds = Duration::from_secs;
        Settings {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            api_key: None,
            allow_remote: false,
            cors: None,
            slots: 4,
            queue: 32,
            connections: 512,
            max_tokens: None,
            max_body: 2 << 20,
            timeout: seconds(600),
            header_timeout: seconds(15),
            body_timeout: seconds(30),
            write_timeout: seconds(30),
            grace: seconds(30),
        }
    }
}
