//! Why a request is not answered, in the form of OpenAI's errors.

use std::fmt::Display;

use anelith_chat::Kind;
use anelith_report::Reported;
use serde_json::{Value, json};

/// An error as a client gets it: a status, and a body that says what, of which sort, and which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    /// `type` of the body.
    pub(crate) sort: &'static str,
    pub(crate) code: Option<&'static str>,
    /// The field that is at fault.
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    /// Seconds after which another try is worth it.
    pub(crate) retry_after: Option<u64>,
}

const INVALID: &str = "invalid_request_error";

impl Problem {
    fn new(
        status: u16,
        sort: &'static str,
        code: Option<&'static str>,
        message: impl Into<String>,
    ) -> Problem {
        Problem { status, sort, code, param: None, message: message.into(), retry_after: None }
    }

    /// A request that is wrong by itself.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(400, INVALID, Some(code), message)
    }

    /// Names the field.
    pub(crate) fn of(mut self, param: impl Display) -> Problem {
        self.param = Some(param.to_string());
        self
    }

    /// A field whose value is not what it may be.
    pub(crate) fn value(param: impl Display, expected: impl Display, found: impl Display) -> Problem {
        let found: String = found.to_string().chars().take(100).collect();
        let message = format!("Invalid value for '{param}': expected {expected}, but got {found}.");
        Problem::bad("invalid_value", message).of(param)
    }

    /// A field of another type than it has.
    pub(crate) fn wrong_type(param: impl Display, expected: impl Display, found: &Value) -> Problem {
        let found = describe(found);
        let message = format!("Invalid type for '{param}': expected {expected}, but got {found}.");
        Problem::bad("invalid_type", message).of(param)
    }

    /// A field that asks for what this server does not do.
    pub(crate) fn unsupported(param: impl Display, why: impl Display) -> Problem {
        let message = format!("Unsupported parameter: '{param}': {why}.");
        Problem::bad("unsupported_parameter", message).of(param)
    }

    /// A field that is not there and must be.
    pub(crate) fn missing(param: impl Display) -> Problem {
        let message = format!("Missing required parameter: '{param}'.");
        Problem::bad("missing_required_parameter", message).of(param)
    }

    /// A prompt that the context does not hold.
    pub(crate) fn too_long(param: &str, tokens: usize, context: usize) -> Problem {
        let message = format!(
            "This model's maximum context length is {context} tokens. However, your prompt has {tokens} tokens. \
             Please shorten it."
        );
        Problem::bad("context_length_exceeded", message).of(param)
    }

    /// A model that is not here.
    pub(crate) fn no_model(name: &str, here: &str) -> Problem {
        let name: String = name.chars().take(200).collect();
        let message = format!("The model `{name}` does not exist. This server has `{here}`.");
        Problem::new(404, INVALID, Some("model_not_found"), message).of("model")
    }

    /// A path that is not here.
    pub(crate) fn no_path(method: &str, path: &str) -> Problem {
        let path: String = path.chars().take(200).collect();
        Problem::new(404, INVALID, Some("unknown_url"), format!("Unknown request URL: {method} {path}."))
    }

    /// A path that takes other methods.
    pub(crate) fn no_method(method: &str, path: &str) -> Problem {
        let message = format!("Not allowed to {method} on {path}.");
        Problem::new(405, INVALID, Some("method_not_allowed"), message)
    }

    /// No key, or another one.
    pub(crate) fn no_key(is_given: bool) -> Problem {
        let (code, message) = match is_given {
            true => ("invalid_api_key", "Incorrect API key provided."),
            false => (
                "missing_api_key",
                "You didn't provide an API key. Provide it in an Authorization header: Authorization: Bearer YOUR_KEY.",
            ),
        };
        Problem::new(401, INVALID, Some(code), message)
    }

    /// A request that comes from where it must not.
    pub(crate) fn forbidden(message: impl Into<String>) -> Problem {
        Problem::new(403, INVALID, Some("forbidden"), message)
    }

    /// A body that is not announced as JSON.
    pub(crate) fn not_json() -> Problem {
        let message = "The body must be JSON, with the header Content-Type: application/json.";
        Problem::new(415, INVALID, Some("unsupported_media_type"), message)
    }

    /// A body that is too large.
    pub(crate) fn too_large(most: usize) -> Problem {
        let message = format!("The body is larger than {most} bytes.");
        Problem::new(413, INVALID, Some("request_too_large"), message)
    }

    /// A body that ends before its end.
    pub(crate) fn broken_body() -> Problem {
        Problem::bad("invalid_body", "The body of the request broke off, or its chunks are not well formed.")
    }

    /// A body that did not come in time.
    pub(crate) fn slow_body() -> Problem {
        Problem::new(408, INVALID, Some("request_timeout"), "The body of the request did not arrive in time.")
    }

    /// An answer that was not ready in time.
    pub(crate) fn timeout(seconds: u64) -> Problem {
        let message = format!("The answer took longer than {seconds} seconds, which is the most here.");
        Problem::new(504, "server_error", Some("timeout"), message)
    }

    /// More requests than the queue takes.
    pub(crate) fn busy(waiting: usize, seconds: u64) -> Problem {
        let message = format!(
            "The queue has no room for this request: {waiting} wait already. Try again in some {seconds} seconds."
        );
        let problem = Problem::new(429, "rate_limit_error", Some("rate_limit_exceeded"), message);
        Problem { retry_after: Some(seconds), ..problem }
    }

    /// A server that is about to end.
    pub(crate) fn stopping() -> Problem {
        Problem::new(503, "server_error", Some("shutting_down"), "The server is shutting down.")
    }

    /// A fault of ours, or of the model.
    pub(crate) fn internal(message: impl Into<String>) -> Problem {
        Problem::new(500, "server_error", Some("internal_error"), message)
    }

    /// What the conversation's own crate refuses, about `param`.
    pub(crate) fn of_chat(error: &anelith_chat::Error, param: &str) -> Problem {
        let mut message = error.to_string();
        for (label, text) in [("expected", error.expected()), ("found", error.found())] {
            if let Some(text) = text {
                message.push_str(&format!("; {label} {text}"));
            }
        }
        match error.kind() {
            Kind::Prompt | Kind::Unsupported | Kind::Malformed => {
                Problem::bad("invalid_value", message).of(param)
            }
            Kind::Model | Kind::Io => Problem::internal(message),
        }
    }

    /// The body.
    pub(crate) fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.sort, "param": self.param, "code": self.code}})
    }
}

/// What a value is, in words.
fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
