//! Rendered conversations against what transformers recorded, and the Python in templates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use anelith_report::Reported;

use super::{RenderOptions, Role, Template, Turn};
use crate::fixtures::{Files, directory, ids, json, shared};
use crate::{Error, Kind, Tokenizer};

const OPTIONS: RenderOptions =
    RenderOptions { add_generation_prompt: true, enable_thinking: None, now: UNIX_EPOCH };

fn turns(messages: &serde_json::Value) -> Vec<Turn> {
    let role = |name: &str| match name {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => panic!("role {other}"),
    };
    let messages = messages.as_array().unwrap().iter();
    messages.map(|m| Turn::new(role(m["role"].as_str().unwrap()), m["content"].as_str().unwrap())).collect()
}

/// What `source` renders for one question, "hi".
fn render(source: &str, options: RenderOptions) -> Result<String, Error> {
    let special = BTreeMap::from([("eos_token", "</s>".to_owned())]);
    Template::new(PathBuf::from("chat_template.jinja"), source, &special)?
        .render(&[Turn::new(Role::User, "hi")], options)
}

#[test]
fn conversations_have_the_recorded_text_and_ids() {
    let mut rendered = 0;
    for name in ["qwen3", "deepseek-r1-distill-llama", "smollm2", "tinyllama"] {
        let Some(dir) = shared(&format!("data/tokenizers/{name}")) else {
            return;
        };
        let tokenizer = Tokenizer::open(&dir).unwrap();
        let template = Template::open(&dir, tokenizer.named_tokens()).unwrap();
        for case in json(&dir.join("golden.json"))["chat"].as_array().unwrap() {
            let options =
                RenderOptions { enable_thinking: case["args"]["enable_thinking"].as_bool(), ..OPTIONS };
            let turns = turns(&case["messages"]);
            let text = template.as_ref().unwrap().render(&turns, options).unwrap();
            assert_eq!(text, case["text"].as_str().unwrap(), "{name}");
            assert_eq!(tokenizer.encode(&text, false).unwrap(), ids(&case["ids"]), "{name}");
            rendered += 1;
        }
    }
    assert_eq!(rendered, 16);
}

#[test]
fn a_model_without_a_template_has_none() {
    let Some(dir) = shared("data/tokenizers/smollm2") else {
        return;
    };
    assert!(Template::open(&dir, &BTreeMap::new()).unwrap().is_none());
}

#[test]
fn the_demo_model_keeps_its_template_in_a_file_of_its_own() {
    let Some(dir) = shared("demo-model/demo-qwen3") else {
        return;
    };
    let tokenizer = Tokenizer::open(&dir).unwrap();
    let template = Template::open(&dir, tokenizer.named_tokens()).unwrap().unwrap();
    let turns = [Turn::new(Role::User, "Who are you?")];
    let text = template.render(&turns, OPTIONS).unwrap();
    assert_eq!(text, "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n");
    let ids = tokenizer.encode(&text, false).unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == 1).count(), 2, "two turns begin: {ids:?}");
    assert_eq!(ids.iter().filter(|&&id| id == 2).count(), 1, "one turn ends: {ids:?}");
}

