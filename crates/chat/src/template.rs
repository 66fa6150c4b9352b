//! Chat templates: from the turns of a conversation to the text the model was trained on.

mod source;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use anelith_report::Reported;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, State, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::contain::contain;
use crate::date::strftime;
use crate::error::{Error, Kind};
use crate::json::{Object, read_text_optional};

const NAME: &str = "chat_template";

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// Who says it.
    pub role: Role,
    /// What is said, as plain text.
    pub content: String,
}

impl Turn {
    /// What `role` says.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// What a template is told besides the turns.
#[derive(Debug, Clone, Copy)]
pub struct RenderOptions {
    /// Whether the text ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// `enable_thinking`, passed only when set.
    pub enable_thinking: Option<bool>,
    /// The time that `strftime_now` writes, in UTC.
    pub now: SystemTime,
}

/// A model's chat template, ready to render.
#[derive(Debug)]
pub struct Template {
    origin: PathBuf,
    environment: Environment<'static>,
    special: BTreeMap<&'static str, String>,
}

impl Template {
    /// Opens the chat template in `dir`: `chat_template.jinja`, else `chat_template` of
    /// tokenizer_config.json (a template, or a list of named ones with a `default`). `special`
    /// are the tokenizer's [named tokens](crate::Tokenizer::named_tokens). Returns nothing for a
    /// model without a template.
    ///
    /// # Errors
    /// When a file cannot be read, or the template has a syntax error.
    pub fn open(dir: &Path, special: &BTreeMap<&'static str, String>) -> Result<Option<Self>, Error> {
        let jinja = dir.join("chat_template.jinja");
        if let Some(source) = read_text_optional(&jinja)? {
            return Self::new(jinja, &source, special).map(Some);
        }
        let config = Object::read_optional(dir, "tokenizer_config.json")?;
        let Some(source) = configured(&config)? else {
            return Ok(None);
        };
        Self::new(config.path().to_owned(), source, special).map(Some)
    }

    fn new(origin: PathBuf, source: &str, special: &BTreeMap<&'static str, String>) -> Result<Self, Error> {
        let environment =
            with_stack(&origin, || source::prepare(source).and_then(environment))?.map_err(|e| {
                refusal(Kind::Malformed, &origin, "the chat template is not valid", e)
                    .expecting("a Jinja template of the kind that transformers renders")
                    .mending(REMEDY)
            })?;
        Ok(Self { origin, environment, special: special.clone() })
    }

    /// The text of `turns`. It holds whatever special tokens the model wants, so it is to be
    /// encoded without adding more.
    ///
    /// # Errors
    /// When the template refuses the conversation or uses what is not supported.
    pub fn render(&self, turns: &[Turn], options: RenderOptions) -> Result<String, Error> {
        with_stack(&self.origin, || self.text(turns, options))?.map_err(|e| {
            let what = "the chat template cannot render this conversation";
            refusal(Kind::Unsupported, &self.origin, what, e)
        })
    }

    /// Whether the template reads a variable of this name, which it does not set itself.
    pub fn reads(&self, variable: &str) -> bool {
        let template = self.environment.get_template(NAME);
        template.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }

