//! Requests that are right, and those that are not, with the field that is named.

use anelith_chat::{Role, Sampling, Turn};

use super::{Ask, Input, Prompt};
use crate::problem::Problem;

const HELLO: &str = r#""model": "m", "messages": [{"role": "user", "content": "Hi"}]"#;
const PROMPT: &str = r#""model": "m", "prompt": "Hi""#;

fn chat(more: &str) -> Result<Ask, Problem> {
    Ask::chat(format!("{{{HELLO}{}{more}}}", if more.is_empty() { "" } else { ", " }).as_bytes())
}

fn completion(more: &str) -> Result<Ask, Problem> {
    Ask::completion(format!("{{{PROMPT}{}{more}}}", if more.is_empty() { "" } else { ", " }).as_bytes())
}

fn turns(messages: &str) -> Result<Vec<Turn>, Problem> {
    let ask = Ask::chat(format!(r#"{{"model": "m", "messages": {messages}}}"#).as_bytes())?;
    match ask.input {
        Input::Chat { turns, .. } => Ok(turns),
        Input::Completion { .. } => panic!("a conversation was sent"),
    }
}

fn prompts(prompt: &str) -> Result<Vec<Prompt>, Problem> {
    let ask = Ask::completion(format!(r#"{{"model": "m", "prompt": {prompt}}}"#).as_bytes())?;
    match ask.input {
        Input::Completion { prompts, .. } => Ok(prompts),
        Input::Chat { .. } => panic!("a prompt was sent"),
    }
}

#[test]
fn little_is_enough() {
    let ask = chat("").unwrap();
    assert_eq!(
        (ask.model.as_deref(), ask.max_tokens, ask.logprobs, ask.stream),
        (Some("m"), None, None, false)
    );
    assert!(ask.stop.is_empty() && !ask.include_usage);
    assert_eq!(completion("").unwrap().max_tokens, Some(16), "OpenAI's default");
    assert_eq!(Ask::completion(br#"{"prompt": "a"}"#).unwrap().model, None);
}

#[test]
fn what_is_harmless_or_says_nothing_is_ignored() {
    let ignored = r#""user": "u", "store": true, "metadata": {"a": 1}, "service_tier": "auto", "tools": [],
        "tools": null, "n": 1, "response_format": {"type": "text"}, "tool_choice": "none", "modalities": ["text"],
        "temperature": null, "stop": null, "stream": null, "seed": null, "parallel_tool_calls": true"#;
    assert_eq!(chat(ignored), chat(""));
    assert_eq!(completion(r#""best_of": 1, "suffix": null, "user": "u""#), completion(""));
}

#[test]
fn roles_and_parts_are_read() {
    let found = turns(
        r#"[{"role": "developer", "content": "d"}, {"role": "system", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n"},
            {"role": "assistant", "content": "c", "tool_calls": []}]"#,
    );
    let expected = [(Role::System, "d"), (Role::System, ""), (Role::User, "ab"), (Role::Assistant, "c")];
    assert_eq!(found.unwrap(), expected.map(|(role, text)| Turn::new(role, text)));
}

#[test]
fn prompts_are_texts_or_ids() {
    let text = |text: &str| Prompt::Text(text.to_owned());
    let cases = [
        (r#""a""#, vec![text("a")]),
        (r#"["a", "b"]"#, vec![text("a"), text("b")]),
        ("[1, 2]", vec![Prompt::Ids(vec![1, 2])]),
        ("[[1, 2], [3]]", vec![Prompt::Ids(vec![1, 2]), Prompt::Ids(vec![3])]),
        (r#"["a", [3]]"#, vec![text("a"), Prompt::Ids(vec![3])]),
    ];
    for (prompt, expected) in cases {
        assert_eq!(prompts(prompt).unwrap(), expected, "{prompt}");
    }
}

#[test]
fn settings_are_read() {
    let ask = chat(
        r#""temperature": 0.5, "top_p": 0, "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.5,
            "presence_penalty": -2, "frequency_penalty": 2, "logit_bias": {"3": -100}, "seed": -1,
            "max_tokens": 5, "max_completion_tokens": 7, "stop": ["a", "b"], "logprobs": true, "top_logprobs": 2,
            "stream": true, "stream_options": {"include_usage": true},
            "chat_template_kwargs": {"enable_thinking": false}"#,
    )
    .unwrap();
    assert_eq!((ask.max_tokens, ask.logprobs, ask.stream, ask.include_usage), (Some(7), Some(2), true, true));
    assert_eq!(ask.stop, ["a", "b"]);
    assert!(matches!(ask.input, Input::Chat { enable_thinking: Some(false), .. }));
    let defaults = Sampling { temperature: 0.6, top_k: 20, ..Sampling::default() };
    let sampling = ask.sampling.apply(&defaults, 4, false, 9).unwrap();
    let expected = Sampling {
        temperature: 0.5,
        top_k: 0,
        top_p: f32::MIN_POSITIVE,
        min_p: 0.1,
        repetition_penalty: 1.5,
        presence_penalty: -2.0,
        frequency_penalty: 2.0,
        logit_bias: [(3, -100.0)].into(),
        seed: u64::MAX,
    };
    assert_eq!(sampling, expected);
    let defaults = chat("").unwrap().sampling.apply(&defaults, 4, false, 9).unwrap();
    assert_eq!(
        (defaults.temperature, defaults.top_k, defaults.seed),
        (0.6, 20, 9),
        "what is not said is the model's"
    );
}

#[test]
fn a_model_that_picks_tokens_itself_is_greedy() {
    let recommended = Sampling { temperature: 0.6, ..Sampling::default() };
    let apply = |more: &str| chat(more).unwrap().sampling.apply(&recommended, 9, true, 0);
    assert!(apply("").unwrap().takes_any_model());
    assert!(apply(r#""temperature": 0, "top_p": 0.5"#).unwrap().takes_any_model());
    let cases = [
        ("temperature", r#""temperature": 0.1"#),
        ("frequency_penalty", r#""frequency_penalty": 1"#),
        ("logit_bias", r#""logit_bias": {"1": 1}"#),
    ];
    for (field, more) in cases {
        assert_eq!(apply(more).unwrap_err().param.as_deref(), Some(field));
    }
}

#[test]
fn faults_of_conversations_name_their_field() {
    let cases = [
        (r#""tools": [{"type": "function"}]"#, "unsupported_parameter", "tools"),
        (r#""tool_choice": {"type": "function"}"#, "unsupported_parameter", "tool_choice"),
        (r#""response_format": {"type": "json_object"}"#, "unsupported_parameter", "response_format"),
        (r#""response_format": "json""#, "invalid_type", "response_format"),
        (r#""n": 2"#, "unsupported_parameter", "n"),
        (r#""n": "1""#, "invalid_type", "n"),
        (r#""audio": {}"#, "unsupported_parameter", "audio"),
        (r#""modalities": ["text", "audio"]"#, "unsupported_parameter", "modalities[1]"),
        (r#""temperature": "hot""#, "invalid_type", "temperature"),
        (r#""temperature": 2.5"#, "invalid_value", "temperature"),
        (r#""temperature": -0.1"#, "invalid_value", "temperature"),
        (r#""top_p": 1.5"#, "invalid_value", "top_p"),
        (r#""top_k": 1.5"#, "invalid_value", "top_k"),
        (r#""top_k": -2"#, "invalid_value", "top_k"),
        (r#""repetition_penalty": 0"#, "invalid_value", "repetition_penalty"),
        (r#""max_tokens": 0"#, "invalid_value", "max_tokens"),
        (r#""max_completion_tokens": -1"#, "invalid_value", "max_completion_tokens"),
        (r#""seed": 1.5"#, "invalid_value", "seed"),
        (r#""seed": 1e30"#, "invalid_value", "seed"),
        (r#""seed": "x""#, "invalid_type", "seed"),
        (r#""logit_bias": {"x": 1}"#, "invalid_value", "logit_bias"),
        (r#""logit_bias": {"+1": 1}"#, "invalid_value", "logit_bias"),
        (r#""logit_bias": {"1": 101}"#, "invalid_value", "logit_bias.1"),
        (r#""logit_bias": {"1": "a"}"#, "invalid_type", "logit_bias.1"),
        (r#""logit_bias": [1]"#, "invalid_type", "logit_bias"),
        (r#""stop": ["a", "b", "c", "d", "e"]"#, "invalid_value", "stop"),
        (r#""stop": ["a", 1]"#, "invalid_type", "stop[1]"),
        (r#""stop": """#, "invalid_value", "stop"),
        (r#""stop": 1"#, "invalid_type", "stop"),
        (r#""stream": 1"#, "invalid_type", "stream"),
        (r#""stream_options": {"include_usage": true}"#, "invalid_value", "stream_options"),
        (
            r#""stream": true, "stream_options": {"include_usage": 1}"#,
            "invalid_type",
            "stream_options.include_usage",
        ),
        (r#""logprobs": 3"#, "invalid_type", "logprobs"),
        (r#""top_logprobs": 3"#, "invalid_value", "top_logprobs"),
        (r#""logprobs": true, "top_logprobs": 21"#, "invalid_value", "top_logprobs"),
        (r#""chat_template_kwargs": {"x": 1}"#, "unsupported_parameter", "chat_template_kwargs.x"),
        (
            r#""chat_template_kwargs": {"enable_thinking": 1}"#,
            "invalid_type",
            "chat_template_kwargs.enable_thinking",
        ),
    ];
    for (more, code, param) in cases {
        let problem =
            chat(more).and_then(|ask| ask.sampling.apply(&Sampling::default(), 9, false, 0).map(|_| ask));
        let problem = problem.unwrap_err();
        assert_eq!(
            (problem.status, problem.code, problem.param.as_deref()),
            (400, Some(code), Some(param)),
            "{more}"
        );
        assert!(problem.message.contains(param), "{more}: {}", problem.message);
    }
}

#[test]
fn faults_of_messages_name_their_place() {
    let cases = [
        ("[]", "messages"),
        ("{}", "messages"),
        ("[1]", "messages[0]"),
        (r#"[{"content": "a"}]"#, "messages[0].role"),
        (r#"[{"role": "tool", "content": "a"}]"#, "messages[0].role"),
        (r#"[{"role": "poet", "content": "a"}]"#, "messages[0].role"),
        (r#"[{"role": "user", "content": "a"}, {"role": "user"}]"#, "messages[1].content"),
        (r#"[{"role": "user", "content": 1}]"#, "messages[0].content"),
        (r#"[{"role": "user", "content": ["a"]}]"#, "messages[0].content[0]"),
        (r#"[{"role": "user", "content": [{"type": "image_url"}]}]"#, "messages[0].content[0]"),
        (r#"[{"role": "user", "content": [{"type": "text"}]}]"#, "messages[0].content[0].text"),
        (r#"[{"role": "assistant", "content": null, "tool_calls": [{}]}]"#, "messages[0].tool_calls"),
    ];
    for (messages, place) in cases {
        let problem = turns(messages).unwrap_err();
        assert_eq!((problem.status, problem.param.as_deref()), (400, Some(place)), "{messages}");
    }
}

#[test]
fn faults_of_prompts_name_their_field() {
    let cases = [
        (r#"{"model": "m"}"#, "prompt"),
        (r#"{"model": 1, "prompt": "a"}"#, "model"),
        (r#"{"model": "m", "prompt": 1}"#, "prompt"),
        (r#"{"model": "m", "prompt": []}"#, "prompt"),
        (r#"{"model": "m", "prompt": [1, "a"]}"#, "prompt[1]"),
        (r#"{"model": "m", "prompt": [1, -1]}"#, "prompt[1]"),
        (r#"{"model": "m", "prompt": [[1], [4294967296]]}"#, "prompt[1][0]"),
        (r#"{"model": "m", "prompt": ["a", {}]}"#, "prompt[1]"),
        (r#"{"model": "m", "prompt": "a", "suffix": "b"}"#, "suffix"),
        (r#"{"model": "m", "prompt": "a", "best_of": 2}"#, "best_of"),
        (r#"{"model": "m", "prompt": "a", "echo": true, "logprobs": 1}"#, "logprobs"),
        (r#"{"model": "m", "prompt": "a", "max_completion_tokens": 1}"#, "max_completion_tokens"),
        (r#"{"model": "m", "prompt": "a", "top_logprobs": 1}"#, "top_logprobs"),
        (r#"{"model": "m", "prompt": "a", "chat_template_kwargs": {}}"#, "chat_template_kwargs"),
    ];
    for (body, param) in cases {
        let problem = Ask::completion(body.as_bytes()).unwrap_err();
        assert_eq!((problem.status, problem.param.as_deref()), (400, Some(param)), "{body}");
    }
}

#[test]
fn json_that_is_none_is_told_with_its_place() {
    let problem = Ask::chat(b"{\"model\": \"m\",\n  \"messages\" []}").unwrap_err();
    assert_eq!((problem.status, problem.code), (400, Some("invalid_json")));
    assert!(problem.message.contains("line 2 column 14"), "{}", problem.message);
    for body in [&b""[..], b"[1]", b"{\"model\": \"\xff\"}", &[b'['; 100_000]] {
        assert_eq!(Ask::chat(body).unwrap_err().status, 400);
    }
    let body = Problem::missing("prompt").body().to_string();
    assert!(body.starts_with(r#"{"error":{"message":"Missing"#), "{body}");
}

#[test]
fn stop_strings_have_a_length() {
    assert_eq!(chat(&format!(r#""stop": "{}""#, "a".repeat(1024))).unwrap().stop[0].len(), 1024);
    let problem = chat(&format!(r#""stop": ["b", "{}"]"#, "a".repeat(1025))).unwrap_err();
    assert_eq!((problem.code, problem.param.as_deref()), (Some("invalid_value"), Some("stop")));
}

#[test]
fn what_is_not_done_is_refused_by_completions_and_conversations_alike() {
    for (more, param) in [
        (r#""tools": [{}]"#, "tools"),
        (r#""response_format": {"type": "json_object"}"#, "response_format"),
        (r#""suffix": "x""#, "suffix"),
        (r#""best_of": 2"#, "best_of"),
        (r#""guided_choice": ["a"]"#, "guided_choice"),
        (r#""min_tokens": 3"#, "min_tokens"),
        (r#""ignore_eos": true"#, "ignore_eos"),
    ] {
        let completion = format!(r#"{{"prompt": "a", {more}}}"#);
        for refused in [chat(more), Ask::completion(completion.as_bytes())] {
            let problem = refused.unwrap_err();
            assert_eq!(
                (problem.code, problem.param.as_deref()),
                (Some("unsupported_parameter"), Some(param))
            );
        }
    }
}

#[test]
fn fields_that_ask_for_nothing_are_harmless() {
    chat(r#""tools": [], "ignore_eos": false, "min_tokens": 0, "stop_token_ids": [], "user": "u""#).unwrap();
}

#[test]
fn any_number_of_tokens_may_be_asked_for() {
    assert_eq!(chat(r#""max_tokens": 4294967296"#).unwrap().max_tokens, Some(1 << 32));
}
