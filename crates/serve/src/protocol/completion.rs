//! The fields of texts to continue.

use serde_json::Value;

use super::fields::Fields;
use super::{MOST_PROMPTS, Prompt};
use crate::problem::Problem;

/// How many tokens OpenAI continues with where nobody says.
pub(super) const MAX_TOKENS: u64 = 16;

/// Fields of conversations that would do nothing here, and what to do instead.
pub(super) const REFUSED: [(&str, &str); 3] = [
    ("max_completion_tokens", "of a completion 'max_tokens' tells the most tokens"),
    ("top_logprobs", "of a completion 'logprobs' is the number itself"),
    ("chat_template_kwargs", "a completion has no template"),
];

/// Refuses fields that may have one value only.
pub(super) fn refuse_values(fields: &Fields<'_>) -> Result<(), Problem> {
    if fields.integer("best_of", 1, 20)?.unwrap_or(1) != 1 {
        return Err(Problem::unsupported(
            "best_of",
            "one answer to each prompt is made here; it can be 1 only",
        ));
    }
    if fields.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(Problem::unsupported("suffix", "text is continued, not filled in"));
    }
    Ok(())
}

/// `prompt`: a text, some texts, the ids of one, or of some.
pub(super) fn prompts(fields: &Fields<'_>) -> Result<Vec<Prompt>, Problem> {
    let value = fields.get("prompt").ok_or_else(|| Problem::missing("prompt"))?;
    let list = match value {
        Value::String(text) => return Ok(vec![Prompt::Text(text.clone())]),
        Value::Array(list) => list,
        other => return Err(Problem::wrong_type("prompt", EXPECTED, other)),
    };
    if list.first().is_some_and(Value::is_number) {
        return Ok(vec![Prompt::Ids(ids("prompt", list)?)]);
    }
    if list.is_empty() || list.len() > MOST_PROMPTS {
        return Err(Problem::value("prompt", format!("1 to {MOST_PROMPTS} prompts"), list.len()));
    }
    let one = |(i, value): (usize, &Value)| match value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(list) => ids(&format!("prompt[{i}]"), list).map(Prompt::Ids),
        other => Err(Problem::wrong_type(format!("prompt[{i}]"), "a string or an array of token ids", other)),
    };
    list.iter().enumerate().map(one).collect()
}

const EXPECTED: &str = "a string, an array of strings, or token ids";

fn ids(path: &str, list: &[Value]) -> Result<Vec<u32>, Problem> {
    let id = |(i, value): (usize, &Value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| Problem::value(format!("{path}[{i}]"), "a token id", value))
    };
    list.iter().enumerate().map(id).collect()
}
