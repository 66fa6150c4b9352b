//! How a server ends, and when it does not begin.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::machine::{read, start, text};
use anelith_serve::Settings;

const ASK: &str = r#"{"model": "counting", "prompt": [310], "max_tokens": 30}"#;
const LONG: Duration = Duration::from_secs(600);

#[test]
fn what_is_under_way_is_finished_and_the_rest_refused() {
    let mut server = start(Settings { slots: 1, grace: LONG, ..Settings::default() });
    server.watch.hold(2);
    let running = server.send("/v1/completions", ASK);
    server.watch.wait_for(3);
    let waiting = server.send("/v1/completions", ASK);
    let streaming = server.send("/v1/completions", &ASK.replace("30", "30, \"stream\": true"));
    server.until("two wait", |s| s.health("queue") == 2);
    let mut open = server.connect();
    open.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n").unwrap();
    server.stop.stop();
    read(waiting).is_error(503, "shutting_down", None);
    read(streaming).is_error(503, "shutting_down", None);
    server.watch.release();
    assert_eq!(read(running).json()["choices"][0]["text"], text(311..341));
    drop(open);
    let address = server.address;
    server.join();
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
}

#[test]
fn there_is_an_end_to_the_grace() {
    let mut server = start(Settings { slots: 1, grace: Duration::from_millis(50), ..Settings::default() });
    server.watch.hold(2);
    let running = server.send("/v1/completions", ASK);
    let stream = server.send("/v1/completions", &ASK.replace("30", "30, \"stream\": true"));
    server.watch.wait_for(3);
    server.stop.stop();
    server.join();
    drop((running, stream));
}

#[test]
fn a_second_request_to_stop_is_obeyed_at_once() {
    let mut server = start(Settings { slots: 1, grace: LONG, ..Settings::default() });
    server.watch.hold(2);
    let _running = server.send("/v1/completions", ASK);
    server.watch.wait_for(3);
    server.stop.stop();
    server.stop.stop();
    server.join();
}

#[test]
fn half_a_request_is_not_waited_for() {
    let settings = Settings { grace: LONG, header_timeout: LONG, body_timeout: LONG, ..Settings::default() };
    let mut server = start(settings);
    let (mut head, mut body) = (server.connect(), server.connect());
    head.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n").unwrap();
    let whole = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: 100\r\n\r\n{";
    body.write_all(whole.as_bytes()).unwrap();
    // Both are accepted before it is answered.
    assert_eq!(server.get("/health").status, 200);
    server.stop.stop();
    server.join();
    drop((head, body));
}