    fn text(&self, turns: &[Turn], options: RenderOptions) -> Result<String, minijinja::Error> {
        let now = options.now;
        let clock = Value::from_function(move |format: &str| {
            strftime(format, now).map_err(|directive| {
                let detail = format!("strftime_now does not know `{directive}`");
                minijinja::Error::new(ErrorKind::InvalidOperation, detail)
            })
        });
        let mut optional: BTreeMap<&str, Value> =
            self.special.iter().map(|(&role, token)| (role, Value::from(token.as_str()))).collect();
        if let Some(thinking) = options.enable_thinking {
            optional.insert("enable_thinking", Value::from(thinking));
        }
        let context = context! {
            messages => Value::from(Serde(turns)),
            tools => (),
            documents => (),
            add_generation_prompt => options.add_generation_prompt,
            strftime_now => clock,
            ..Value::from(optional)
        };
        self.environment.get_template(NAME).and_then(|template| template.render(context))
    }
}

/// The template in tokenizer_config.json.
fn configured<'c>(config: &'c Object) -> Result<Option<&'c str>, Error> {
    const KEY: &str = "chat_template";
    let Some(value) = config.get(KEY) else {
        return Ok(None);
    };
    if let Some(source) = value.as_str() {
        return Ok(Some(source));
    }
    let named: Option<BTreeMap<&str, &str>> = value.as_array().and_then(|list| {
        let pair = |entry: &'c serde_json::Value| {
            Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?))
        };
        list.iter().map(pair).collect()
    });
    let expected = "a template, or a list of objects with `name` and `template`";
    let named = named.ok_or_else(|| config.wrong(KEY, expected, value))?;
    named.get("default").copied().map(Some).ok_or_else(|| {
        let names: Vec<_> = named.keys().copied().collect();
        Error::unsupported(config.path(), "no chat template is named `default`")
            .expecting("a template named `default`")
            .finding(names.join(", "))
            .mending("name one of them `default`")
    })
}

/// Steps that a template may take, each of them up to 64 bytes of text; real ones need thousands, a hostile one
/// would take forever, or all memory.
const FUEL: u64 = 2_000_000;

/// The stack of the thread that reads and renders. The library recurses along a chain of operators and into
/// values; what `source` lets through takes a fraction of this, which is memory only where it is touched.
const STACK: usize = 1 << 28;

/// What helps against any template that cannot be used.
const REMEDY: &str = "fetch the template again from where the model came from, or try a simpler one";

/// What `work` answers, done on a stack that is deep enough for any template.
fn with_stack<T: Send>(origin: &Path, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || contain(work));
        let worker = worker.map_err(|e| Error::io(origin, e))?;
        // The library panics on some templates, e.g. an `import` under a name that is an expression.
        let answer = worker.join().ok().flatten();
        answer.ok_or_else(|| {
            Error::malformed(origin, "the chat template is not valid")
                .expecting("a template that the library of templates can read")
                .finding("one at which that library gives up without saying why")
                .mending(REMEDY)
        })
    })
}

/// Jinja as transformers sets it up, with `source` as its one template.
fn environment(source: String) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.add_filter(source::KEPT, source::keep);
    environment.add_filter(source::KEPT_IN_NAMESPACE, source::keep_in_namespace);
    environment.add_function("raise_exception", |message: String| {
        Err::<Value, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_template_owned(NAME, source)?;
    Ok(environment)
}

/// Python's methods, without the fields of `format` that are wider than a line.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, minijinja::Error> {
    const DIGITS: usize = 4;
    let is_wide = |text: &str| text.split(|c: char| !c.is_ascii_digit()).any(|number| number.len() > DIGITS);
    if name == "format" && value.as_str().is_some_and(is_wide) {
        let what = format!("a format with a number of more than {DIGITS} digits");
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, what));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, with its `indent`.
fn tojson(value: &Value, arguments: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    arguments.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let pretty = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    let bad = |e: String| minijinja::Error::new(ErrorKind::BadSerialization, e);
    written.map_err(|e| bad(e.to_string()))?;
    let text = String::from_utf8(out).map_err(|e| bad(e.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// Python's separators: a space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

fn refusal(kind: Kind, origin: &Path, what: &str, source: minijinja::Error) -> Error {
    let line = source.line().map(|line| format!(", line {line} of the template"));
    let detail = source.detail().map(str::to_owned);
    Error::new(kind, what)
        .at(format!("{}{}", origin.display(), line.unwrap_or_default()))
        .finding(detail.unwrap_or_else(|| source.kind().to_string()))
        .caused_by(source)
}

#[cfg(test)]
mod tests;
