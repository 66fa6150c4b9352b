//! Too much, too slow, and gone.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::machine::{post, read, start, text};
use anelith_serve::Settings;

fn ask(prompt: u32, more: &str) -> String {
    format!(r#"{{"model": "counting", "prompt": [{prompt}], "max_tokens": 30{more}}}"#)
}

/// Long enough for a machine that is busy.
const LONG: Duration = Duration::from_secs(600);

/// So short that it is over soon.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_body_that_is_too_large_is_refused() {
    let server = start(Settings { max_body: 1000, ..Settings::default() });
    let large = format!(r#"{{"model": "counting", "prompt": "{}"}}"#, "a".repeat(1000));
    server.post("/v1/completions", &large).is_error(413, "request_too_large", None);
    let mut stream = server.connect();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                connection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(format!("{head}3f0\r\n{}\r\n", "a".repeat(0x3f0)).as_bytes()).unwrap();
    // The rest may meet a connection that is closed.
    let _ = stream.write_all(format!("3f0\r\n{}\r\n0\r\n\r\n", "a".repeat(0x3f0)).as_bytes());
    read(stream).is_error(413, "request_too_large", None);
}

#[test]
fn a_full_queue_sends_clients_away_for_a_while() {
    let server = start(Settings { slots: 1, queue: 1, ..Settings::default() });
    server.watch.hold(0);
    let first = server.send("/v1/completions", &ask(310, ""));
    server.watch.wait_for(1);
    let second = server.send("/v1/completions", &ask(320, ""));
    server.until("one waits", |s| s.health("queue") == 1);
    let refused = server.post("/v1/completions", &ask(330, r#", "stream": true"#));
    refused.is_error(429, "rate_limit_exceeded", None);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    server.watch.release();
    assert_eq!(read(first).json()["choices"][0]["text"], text(311..341));
    assert_eq!(read(second).json()["choices"][0]["text"], text(321..350));
    server.until("it is counted", |s| s.metric("anelith_rate_limited_total") == 1.0);
}

#[test]
fn who_goes_away_gives_up_the_slot_or_the_place() {
    for stream in ["true", "false"] {
        let server = start(Settings { slots: 1, queue: 4, ..Settings::default() });
        server.watch.hold(2);
        let more = format!(r#", "stream": {stream}"#);
        let first = server.send("/v1/completions", &ask(310, &more));
        server.watch.wait_for(3);
        let second = server.send("/v1/completions", &ask(110, &more));
        server.until("one waits", |s| s.health("queue") == 1);
        drop((first, second));
        // The engine looks when it has taken the step that is held up; it is let go once both are known to be gone.
        server.until("both are gone", |s| s.log().iter().filter(|line| line.contains(" 499 ")).count() == 2);
        server.watch.release();
        server.until("the slot is free", |s| s.health("slots_busy") == 0 && s.health("queue") == 0);
        assert_eq!(server.watch.steps(), [vec![310], vec![311], vec![312]], "stream: {stream}");
        server.until("it is counted", |s| s.metric("anelith_disconnects_total") == 1.0);
    }
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let server = start(Settings { timeout: SHORT, slots: 1, ..Settings::default() });
    server.watch.hold(2);
    let stream = server.send("/v1/completions", &ask(310, r#", "stream": true"#));
    server.watch.wait_for(3);
    let waiting = server.send("/v1/completions", &ask(320, ""));
    let streaming = server.send("/v1/completions", &ask(330, r#", "stream": true"#));
    read(waiting).is_error(504, "timeout", None);
    read(streaming).is_error(504, "timeout", None);
    let cut = read(stream);
    assert_eq!(cut.status, 200);
    assert!(cut.body.contains(r#""code":"timeout""#) && !cut.body.contains("[DONE]"), "{}", cut.body);
    server.watch.release();
    server.until("the slot is free", |s| s.health("slots_busy") == 0);
}

#[test]
fn slow_heads_and_bodies_are_not_waited_for() {
    let settings = Settings {
        header_timeout: SHORT,
        body_timeout: SHORT,
        timeout: LONG,
        connections: 3,
        ..Settings::default()
    };
    let server = start(settings);
    let mut slow: Vec<_> = (0..2).map(|_| server.connect()).collect();
    slow[0].write_all(b"POST /v1/completions HTTP/1.1\r\nhost: loc").unwrap();
    let mut body = server.connect();
    let whole = post("/v1/completions", &ask(310, ""));
    body.write_all(&whole.as_bytes()[..whole.len() - 5]).unwrap();
    // All three connections are taken; who comes now is served when the slow ones are given up.
    let reply = server.post("/v1/completions", &ask(310, ""));
    assert_eq!(reply.json()["choices"][0]["text"], text(311..341));
    read(body).is_error(408, "request_timeout", None);
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn a_connection_that_says_nothing_more_is_closed() {
    let server = start(Settings { header_timeout: SHORT, ..Settings::default() });
    let mut stream = server.connect();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(read(stream).status, 200, "the answer, and then the end");
}

#[test]
fn a_body_that_ends_too_early_is_no_request() {
    let server = start(Settings::default());
    let whole = post("/v1/completions", &ask(310, ""));
    let mut stream = server.connect();
    stream.write_all(&whole.as_bytes()[..whole.len() - 5]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    server.until("it is logged", |s| s.log().iter().any(|l| l.contains(" 499 ") || l.contains(" 400 ")));
    assert!(server.watch.steps().is_empty());
}

#[test]
fn who_does_not_read_is_dropped_and_stops_nobody() {
    let server = start(Settings { write_timeout: SHORT, timeout: LONG, slots: 1, ..Settings::default() });
    // Pages are large enough to fill what the system keeps for a connection, if enough of them are asked for.
    let mut deaf = server.connect();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
    let mut is_dropped = false;
    for _ in 0..5000 {
        match deaf.write_all(&request) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => {
                is_dropped = true;
                break;
            }
        }
    }
    assert!(is_dropped, "the server does not wait for ever");
    let reply = server.post("/v1/completions", &ask(310, ""));
    assert_eq!(reply.json()["choices"][0]["text"], text(311..341));
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let server = start(Settings::default());
    let large = "a".repeat(1_000_000);
    let mut stream = server.connect();
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {large}\r\n\r\n").as_bytes());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(server.get("/health").status, 200);
}
