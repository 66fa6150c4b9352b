//! What all requests share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{SystemTime, UNIX_EPOCH};

use anelith_chat::{Error, RenderOptions, Template, Tokenizer, Turn};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};

use crate::card::Card;
use crate::entry::Tell;
use crate::guard::Guard;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::page::{PAGE, policy};
use crate::problem::Problem;
use crate::protocol::Prompt;
use crate::settings::Settings;

/// Threads that read requests. Each may hold a large body.
pub(crate) const READERS: usize = 2;

/// From text to tokens and back.
#[derive(Debug)]
pub struct Voice {
    tokenizer: Tokenizer,
    template: Option<Template>,
}

impl Voice {
    /// Opens the tokenizer and the chat template in `dir`.
    ///
    /// # Errors
    /// As [`Tokenizer::open`] and [`Template::open`].
    pub fn open(dir: &Path) -> Result<Voice, Error> {
        let tokenizer = Tokenizer::open(dir)?;
        let template = Template::open(dir, tokenizer.named_tokens())?;
        Ok(Voice { tokenizer, template })
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The tokens of a conversation, up to where the model speaks.
    pub(crate) fn conversation(
        &self,
        turns: &[Turn],
        enable_thinking: Option<bool>,
    ) -> Result<Vec<u32>, Problem> {
        let template = self.template.as_ref().ok_or_else(|| {
            let message = "This model has no chat template. Use /v1/completions.";
            Problem::bad("no_chat_template", message).of("messages")
        })?;
        let options = RenderOptions { add_generation_prompt: true, enable_thinking, now: SystemTime::now() };
        let text = template.render(turns, options).map_err(|e| Problem::of_chat(&e, "messages"))?;
        // The template writes the special tokens itself.
        self.tokenizer.encode(&text, false).map_err(|e| Problem::of_chat(&e, "messages"))
    }

    /// The tokens of a prompt.
    pub(crate) fn prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, Problem> {
        match prompt {
            Prompt::Text(text) => {
                self.tokenizer.encode(text, true).map_err(|e| Problem::of_chat(&e, "prompt"))
            }
            Prompt::Ids(ids) => Ok(ids.clone()),
        }
    }

    /// A prompt as text.
    pub(crate) fn text(&self, prompt: &Prompt) -> Result<String, Problem> {
        match prompt {
            Prompt::Text(text) => Ok(text.clone()),
            Prompt::Ids(ids) => self.tokenizer.decode(ids).map_err(|e| Problem::of_chat(&e, "prompt")),
        }
    }
}

/// A server's state.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) guard: Guard,
    pub(crate) card: Card,
    pub(crate) vocab_size: usize,
    pub(crate) voice: Voice,
    pub(crate) intake: Intake,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tell: Arc<dyn Tell>,
    /// Requests that may be read at a time.
    pub(crate) readers: Semaphore,
    /// How often the server was told to stop.
    pub(crate) stops: watch::Receiver<u32>,
    /// Connections that are open.
    pub(crate) connections: AtomicUsize,
    /// Seconds since 1970 at which the server began.
    pub(crate) created: u64,
    /// `system_fingerprint`: another model, or another version, has another.
    pub(crate) fingerprint: String,
    /// What the page may do.
    pub(crate) policy: String,
}

impl App {
    pub(crate) fn new(
        settings: Settings,
        mut card: Card,
        vocab_size: usize,
        voice: Voice,
        tell: Arc<dyn Tell>,
        stops: watch::Receiver<u32>,
    ) -> Result<App, crate::error::Error> {
        card.has_template = voice.template.is_some();
        card.has_thinking = voice.template.as_ref().is_some_and(|t| t.reads("enable_thinking"));
        let described = card.json(settings.max_tokens).to_string();
        let digest = Sha256::digest(described.as_bytes());
        let digits: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        Ok(App {
            guard: Guard::new(&settings)?,
            intake: Intake::new(settings.slots.max(1), settings.queue),
            metrics: Arc::new(Metrics::new()),
            readers: Semaphore::new(READERS),
            stops,
            connections: AtomicUsize::new(0),
            created: now(),
            fingerprint: format!("fp_{digits}"),
            policy: policy(PAGE),
            settings,
            card,
            vocab_size,
            voice,
            tell,
        })
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
