//! What clients ask: the bodies of OpenAI's requests, checked.
//!
//! Fields that other servers know, and that ask for what is not done here, are refused by their names; all others are ignored.
//! `null` is the same as nothing.

mod chat;
mod completion;
mod fields;
mod sampling;

use anelith_chat::{Sampling, Turn};
use serde_json::Value;

use crate::problem::Problem;
use fields::Fields;
pub(crate) use sampling::Changes;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    /// Which model; the one that there is, where a request does not say.
    pub(crate) model: Option<String>,
    pub(crate) input: Input,
    /// The most tokens of the answer, where the request says.
    pub(crate) max_tokens: Option<usize>,
    /// The field that says so, for errors.
    pub(crate) max_tokens_field: &'static str,
    /// What ends the answer, and is not part of it.
    pub(crate) stop: Vec<String>,
    pub(crate) sampling: Changes,
    /// Of how many of the likeliest tokens the probabilities are told beside that of the one chosen; `None`: of none at all.
    pub(crate) logprobs: Option<usize>,
    pub(crate) stream: bool,
    /// Whether a stream ends with the numbers of tokens.
    pub(crate) include_usage: bool,
}

/// What is to be continued.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    /// A conversation.
    Chat { turns: Vec<Turn>, enable_thinking: Option<bool> },
    /// Texts, or tokens, each by itself.
    Completion { prompts: Vec<Prompt>, echo: bool },
}

/// A text to continue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// The most prompts of one completion.
const MOST_PROMPTS: usize = 128;

/// The most stop strings.
const MOST_STOPS: usize = 4;

/// The most bytes of one: all of it is looked for after each token.
const MOST_STOP_BYTES: usize = 1024;

/// The most alternatives of a token that are told.
const MOST_LOGPROBS: u64 = 20;

/// Reads the body of a request for a conversation, or else for a completion, and what it says of sampling with a model of
/// `vocab_size` tokens that does not sample by itself.
///
/// # Errors
/// The status and the body that the request is refused with.
pub fn read_request(body: &[u8], is_chat: bool, vocab_size: usize) -> Result<Sampling, (u16, Value)> {
    let ask = if is_chat { Ask::chat(body) } else { Ask::completion(body) };
    let sampling = ask.and_then(|ask| ask.sampling.apply(&Sampling::default(), vocab_size, false, 0));
    sampling.map_err(|problem| (problem.status, problem.body()))
}

impl Ask {
    /// Reads the body of `POST /v1/chat/completions`.
    pub(crate) fn chat(body: &[u8]) -> Result<Ask, Problem> {
        let value = parse(body)?;
        let fields = Fields::of_body(&value)?;
        refuse_unsupported(&fields)?;
        let (key, max_tokens) = match fields.integer("max_completion_tokens", 1, u64::MAX)? {
            Some(most) => ("max_completion_tokens", Some(most)),
            None => ("max_tokens", fields.integer("max_tokens", 1, u64::MAX)?),
        };
        let input =
            Input::Chat { turns: chat::turns(&fields)?, enable_thinking: chat::enable_thinking(&fields)? };
        let logprobs = chat::logprobs(&fields)?;
        Ask::common(&fields, input, key, max_tokens.map(|most| most as usize), logprobs)
    }

    /// Reads the body of `POST /v1/completions`.
    pub(crate) fn completion(body: &[u8]) -> Result<Ask, Problem> {
        let value = parse(body)?;
        let fields = Fields::of_body(&value)?;
        refuse_unsupported(&fields)?;
        refuse(&fields, &completion::REFUSED)?;
        let most = fields.integer("max_tokens", 0, u64::MAX)?.unwrap_or(completion::MAX_TOKENS);
        let echo = fields.boolean("echo")?.unwrap_or(false);
        let logprobs = fields.integer("logprobs", 0, MOST_LOGPROBS)?.map(|n| n as usize);
        if echo && logprobs.is_some() {
            let why = "probabilities of the prompt's own tokens are not computed here; leave out 'echo' or 'logprobs'";
            return Err(Problem::unsupported("logprobs", why));
        }
        let input = Input::Completion { prompts: completion::prompts(&fields)?, echo };
        Ask::common(&fields, input, "max_tokens", Some(most as usize), logprobs)
    }

    fn common(
        fields: &Fields<'_>,
        input: Input,
        max_tokens_field: &'static str,
        max_tokens: Option<usize>,
        logprobs: Option<usize>,
    ) -> Result<Ask, Problem> {
        let model = fields.text("model")?.map(str::to_owned);
        if fields.integer("n", 1, 128)?.unwrap_or(1) != 1 {
            return Err(Problem::unsupported(
                "n",
                "one answer to each request is given here; 'n' can be 1 only",
            ));
        }
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let include_usage = match fields.object("stream_options")? {
            None => false,
            Some(_) if !stream => {
                let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
                return Err(Problem::bad("invalid_value", message).of("stream_options"));
            }
            Some(options) => options.boolean("include_usage")?.unwrap_or(false),
        };
        let stop = stops(fields)?;
        let sampling = Changes::read(fields)?;
        Ok(Ask {
            model,
            input,
            max_tokens,
            max_tokens_field,
            stop,
            sampling,
            logprobs,
            stream,
            include_usage,
        })
    }
}

/// The body as JSON, with the place of a fault.
fn parse(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|fault| {
        let message = format!("We could not parse the JSON body of your request: {fault}.");
        Problem::bad("invalid_json", message)
    })
}

/// Refuses fields that ask for what is not done here, of conversations and of completions, whichever this is.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), Problem> {
    refuse(fields, &chat::REFUSED)?;
    chat::refuse_values(fields)?;
    completion::refuse_values(fields)
}

/// Refuses fields by name, unless they say nothing.
fn refuse(fields: &Fields<'_>, refused: &[(&'static str, &'static str)]) -> Result<(), Problem> {
    let says_nothing = |value: &Value| match value {
        Value::Bool(is_on) => !is_on,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let found = refused.iter().find(|(key, _)| fields.get(key).is_some_and(|value| !says_nothing(value)));
    found.map_or(Ok(()), |(key, why)| Err(Problem::unsupported(key, why)))
}

/// `stop`: a string, or some.
fn stops(fields: &Fields<'_>) -> Result<Vec<String>, Problem> {
    const EXPECTED: &str = "a string or an array of strings";
    let Some(value) = fields.get("stop") else { return Ok(Vec::new()) };
    let stops = match value {
        Value::String(stop) => vec![stop.clone()],
        Value::Array(list) if list.len() > MOST_STOPS => {
            return Err(Problem::value("stop", format!("at most {MOST_STOPS} strings"), list.len()));
        }
        Value::Array(list) => {
            let text = |(i, item): (usize, &Value)| {
                let text = item.as_str().map(str::to_owned);
                text.ok_or_else(|| Problem::wrong_type(format!("stop[{i}]"), "a string", item))
            };
            list.iter().enumerate().map(text).collect::<Result<_, _>>()?
        }
        other => return Err(Problem::wrong_type("stop", EXPECTED, other)),
    };
    if stops.iter().any(String::is_empty) {
        return Err(Problem::value("stop", "strings of at least one character", "an empty string"));
    }
    if let Some(stop) = stops.iter().find(|stop| stop.len() > MOST_STOP_BYTES) {
        let expected = format!("strings of at most {MOST_STOP_BYTES} bytes");
        return Err(Problem::value("stop", expected, format!("one of {}", stop.len())));
    }
    Ok(stops)
}

#[cfg(test)]
mod tests;
