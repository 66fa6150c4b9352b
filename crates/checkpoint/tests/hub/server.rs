//! A hub on this machine that speaks the protocol as far as downloads need it, with another server for large files as
//! the real one has; and what goes wrong on the way, to order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that `main` and `v1` stand for, and an older one.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const OLD: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// The only model of the hub.
pub(crate) const ID: &str = "acme/Demo-0.5M";

/// What goes wrong when a path that contains a word is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A status, with headers.
    Status(u16, &'static [(&'static str, &'static str)]),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// A byte of the body is another.
    Changed,
    /// The range that was asked for is passed over.
    Whole,
    /// The body stops and the connection stays.
    Stalled,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether it came to the server of the large files.
    pub(crate) is_storage: bool,
}

/// What the hub has and does.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Who does not send this is not let in.
    pub(crate) token: Mutex<Option<String>>,
    /// The list of files tells neither sizes nor digests.
    pub(crate) is_terse: AtomicBool,
    /// The size that the list gives of large files; 0 is the true one.
    pub(crate) size: AtomicU64,
    /// Blobs have names of the hub's own, which are no digests.
    pub(crate) is_odd: AtomicBool,
    /// The list is of another commit than was asked for.
    pub(crate) is_elsewhere: AtomicBool,
    pub(crate) requests: Mutex<Vec<Request>>,
    /// Each is used once; so many times as it is there.
    pub(crate) faults: Mutex<Vec<(&'static str, Fault)>>,
    storage: Mutex<String>,
    is_over: AtomicBool,
}

/// The hub; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) state: Arc<State>,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// A hub that has these files.
    pub(crate) fn new(files: BTreeMap<String, Vec<u8>>) -> Server {
        let state = Arc::new(State { files: Mutex::new(files), ..State::default() });
        let hub = listen(&state, false);
        let storage = listen(&state, true);
        *state.storage.lock().unwrap() = format!("http://{storage}");
        Server { endpoint: format!("http://{hub}"), state, addresses: vec![hub, storage] }
    }

    /// A hub that has the demo model of this repository.
    pub(crate) fn demo() -> Server {
        Server::new(demo_files())
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        self.state.files.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }

    pub(crate) fn remove(&self, name: &str) {
        self.state.files.lock().unwrap().remove(name).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        self.state.files.lock().unwrap()[name].clone()
    }

    pub(crate) fn fail(&self, word: &'static str, fault: Fault) {
        self.state.faults.lock().unwrap().push((word, fault));
    }

    /// The requests that have come since this was last asked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        for address in &self.addresses {
            // Wakes the thread that waits for connections.
            let _ = TcpStream::connect(address);
        }
    }
}

/// The demo model, and files beside it that no conversion needs.
pub(crate) fn demo_files() -> BTreeMap<String, Vec<u8>> {
    let dir: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "models", "demo-qwen3"].iter().collect();
    let read = |path: &Path| std::fs::read(path).unwrap();
    let mut files: BTreeMap<String, Vec<u8>> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read(&path)))
        .collect();
    for other in
        ["pytorch_model.bin", "consolidated.safetensors", "onnx/model.onnx", "model.gguf", ".gitattributes"]
    {
        files.insert(other.to_owned(), b"not needed".to_vec());
    }
    files
}

/// The name of a file's blob.
pub(crate) fn etag(name: &str, bytes: &[u8]) -> String {
    let hex = |digest: &[u8]| {
        digest.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    if is_large(name) {
        return hex(&Sha256::digest(bytes));
    }
    let mut digest = Sha1::new();
    digest.update(format!("blob {}\0", bytes.len()));
    digest.update(bytes);
    hex(&digest.finalize())
}

/// What this hub calls the blob.
fn told(state: &State, name: &str, bytes: &[u8]) -> String {
    let digest = etag(name, bytes);
    if state.is_odd.load(Ordering::SeqCst) { format!("blob-{digest}") } else { digest }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

fn listen(state: &Arc<State>, is_storage: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming() {
            if state.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (state, Ok(stream)) = (Arc::clone(&state), stream) else { continue };
            // Whoever asked may have gone; that is no fault of the server.
            thread::spawn(move || drop(serve(&state, stream, is_storage)));
        }
    });
    address
}

