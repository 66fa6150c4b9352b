//! `serve`: a process that answers, and how it ends.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::{Value, json};

use crate::anelith::{ANSWER, command, converted, run};

/// A server at a free port.
struct Server {
    child: Child,
    address: String,
    stderr: BufReader<ChildStderr>,
}

impl Server {
    fn start(more: &[&str]) -> Server {
        let meta = converted().to_str().unwrap();
        let mut command = command([&["serve", "--meta", meta, "--port", "0"], more].concat());
        command.env_remove("ANELITH_API_KEY").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Server { child, address, stderr }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {response}"))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; what it said on standard error.
    fn end(mut self, status: i32) -> String {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(status), "{said}");
        said
    }
}

fn question(messages: &[(&str, &str)]) -> Value {
    let message = |(role, content): &(&str, &str)| json!({"role": role, "content": content});
    json!({"messages": messages.iter().map(message).collect::<Vec<_>>()})
}

#[test]
fn it_answers_remembers_and_ends_when_told() {
    for name in ["-TERM", "-INT"] {
        let server = Server::start(&[]);
        let chat = "/v1/chat/completions";
        let answer = server.post(chat, &question(&[("user", "Who are you?")]));
        assert_eq!(answer["choices"][0]["message"]["content"], ANSWER);
        let first = server.post(chat, &question(&[("user", "My name is Ana.")]));
        let said = first["choices"][0]["message"]["content"].as_str().unwrap();
        let turns = [("user", "My name is Ana."), ("assistant", said), ("user", "What is my name?")];
        let second = server.post(chat, &question(&turns));
        assert_eq!(second["choices"][0]["message"]["content"], "Your name is Ana.");
        let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert!(
            cached > 15,
            "what the cache held of the first question and answer was not run again: {second}"
        );
        server.signal(name);
        let log = server.end(0);
        assert_eq!(log.matches("POST /v1/chat/completions 200 ").count(), 3, "{log}");
        assert!(!log.contains("Ana"), "nothing that was said is logged: {log}");
    }
}

#[test]
fn quiet_is_quiet() {
    let server = Server::start(&["--quiet", "--model-name", "pebble", "--slots", "1"]);
    let answer = server.post("/v1/completions", &json!({"model": "pebble", "prompt": "a", "max_tokens": 1}));
    assert_eq!((&answer["model"], &answer["usage"]["completion_tokens"]), (&json!("pebble"), &json!(1)));
    server.signal("-TERM");
    assert_eq!(server.end(0), "");
}

#[test]
fn what_is_not_safe_or_not_possible_is_refused() {
    let meta = converted().to_str().unwrap();
    let serve = |more: &[&str]| run([&["serve", "--meta", meta, "--port", "0"], more].concat());
    serve(&["--host", "0.0.0.0"]).status(2).says("--host").says("ANELITH_API_KEY").says("--allow-remote");
    serve(&["--api-key", ""]).status(2).says("key");
    serve(&["--cors", "a\nb"]).status(2).says("--cors");
    serve(&["--host", "example.org"]).status(2).says("IP address");
    serve(&["--slots", "0"]).status(2).says("--slots");
    run(["serve", "--meta", "no-such-directory"]).status(3).says("meta.yaml");
    let server = Server::start(&[]);
    let port = server.address.rsplit_once(':').unwrap().1;
    run(["serve", "--meta", meta, "--port", port]).status(1).says("cannot listen").says("--port");
    server.signal("-INT");
    server.end(0);
}
