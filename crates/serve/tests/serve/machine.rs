//! Servers to ask, and a client that knows just enough HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anelith_chat::{Meta, Tokenizer};
use anelith_serve::{Card, Server, Settings, Stop, Tell, Voice};
use serde_json::Value;
use tempfile::TempDir;

use crate::counting::{Counting, Watch};

const META: &str = "model_info:
  name: counting
  architecture: none
  parameters:
    context_length: 64
    batch_size: 4
    lut_ffn: 4
    monolithic_model: counting.mlmodelc
";

/// The demo's directory; it has the tokenizer that the counting model counts in.
pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-qwen3")
}

/// The text of some ids.
pub(crate) fn text(ids: impl IntoIterator<Item = u32>) -> String {
    Tokenizer::open(&demo()).unwrap().decode(&ids.into_iter().collect::<Vec<_>>()).unwrap()
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Tell for Log {
    fn request(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// A server that runs; it ends with the test.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    pub(crate) watch: Watch,
    log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
    _dir: TempDir,
}

/// Starts one at a free port.
pub(crate) fn start(settings: Settings) -> Running {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("meta.yaml"), META).unwrap();
    let meta = Meta::open(dir.path()).unwrap();
    let card = Card::new(&meta, "counting".to_owned(), "1.2.3").unwrap();
    let (log, watch) = (Arc::new(Log::default()), Watch::default());
    let model = Counting { watch: watch.clone(), ..Counting::default() };
    let settings = Settings { port: 0, ..settings };
    let server = Server::start(model, Voice::open(&demo()).unwrap(), card, settings, log.clone()).unwrap();
    let (address, stop) = (server.address(), server.stopper());
    let thread = Some(thread::spawn(|| server.run()));
    Running { address, stop, watch, log, thread, _dir: dir }
}

impl Running {
    /// Waits for the end.
    pub(crate) fn join(&mut self) {
        self.thread.take().expect("it runs").join().unwrap();
    }

    /// What was logged.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    /// Waits for something that will be so.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Running) -> bool) {
        for _ in 0..12_000 {
            if is_so(self) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it never came to this: {what}");
    }

    /// What /health says under a key.
    pub(crate) fn health(&self, key: &str) -> Value {
        self.get("/health").json()[key].clone()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        stream
    }

    /// A connection over which a POST was sent.
    pub(crate) fn send(&self, path: &str, body: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(post(path, body).as_bytes()).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        read(self.send(path, body))
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        read(stream)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watch.release();
        self.stop.stop();
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// Reads until the connection ends.
pub(crate) fn read(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert!(!bytes.is_empty(), "{error}");
    }
    parse(&bytes)
}

/// A response that came whole.
pub(crate) fn parse(bytes: &[u8]) -> Reply {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    Reply { status, headers, body }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 || rest.len() < size {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Asserts that it is an error in OpenAI's form.
    #[track_caller]
    pub(crate) fn is_error(&self, status: u16, code: &str, param: Option<&str>) {
        assert_eq!(self.status, status, "{}", self.body);
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("{}", self.body));
        let keys: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["message", "type", "param", "code"]);
        assert_eq!((error["code"].as_str(), error["param"].as_str()), (Some(code), param), "{}", self.body);
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()));
    }

    /// The data of server-sent events, without the last, which must be `[DONE]`.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("text/event-stream; charset=utf-8"), "{}", self.body);
        let data: Vec<&str> = self
            .body
            .split("\n\n")
            .filter(|e| !e.is_empty())
            .map(|e| e.strip_prefix("data: ").unwrap())
            .collect();
        let (last, data) = data.split_last().unwrap();
        assert_eq!(*last, "[DONE]", "{}", self.body);
        data.iter().map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}