fn serve(state: &State, stream: TcpStream, is_storage: bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(':') {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let request = Request { method, path, headers, is_storage };
    state.requests.lock().unwrap().push(request.clone());
    let fault = take_fault(state, &request);
    let reply = match &fault {
        Some(Fault::Status(status, headers)) => Reply::new(*status, headers, b"no".to_vec()),
        _ if is_storage => stored(state, &request, matches!(fault, Some(Fault::Whole))),
        _ => hub(state, &request, matches!(fault, Some(Fault::Whole))),
    };
    reply.send(stream, request.method == "HEAD", fault)
}

fn take_fault(state: &State, request: &Request) -> Option<Fault> {
    let mut faults = state.faults.lock().unwrap();
    let at = faults.iter().position(|(word, _)| request.path.contains(word))?;
    Some(faults.remove(at).1)
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Reply { status, headers, body }
    }

    /// A file, or the part of it that is asked for.
    fn file(request: &Request, bytes: &[u8], headers: &[(&str, &str)], is_whole: bool) -> Reply {
        let from = request.headers.get("range").filter(|_| !is_whole);
        let from = from.map(|range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap());
        match from.map(|from| from.parse::<usize>().unwrap()) {
            None => Reply::new(200, headers, bytes.to_vec()),
            Some(from) if from >= bytes.len() => Reply::new(416, headers, Vec::new()),
            Some(from) => {
                let mut reply = Reply::new(206, headers, bytes[from..].to_vec());
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                reply.headers.push(("Content-Range".to_owned(), range));
                reply
            }
        }
    }

    fn send(mut self, mut stream: TcpStream, is_head: bool, fault: Option<Fault>) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Some\r\nContent-Length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        match fault {
            _ if is_head => {}
            Some(Fault::Cut(after)) => stream.write_all(&self.body[..after.min(self.body.len())])?,
            Some(Fault::Stalled) => {
                stream.write_all(&self.body[..self.body.len() / 2])?;
                thread::sleep(Duration::from_secs(2));
            }
            Some(Fault::Changed) => {
                let middle = self.body.len() / 2;
                self.body[middle] ^= 1;
                stream.write_all(&self.body)?;
            }
            _ => stream.write_all(&self.body)?,
        }
        stream.flush()
    }
}

fn hub(state: &State, request: &Request, is_whole: bool) -> Reply {
    let said =
        request.headers.get("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
    let wanted = state.token.lock().unwrap().clone();
    if wanted.is_some() && said != wanted {
        return Reply::new(401, &[("X-Error-Code", "RepoNotFound")], b"who?".to_vec());
    }
    if let Some(rest) = request.path.strip_prefix(&format!("/api/models/{ID}/revision/")) {
        let revision = rest.split('?').next().unwrap();
        return match commit(revision) {
            Some(_) if state.is_elsewhere.load(Ordering::SeqCst) => list(state, OLD),
            Some(commit) => list(state, commit),
            None => Reply::new(404, &[("X-Error-Code", "RevisionNotFound")], Vec::new()),
        };
    }
    let Some(rest) = request.path.strip_prefix(&format!("/{ID}/resolve/")) else {
        return Reply::new(404, &[("X-Error-Code", "RepoNotFound")], Vec::new());
    };
    let (revision, name) = rest.split_once('/').unwrap();
    let files = state.files.lock().unwrap();
    let (Some(commit), Some(bytes)) = (commit(revision), files.get(name)) else {
        return Reply::new(404, &[("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", COMMIT)], Vec::new());
    };
    let quoted = format!("\"{}\"", etag(name, bytes));
    if !is_large(name) {
        return Reply::file(request, bytes, &[("ETag", &quoted), ("X-Repo-Commit", commit)], is_whole);
    }
    let location = format!("{}/{}?name={name}", state.storage.lock().unwrap(), etag(name, bytes));
    let size = bytes.len().to_string();
    let headers = [
        ("Location", location.as_str()),
        ("X-Linked-Etag", &quoted),
        ("X-Linked-Size", &size),
        ("X-Repo-Commit", commit),
    ];
    Reply::new(302, &headers, b"there".to_vec())
}

/// A large file, asked for by its digest.
fn stored(state: &State, request: &Request, is_whole: bool) -> Reply {
    let files = state.files.lock().unwrap();
    let digest = request.path[1..].split('?').next().unwrap();
    match files.iter().find(|(name, bytes)| is_large(name) && etag(name, bytes) == digest) {
        Some((_, bytes)) => Reply::file(request, bytes, &[("ETag", "\"of the storage\"")], is_whole),
        None => Reply::new(404, &[], Vec::new()),
    }
}

fn commit(revision: &str) -> Option<&'static str> {
    match revision {
        "main" | "refs%2Fpr%2F1" | "v1" | "0123456" | COMMIT => Some(COMMIT),
        OLD => Some(OLD),
        _ => None,
    }
}

fn list(state: &State, commit: &str) -> Reply {
    let files = state.files.lock().unwrap();
    let sibling = |(name, bytes): (&String, &Vec<u8>)| {
        if state.is_terse.load(Ordering::SeqCst) {
            return format!(r#"{{"rfilename": "{name}"}}"#);
        }
        let (size, digest) = (bytes.len() as u64, told(state, name, bytes));
        let said = state.size.load(Ordering::SeqCst);
        let size = if is_large(name) && said > 0 { said } else { size };
        let lfs = match is_large(name) {
            true => format!(r#", "lfs": {{"sha256": "{digest}", "size": {size}, "pointerSize": 134}}"#),
            false => String::new(),
        };
        // The blob of a large file is its pointer, which has a digest of its own.
        let blob = if is_large(name) { "f".repeat(40) } else { digest };
        format!(r#"{{"rfilename": "{name}", "size": {size}, "blobId": "{blob}"{lfs}}}"#)
    };
    let siblings: Vec<String> = files.iter().map(sibling).collect();
    let text = format!(r#"{{"id": "{ID}", "sha": "{commit}", "siblings": [{}]}}"#, siblings.join(", "));
    Reply::new(200, &[("Content-Type", "application/json")], text.into_bytes())
}
