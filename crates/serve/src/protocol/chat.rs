//! The fields of a conversation.

use anelith_chat::{Role, Turn};
use serde_json::Value;

use super::MOST_LOGPROBS;
use super::fields::Fields;
use crate::problem::Problem;

/// What is refused, and why.
pub(super) const REFUSED: [(&str, &str); 14] = [
    ("tools", NO_TOOLS),
    ("functions", NO_TOOLS),
    ("function_call", NO_TOOLS),
    ("audio", "answers are text"),
    ("prediction", "it is not done here"),
    ("web_search_options", "nothing is searched here"),
    ("guided_json", NO_FORM),
    ("guided_regex", NO_FORM),
    ("guided_choice", NO_FORM),
    ("guided_grammar", NO_FORM),
    ("structured_outputs", NO_FORM),
    ("ignore_eos", OWN_END),
    ("min_tokens", OWN_END),
    ("stop_token_ids", OWN_END),
];

const NO_TOOLS: &str = "models call no tools here";
const NO_FORM: &str = "answers are not held to a form";
const OWN_END: &str = "answers end where the model ends them, at 'stop', or after 'max_tokens'";

/// The most messages of a conversation.
const MOST_MESSAGES: usize = 10_000;

/// Refuses fields that may have one value only.
pub(super) fn refuse_values(fields: &Fields<'_>) -> Result<(), Problem> {
    if fields.get("tool_choice").is_some_and(|choice| !matches!(choice.as_str(), Some("none" | "auto"))) {
        return Err(Problem::unsupported("tool_choice", NO_TOOLS));
    }
    if let Some(format) = fields.object("response_format")? {
        let kind = format.text("type")?.ok_or_else(|| Problem::missing("response_format.type"))?;
        if kind != "text" {
            let why = format!("{NO_FORM}; the type can be 'text' only");
            return Err(Problem::unsupported("response_format", why));
        }
    }
    for (i, item) in fields.array("modalities")?.into_iter().flatten().enumerate() {
        if item.as_str() != Some("text") {
            return Err(Problem::unsupported(format!("modalities[{i}]"), "answers are text"));
        }
    }
    Ok(())
}

/// `messages`.
pub(super) fn turns(fields: &Fields<'_>) -> Result<Vec<Turn>, Problem> {
    let messages = fields.array("messages")?.ok_or_else(|| Problem::missing("messages"))?;
    if messages.is_empty() || messages.len() > MOST_MESSAGES {
        let expected = format!("1 to {MOST_MESSAGES} messages");
        return Err(Problem::value("messages", expected, messages.len()));
    }
    messages.iter().enumerate().map(|(i, message)| turn(&format!("messages[{i}]"), message)).collect()
}

fn turn(path: &str, message: &Value) -> Result<Turn, Problem> {
    let message = Fields::at(path, message)?;
    let name = message.name("role");
    let role = message.text("role")?.ok_or_else(|| Problem::missing(&name))?;
    let role = match role {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => return Err(Problem::unsupported(name, NO_TOOLS)),
        other => {
            let other: String = other.chars().take(50).collect();
            let expected = "'system', 'developer', 'user' or 'assistant'";
            return Err(Problem::value(name, expected, format!("'{other}'")));
        }
    };
    for key in ["tool_calls", "function_call"] {
        if message.get(key).is_some_and(|calls| calls.as_array().is_none_or(|calls| !calls.is_empty())) {
            return Err(Problem::unsupported(message.name(key), NO_TOOLS));
        }
    }
    let content = message.get("content").ok_or_else(|| Problem::missing(message.name("content")))?;
    Ok(Turn::new(role, text(&message.name("content"), content)?))
}

/// What is said: a string, or parts of text, which are put together as they are.
fn text(path: &str, content: &Value) -> Result<String, Problem> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            parts.iter().enumerate().map(|(i, value)| part(&format!("{path}[{i}]"), value)).collect()
        }
        other => Err(Problem::wrong_type(path, "a string or an array of parts", other)),
    }
}

fn part<'a>(path: &str, value: &'a Value) -> Result<&'a str, Problem> {
    let part = Fields::at(path, value)?;
    match part.text("type")?.ok_or_else(|| Problem::missing(part.name("type")))? {
        "text" => part.text("text")?.ok_or_else(|| Problem::missing(part.name("text"))),
        other => {
            let other: String = other.chars().take(50).collect();
            Err(Problem::unsupported(
                path,
                format!("parts of the type '{other}' are not read here, only 'text'"),
            ))
        }
    }
}

/// `chat_template_kwargs`, of which `enable_thinking` is known.
pub(super) fn enable_thinking(fields: &Fields<'_>) -> Result<Option<bool>, Problem> {
    let Some(settings) = fields.object("chat_template_kwargs")? else { return Ok(None) };
    if let Some((key, _)) = settings.entries().find(|(key, _)| *key != "enable_thinking") {
        let key: String = key.chars().take(50).collect();
        return Err(Problem::unsupported(settings.name(&key), "templates are told 'enable_thinking' only"));
    }
    settings.boolean("enable_thinking")
}

/// `logprobs` and `top_logprobs`.
pub(super) fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>, Problem> {
    let is_on = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0, MOST_LOGPROBS)?;
    match (is_on, top) {
        (true, top) => Ok(Some(top.unwrap_or(0) as usize)),
        (false, Some(1..)) => {
            let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
            Err(Problem::bad("invalid_value", message).of("top_logprobs"))
        }
        (false, _) => Ok(None),
    }
}
