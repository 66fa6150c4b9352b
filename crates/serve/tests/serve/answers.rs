//! What right requests are answered.

use serde_json::{Value, json};

use crate::machine::{Reply, Running, start, text};
use anelith_serve::Settings;

fn completion(server: &Running, prompt: &str, more: &str) -> Reply {
    server.post("/v1/completions", &format!(r#"{{"model": "counting", "prompt": {prompt}{more}}}"#))
}

#[test]
fn a_completion_is_text_and_numbers() {
    let server = start(Settings::default());
    let reply = completion(&server, "[310, 311, 312]", r#", "max_tokens": 3"#);
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json")),
        "{}",
        reply.body
    );
    let mut json = reply.json();
    assert!(json["id"].as_str().unwrap().starts_with("cmpl-"));
    assert!(json["system_fingerprint"].as_str().unwrap().starts_with("fp_"));
    assert!(json["created"].as_u64().unwrap() > 1_700_000_000);
    for key in ["id", "created", "system_fingerprint"] {
        json.as_object_mut().unwrap().remove(key);
    }
    let expected = json!({
        "object": "text_completion",
        "model": "counting",
        "choices": [{"index": 0, "text": text(313..316), "logprobs": null, "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    });
    assert_eq!(json, expected);
    let again = completion(&server, "[310, 311, 312, 320]", "").json();
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(again["usage"]["completion_tokens"], 16, "OpenAI's default");
}

#[test]
fn a_conversation_is_answered_by_the_assistant() {
    let server = start(Settings::default());
    let body = r#"{"model": "counting", "messages": [{"role": "system", "content": "s"}, {"role": "user",
        "content": [{"type": "text", "text": "Hi"}]}], "max_completion_tokens": 2, "unknown": 1}"#;
    let json = server.post("/v1/chat/completions", body).json();
    assert!(json["id"].as_str().unwrap().starts_with("chatcmpl-"), "{json}");
    assert_eq!(json["object"], "chat.completion");
    let choice = &json["choices"][0];
    assert_eq!(
        (&choice["message"]["role"], &choice["finish_reason"]),
        (&json!("assistant"), &json!("length"))
    );
    assert!(!choice["message"]["content"].as_str().unwrap().is_empty());
    // The template ends in a line end, from which the model counts on.
    assert_eq!(json["usage"]["completion_tokens"], 2);
}

#[test]
fn a_stream_says_the_same_in_pieces() {
    let server = start(Settings::default());
    let whole = completion(&server, "[310]", r#", "max_tokens": 5"#).json();
    let stream = completion(&server, "[310]", r#", "max_tokens": 5, "stream": true"#);
    let events = stream.events();
    let pieces: String = events.iter().map(|e| e["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(json!(pieces), whole["choices"][0]["text"]);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(events.iter().all(|e| e.get("usage").is_none() && e["object"] == "text_completion"));

    let body = r#"{"model": "counting", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4,
        "stream": true, "stream_options": {"include_usage": true}}"#;
    let events = server.post("/v1/chat/completions", body).events();
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": "", "refusal": null})
    );
    let (last, others) = events.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(4)));
    assert!(others.iter().all(|e| e["usage"].is_null() && e["object"] == "chat.completion.chunk"));
    assert_eq!(others.last().unwrap()["choices"][0]["delta"], json!({}));
    assert_eq!(others.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(events.iter().all(|e| e["id"] == events[0]["id"]));
}

#[test]
fn the_models_own_end_and_stop_strings_are_not_said() {
    let server = start(Settings::default());
    let ended = completion(&server, "[346]", "").json();
    assert_eq!(ended["choices"][0]["text"], text(347..350));
    assert_eq!(ended["choices"][0]["finish_reason"], "stop");
    let stop = json!(text([313, 314]));
    for stream in ["false", "true"] {
        let more = format!(r#", "stop": {stop}, "stream": {stream}"#);
        let reply = completion(&server, "[310]", &more);
        let events = if stream == "true" { reply.events() } else { vec![reply.json()] };
        let said: String = events.iter().map(|e| e["choices"][0]["text"].as_str().unwrap()).collect();
        assert_eq!(said, text([311, 312]));
        assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn prompts_are_answered_each_by_itself() {
    let server = start(Settings { slots: 2, ..Settings::default() });
    let said = |events: &[Value], index: u64| -> String {
        let choices = events.iter().map(|e| &e["choices"][0]).filter(|c| c["index"] == index);
        choices.map(|c| c["text"].as_str().unwrap()).collect()
    };
    let prompts = "[[310], [346], [120, 121]]";
    let whole = completion(&server, prompts, r#", "max_tokens": 5"#).json();
    let texts: Vec<&str> =
        whole["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
    assert_eq!(texts, [text(311..316), text(347..350), text(122..127)]);
    assert_eq!(whole["usage"]["prompt_tokens"], 4);
    let events = completion(&server, prompts, r#", "max_tokens": 5, "stream": true"#).events();
    for (index, expected) in texts.iter().enumerate() {
        assert_eq!(said(&events, index as u64), *expected);
    }
}

#[test]
fn a_prompt_is_repeated_when_that_is_asked_for() {
    let server = start(Settings::default());
    let expected = format!(
        "Hello{}",
        completion(&server, "\"Hello\"", "").json()["choices"][0]["text"].as_str().unwrap()
    );
    assert_eq!(completion(&server, "\"Hello\"", r#", "echo": true"#).json()["choices"][0]["text"], expected);
    let events = completion(&server, "\"Hello\"", r#", "echo": true, "stream": true"#).events();
    let said: String = events.iter().map(|e| e["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(said, expected);
}

#[test]
fn probabilities_are_told_in_both_forms() {
    let server = start(Settings::default());
    let old = completion(&server, "[310]", r#", "max_tokens": 2, "logprobs": 2"#).json();
    let old = &old["choices"][0]["logprobs"];
    assert_eq!(old["tokens"], json!([text([311]), text([312])]));
    // One logit is 10, one is 9, the other 1022 are 0.
    let expected = -(1.0 + (-1f64).exp() + 1022.0 * (-10f64).exp()).ln();
    assert!((old["token_logprobs"][0].as_f64().unwrap() - expected).abs() < 1e-4, "{old}");
    assert_eq!(old["text_offset"], json!([0, text([311]).chars().count()]));
    assert_eq!(old["top_logprobs"][1].as_object().unwrap().len(), 2);

    let body = r#"{"model": "counting", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2,
        "logprobs": true, "top_logprobs": 3}"#;
    let new = server.post("/v1/chat/completions", body).json();
    let content = new["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert_eq!(content.len(), 2, "{new}");
    let top = content[0]["top_logprobs"].as_array().unwrap();
    assert_eq!((top.len(), &top[0]["token"]), (3, &content[0]["token"]));
    assert!((top[0]["logprob"].as_f64().unwrap() - top[1]["logprob"].as_f64().unwrap() - 1.0).abs() < 1e-4);
}

#[test]
fn a_seed_repeats_an_answer() {
    let server = start(Settings::default());
    let ask = |seed: u32| {
        let more = format!(r#", "max_tokens": 40, "temperature": 2, "seed": {seed}"#);
        completion(&server, "[110]", &more).json()["choices"][0]["text"].clone()
    };
    assert_eq!(ask(7), ask(7));
    assert_ne!(ask(7), ask(8));
}

#[test]
fn who_looks_after_it_sees_what_happens() {
    let server = start(Settings { slots: 3, queue: 5, ..Settings::default() });
    completion(&server, "[310, 311]", r#", "max_tokens": 3"#);
    completion(&server, "[310, 311]", r#", "max_tokens": 3, "stream": true"#);
    server.post("/v1/completions", "{}");
    let expected = json!({
        "status": "ready", "model": "counting", "slots": 3, "slots_busy": 0, "queue": 0, "queue_limit": 5,
    });
    assert_eq!(server.get("/health").json(), expected);
    server.until("all are counted", |s| {
        s.metric("anelith_requests_total{endpoint=\"completions\",status=\"400\"}") == 1.0
    });
    assert_eq!(server.metric("anelith_requests_total{endpoint=\"completions\",status=\"200\"}"), 2.0);
    assert_eq!(server.metric("anelith_generated_tokens_total"), 6.0);
    assert_eq!(server.metric("anelith_prompt_tokens_total"), 4.0);
    assert_eq!(server.metric("anelith_cached_prompt_tokens_total"), 1.0);
    assert_eq!(server.metric("anelith_time_to_first_token_seconds_count"), 2.0);
    let metrics = server.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    if cfg!(target_os = "linux") {
        assert!(server.metric("process_resident_memory_bytes") > 1e6);
    }
    let log = server.log();
    assert!(log[0].starts_with("POST /v1/completions 200 "), "{log:?}");
    assert!(log[0].ends_with(" ms prompt=2 cached=0 generated=3"), "{log:?}");
}

#[test]
fn the_model_is_described() {
    let server = start(Settings { max_tokens: Some(32), ..Settings::default() });
    let models = server.get("/v1/models").json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("counting")));
    assert_eq!(server.get("/v1/models/counting").json(), models["data"][0]);
    server.get("/v1/models/other%2Fmodel").is_error(404, "model_not_found", Some("model"));
    let card = server.get("/card").json();
    for (key, value) in [
        ("name", json!("counting")),
        ("context_length", json!(64)),
        ("batch_size", json!(4)),
        ("chat_template", json!(true)),
        ("enable_thinking", json!(false)),
        ("max_tokens", json!(32)),
        ("version", json!("1.2.3")),
        ("verify", Value::Null),
    ] {
        assert_eq!(card[key], value, "{key}");
    }
}

#[test]
fn the_page_may_run_only_what_is_in_it() {
    let server = start(Settings::default());
    let page = server.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && policy.contains("connect-src 'self'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let head = server.request("HEAD", "/", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), page.header("content-length"));
}
