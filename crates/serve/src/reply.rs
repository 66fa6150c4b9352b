//! What clients are answered: the bodies of OpenAI's responses, whole and in pieces.

use serde_json::{Value, json};

use crate::intake::Usage;
use crate::pieces::{Choice, Piece};
use crate::writer::Part;

/// What is the same in all that is said to one request.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: String,
    pub(crate) is_chat: bool,
    pub(crate) has_logprobs: bool,
    pub(crate) include_usage: bool,
}

/// What was said to one prompt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) choices: Vec<(usize, Choice)>,
    pub(crate) usage: Option<Usage>,
}

impl Answer {
    pub(crate) fn push(&mut self, part: Part) {
        self.text.push_str(&part.text);
        self.choices.extend(part.choices);
    }
}

/// Why an answer ended, in OpenAI's words.
fn reason(usage: Usage) -> &'static str {
    if usage.is_complete { "stop" } else { "length" }
}

/// The tokens of all answers of a request.
pub(crate) fn usage(all: &[Usage]) -> Value {
    let sum = |of: fn(&Usage) -> usize| all.iter().map(of).sum::<usize>();
    let (prompt, generated) = (sum(|u| u.prompt), sum(|u| u.generated));
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": sum(|u| u.cached)},
    })
}

impl Reply {
    /// All answers, in the order of the prompts.
    pub(crate) fn whole(&self, answers: &[Answer]) -> Value {
        let choices: Vec<Value> =
            answers.iter().enumerate().map(|(index, answer)| self.choice(index, answer)).collect();
        let all: Vec<Usage> = answers.iter().filter_map(|answer| answer.usage).collect();
        let object = if self.is_chat { "chat.completion" } else { "text_completion" };
        self.envelope(object, choices, Some(usage(&all)))
    }

    fn choice(&self, index: usize, answer: &Answer) -> Value {
        let reason = answer.usage.map(reason);
        let logprobs = self.logprobs(&answer.choices);
        match self.is_chat {
            true => json!({
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": null},
                "logprobs": logprobs,
                "finish_reason": reason,
            }),
            false => json!({
                "index": index, "text": answer.text, "logprobs": logprobs, "finish_reason": reason,
            }),
        }
    }

    fn logprobs(&self, choices: &[(usize, Choice)]) -> Value {
        match (self.has_logprobs, self.is_chat) {
            (false, _) => Value::Null,
            (true, true) => {
                let content: Vec<Value> = choices.iter().map(|(_, choice)| chat_logprobs(choice)).collect();
                json!({"content": content, "refusal": null})
            }
            (true, false) => completion_logprobs(choices),
        }
    }

    /// The first piece of a stream: who speaks.
    pub(crate) fn first(&self, index: usize) -> Option<Value> {
        let delta = json!({"role": "assistant", "content": "", "refusal": null});
        self.is_chat.then(|| self.piece(index, delta, Value::Null, None))
    }

    /// More text.
    pub(crate) fn more(&self, index: usize, part: &Part) -> Value {
        let logprobs = self.logprobs(&part.choices);
        match self.is_chat {
            true => self.piece(index, json!({"content": part.text}), logprobs, None),
            false => self.piece(index, json!(part.text), logprobs, None),
        }
    }

    /// The last piece of an answer.
    pub(crate) fn last(&self, index: usize, usage: Usage) -> Value {
        let nothing = if self.is_chat { json!({}) } else { json!("") };
        self.piece(index, nothing, Value::Null, Some(reason(usage)))
    }

    /// The last piece of a stream, where it is asked for.
    pub(crate) fn totals(&self, all: &[Usage]) -> Option<Value> {
        self.include_usage.then(|| self.envelope(self.piece_object(), Vec::new(), Some(usage(all))))
    }

    fn piece(&self, index: usize, content: Value, logprobs: Value, reason: Option<&str>) -> Value {
        let key = if self.is_chat { "delta" } else { "text" };
        let choice = json!({"index": index, key: content, "logprobs": logprobs, "finish_reason": reason});
        self.envelope(self.piece_object(), vec![choice], self.include_usage.then_some(Value::Null))
    }

    fn piece_object(&self) -> &'static str {
        if self.is_chat { "chat.completion.chunk" } else { "text_completion" }
    }

    fn envelope(&self, object: &str, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let mut body = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        });
        if let Some(usage) = usage {
            body["usage"] = usage;
        }
        body
    }
}

fn piece(piece: &Piece) -> Value {
    json!({"token": piece.text, "logprob": piece.logprob, "bytes": piece.bytes})
}

fn chat_logprobs(choice: &Choice) -> Value {
    let mut value = piece(&choice.chosen);
    value["top_logprobs"] = choice.top.iter().map(piece).collect();
    value
}

/// A token by itself; parts of characters are told apart by their bytes, as OpenAI writes them.
fn name(piece: &Piece) -> String {
    match &piece.bytes {
        Some(bytes) if piece.text.contains(char::REPLACEMENT_CHARACTER) => {
            let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{hex}")
        }
        _ => piece.text.clone(),
    }
}

fn completion_logprobs(choices: &[(usize, Choice)]) -> Value {
    let top = |choice: &Choice| -> Value {
        // The token that was chosen is there even when others are likelier.
        let pieces = choice.top.iter().chain([&choice.chosen]);
        pieces.map(|piece| (name(piece), json!(piece.logprob))).collect::<serde_json::Map<_, _>>().into()
    };
    json!({
        "tokens": choices.iter().map(|(_, c)| name(&c.chosen)).collect::<Vec<_>>(),
        "token_logprobs": choices.iter().map(|(_, c)| c.chosen.logprob).collect::<Vec<_>>(),
        "top_logprobs": choices.iter().map(|(_, c)| top(c)).collect::<Vec<_>>(),
        "text_offset": choices.iter().map(|(offset, _)| offset).collect::<Vec<_>>(),
    })
}