#[test]
fn the_jinja_file_wins_and_the_default_of_a_list_is_taken() {
    let string = r#"{"chat_template": "config"}"#;
    let list = r#"{"chat_template": [{"name": "tool_use", "template": "tools"},
                                     {"name": "default", "template": "listed"}]}"#;
    let cases: [(Files<'_>, Option<&str>); 5] = [
        (&[("tokenizer_config.json", string)], Some("config")),
        (&[("tokenizer_config.json", list)], Some("listed")),
        (&[("tokenizer_config.json", string), ("chat_template.jinja", "file")], Some("file")),
        (&[("tokenizer_config.json", r#"{"chat_template": null}"#)], None),
        (&[], None),
    ];
    for (files, expected) in cases {
        let template = Template::open(directory(files).path(), &BTreeMap::new()).unwrap();
        let text = template.map(|t| t.render(&[], OPTIONS).unwrap());
        assert_eq!(text.as_deref(), expected, "{files:?}");
    }
}

#[test]
fn templates_see_what_transformers_gives_them() {
    let cases = [
        ("{{ bos_token }}{{ eos_token }}", "</s>"),
        ("{{ tools is none }} {{ documents is none }}", "True True"),
        ("{{ enable_thinking is defined }}", "False"),
        ("{{ messages | tojson }}", r#"[{"role": "user", "content": "hi"}]"#),
        ("{{ {'a': [1, 'é<&>\\'']} | tojson }}", r#"{"a": [1, "é<&>'"]}"#),
        ("{{ {'a': [1], 'b': []} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ],\n  \"b\": []\n}"),
        ("{{ strftime_now('%d %b %Y') }}", "01 Jan 1970"),
        ("{{ '</think>x'.split('</think>')[-1].strip() }}", "x"),
        (
            "{% for m in messages[::-1] %}\n  {% if m.role == 'user' %}\n{{ m['content'] }}\n  {% endif %}\n{% endfor %}\n",
            "hi\n",
        ),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("a\r\nb\r\n", "a\nb"),
        ("a {%- generation -%} b {%- endgeneration %} c", "ab c"),
        (
            "{%- if messages[0]['role'] == 'system' %}\n{%- else %}\n  {%- set m = messages[0:] %}\n{%- endif %}\n{{ m | length }}",
            "1",
        ),
        ("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join }}", "hi"),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}", "<a>"),
        ("{{ 'a' ~ 1 ~ none ~ true }}", "a1NoneTrue"),
        ("{{ messages[0].get('name', 'd') }}{{ undefined_name }}", "d"),
        ("{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ loop.last }}{% endfor %}", "1True"),
        ("{{ '{%' }} generation", "{% generation"),
        ("{%- set a, b = 1, '%}=' -%} {{ a ~ b }}", "1%}="),
        ("{% set x = 'a' if messages else 'b' +%}{{ x }}", "a"),
        (
            "{% set n = namespace(i=1) %}{% for m in messages %}{% set n.i = [n.i + 1, m] %}{% endfor %}{{ n.i[0] }}",
            "2",
        ),
        ("{% set x | upper %}a = b{% endset %}{{ x }}", "A = B"),
        (
            "{% raw %}{% set x.y = 1 %}{% endraw %}{# {% it's #}{% set x = {'k': 1 == 1} %}{{ x.k }}",
            "{% set x.y = 1 %}True",
        ),
        ("{% set messages = messages[1:] %}{{ messages | length }}", "0"),
        ("{{ '{:>4}'.format('a') }}", "   a"),
    ];
    for (source, text) in cases {
        assert_eq!(render(source, OPTIONS).unwrap(), text, "{source}");
    }
    let options = RenderOptions {
        add_generation_prompt: false,
        enable_thinking: Some(false),
        now: UNIX_EPOCH + Duration::from_secs(1_709_251_199),
    };
    let source = "{{ add_generation_prompt }} {{ enable_thinking }} {{ strftime_now('%F') }}";
    assert_eq!(render(source, options).unwrap(), "False False 2024-02-29");
}

#[test]
fn refusals_carry_the_reason_and_the_line() {
    let cases = [
        ("{% if %}", Kind::Malformed, "line 1", "unexpected"),
        (
            "a\n{{ raise_exception('roles must alternate') }}",
            Kind::Unsupported,
            "line 2",
            "roles must alternate",
        ),
        ("{{ strftime_now('%Q') }}", Kind::Unsupported, "line 1", "`%Q`"),
        ("{{ messages[7].role }}", Kind::Unsupported, "line 1", "undefined"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            Kind::Unsupported,
            "line 1",
            "fuel",
        ),
        ("{{ 1 | tojson(ensure_ascii=true) }}", Kind::Unsupported, "line 1", "ensure_ascii"),
    ];
    for (source, kind, line, reason) in cases {
        let error = render(source, OPTIONS).unwrap_err();
        assert_eq!(error.kind(), kind, "{source}");
        let (location, found) = (error.location().unwrap(), error.found().unwrap());
        assert!(location.contains("chat_template.jinja") && location.contains(line), "{location}");
        assert!(found.contains(reason), "{source}: {found}");
    }
    let nameless = r#"{"chat_template": [{"name": "rag", "template": ""}]}"#;
    let dir = directory(&[("tokenizer_config.json", nameless)]);
    let error = Template::open(dir.path(), &BTreeMap::new()).unwrap_err();
    assert_eq!((error.kind(), error.found()), (Kind::Unsupported, Some("rag")));
}

/// Each of these ended the stack, or took all memory.
#[test]
fn templates_that_grow_without_end_are_refused() {
    let repeat = |part: &str| format!("{{{{ a{} }}}}", part.repeat(100_000));
    let grown = |start: &str, step: &str| {
        format!(
            "{{% set n = namespace(a={start}) %}}{{% for i in range(100000) %}}{{% set n.a = {step} %}}{{% endfor %}}{{{{ n.a }}}}"
        )
    };
    let cases = [
        ("a".repeat(300_000), "template of"),
        (repeat("+1"), "tag of"),
        (repeat(".a")[..100_000].to_owned() + "}}", "tag of"),
        (format!("{{{{ {}1 }}}}", "not ".repeat(10_000)), "tag of"),
        (format!("{{% if {}1 %}}{{% endif %}}", "-".repeat(100_000)), "tag of"),
        (grown("[]", "[n.a]"), "nests deeper"),
        (grown("'a'", "n.a ~ n.a"), "fuel"),
        (grown("[1]", "n.a + n.a"), "grows beyond"),
        ("{% set n = namespace() %}{% set n.a = n %}{{ n }}".to_owned(), "a namespace is kept"),
        (
            "{% set n = namespace() %}{% set n.a = [{'b': n}] %}{{ n | tojson }}".to_owned(),
            "a namespace is kept",
        ),
        ("{% set x = [1, 2] %}".to_owned() + &"{% set x = [x, x] %}".repeat(40), "deeper"),
        (
            "{% set l = range(9999) | list %}{% for i in range(100000) %}{% set x = l %}{% endfor %}"
                .to_owned(),
            "fuel",
        ),
        ("{{ '{:>10000000000}'.format('a') }}".to_owned(), "more than 4 digits"),
    ];
    for (source, reason) in cases {
        let error = render(&source, OPTIONS).unwrap_err();
        let found = error.found().unwrap();
        assert!(found.contains(reason), "{reason}: {found}");
    }
}

/// The library takes a filter for a name there, and panics.
#[test]
fn an_import_under_an_expression_is_refused() {
    let error = render("{% import 'chat_template' as t|max %}", OPTIONS).unwrap_err();
    assert_eq!(error.kind(), Kind::Malformed);
}

/// What the limits let through fits the stack that it is given.
#[test]
fn the_largest_tags_and_values_render() {
    let chain = format!("{{{{ 1{} }}}}", "+1".repeat(8000));
    assert_eq!(render(&chain, OPTIONS).unwrap(), "8001");
    for operator in ["-", "not "] {
        let chain = format!("{{{{ {}1 }}}}", operator.repeat(4000));
        assert!(render(&chain, OPTIONS).is_ok(), "{operator}");
    }
    for part in [".a", "|upper", " if a else a", "()", "[0]", " ~ a", " and a"] {
        let _ = render(&format!("{{{{ a{} }}}}", part.repeat(16_000 / part.len())), OPTIONS);
    }
    let nested = "{% set x = [1] %}".to_owned() + &"{% set x = [x] %}".repeat(10) + "{{ x }}";
    assert_eq!(render(&nested, OPTIONS).unwrap(), "[[[[[[[[[[[1]]]]]]]]]]]");
}
