//! What wrong requests are answered.

use crate::counting::{FAULT, PANIC};
use crate::machine::{post, read, start, text};
use anelith_serve::Settings;
use std::io::Write;

#[test]
fn every_fault_has_the_same_form() {
    let server = start(Settings::default());
    server.get("/v1/nothing").is_error(404, "unknown_url", None);
    server.get("/v1/models/").is_error(404, "unknown_url", None);
    let wrong = server.get("/v1/completions");
    wrong.is_error(405, "method_not_allowed", None);
    assert_eq!(wrong.header("allow"), Some("POST, OPTIONS"));
    server.request("DELETE", "/v1/models", &[], "").is_error(405, "method_not_allowed", None);
    server.post("/v1/completions", "{").is_error(400, "invalid_json", None);
    server.post("/v1/completions", r#"{"model": "gpt", "prompt": "a"}"#).is_error(
        404,
        "model_not_found",
        Some("model"),
    );
    let ask = |body: &str| server.post("/v1/completions", &format!(r#"{{"model": "counting", {body}}}"#));
    ask(r#""prompt": """#).is_error(400, "invalid_value", Some("prompt"));
    ask(r#""prompt": [5000]"#).is_error(400, "invalid_value", Some("prompt"));
    ask(r#""prompt": "a", "logit_bias": {"5000": 1}"#).is_error(400, "invalid_value", Some("logit_bias"));
    let long = format!(r#""prompt": {:?}"#, [310; 65]);
    ask(&long).is_error(400, "context_length_exceeded", Some("prompt"));
    let many = format!(r#""prompt": {:?}"#, ["a"; 37]);
    ask(&many).is_error(400, "invalid_value", Some("prompt"));
    let said = "word ".repeat(100);
    let body = format!(r#"{{"model": "counting", "messages": [{{"role": "user", "content": "{said}"}}]}}"#);
    server.post("/v1/chat/completions", &body).is_error(400, "context_length_exceeded", Some("messages"));
}

#[test]
fn a_prompt_that_just_fits_is_answered_as_far_as_it_goes() {
    let server = start(Settings::default());
    let body = format!(r#"{{"model": "counting", "prompt": {:?}, "max_tokens": 9}}"#, [310; 63]);
    let json = server.post("/v1/completions", &body).json();
    assert_eq!(json["choices"][0]["text"], text([311, 312]));
    assert_eq!(json["choices"][0]["finish_reason"], "length");
}

#[test]
fn the_model_may_fail_and_the_server_goes_on() {
    let server = start(Settings::default());
    for token in [FAULT, PANIC] {
        for stream in [true, false] {
            let body = format!(r#"{{"model": "counting", "prompt": [310, {token}], "stream": {stream}}}"#);
            let reply = server.post("/v1/completions", &body);
            match stream {
                false => reply.is_error(500, "internal_error", None),
                true => assert!(
                    reply.body.contains(r#""code":"internal_error""#) && !reply.body.contains("[DONE]")
                ),
            }
        }
        let reply =
            server.post("/v1/completions", r#"{"model": "counting", "prompt": [310], "max_tokens": 2}"#);
        assert_eq!(reply.json()["choices"][0]["text"], text(311..313));
    }
    assert_eq!(server.metric("anelith_model_failures_total"), 4.0);
}

#[test]
fn more_tokens_than_the_server_gives_are_refused() {
    let server = start(Settings { max_tokens: Some(3), ..Settings::default() });
    let ask = |more: &str| {
        let body =
            format!(r#"{{"model": "counting", "messages": [{{"role": "user", "content": "a"}}]{more}}}"#);
        server.post("/v1/chat/completions", &body)
    };
    ask(r#", "max_tokens": 4"#).is_error(400, "invalid_value", Some("max_tokens"));
    ask(r#", "max_completion_tokens": 4"#).is_error(400, "invalid_value", Some("max_completion_tokens"));
    assert_eq!(ask("").json()["usage"]["completion_tokens"], 3);
}

#[test]
fn other_pages_of_the_web_cannot_ask() {
    let server = start(Settings::default());
    let evil = [("host", "evil.example"), ("content-type", "application/json")];
    server.request("POST", "/v1/completions", &evil, "{}").is_error(403, "forbidden", None);
    server.request("GET", "/", &evil, "").is_error(403, "forbidden", None);
    for sort in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let reply = server.request("POST", "/v1/completions", &[("content-type", sort)], "{}");
        reply.is_error(415, "unsupported_media_type", None);
    }
    let utf8 = [("content-type", "application/json; charset=utf-8")];
    server.request("POST", "/v1/completions", &utf8, "{}").is_error(
        400,
        "missing_required_parameter",
        Some("model"),
    );
    let from = [("origin", "https://a.example")];
    let reply = server.request("OPTIONS", "/v1/completions", &from, "");
    assert_eq!((reply.status, reply.header("allow")), (204, Some("POST, OPTIONS")));
    assert_eq!(reply.header("access-control-allow-origin"), None);
    server.request("OPTIONS", "/nothing", &from, "").is_error(404, "unknown_url", None);
}

#[test]
fn one_origin_may_ask_where_that_is_wanted() {
    let server = start(Settings { cors: Some("https://a.example".to_owned()), ..Settings::default() });
    let from = [("origin", "https://a.example"), ("access-control-request-headers", "content-type, x-a")];
    let reply = server.request("OPTIONS", "/v1/completions", &from, "");
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("content-type, x-a"));
    assert_eq!(reply.header("vary"), Some("Origin"));
    let other = server.request("GET", "/v1/models", &[("origin", "https://b.example")], "");
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, None));
}

#[test]
fn a_key_is_asked_for_where_there_is_one() {
    let server = start(Settings { api_key: Some("sesame".to_owned()), ..Settings::default() });
    let reply = server.get("/v1/models");
    reply.is_error(401, "missing_api_key", None);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    let wrong = [("authorization", "Bearer simsim")];
    server.request("GET", "/v1/models", &wrong, "").is_error(401, "invalid_api_key", None);
    let right = [("authorization", "Bearer sesame"), ("host", "any.example")];
    assert_eq!(server.request("GET", "/v1/models", &right, "").status, 200);
    assert_eq!((server.get("/").status, server.get("/health").status), (200, 200));
    assert!(server.log().iter().all(|line| !line.contains("sesame")), "keys are not logged");
}

#[test]
fn several_requests_share_a_connection() {
    let server = start(Settings::default());
    let mut stream = server.connect();
    let open = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let last = post("/v1/completions", r#"{"model": "counting", "prompt": [310], "max_tokens": 1}"#);
    stream.write_all(format!("{open}{open}{last}").as_bytes()).unwrap();
    let all = read(stream);
    assert_eq!(all.body.matches("HTTP/1.1 200 OK").count(), 2, "{}", all.body);
    assert!(all.body.contains("text_completion"), "{}", all.body);
}
