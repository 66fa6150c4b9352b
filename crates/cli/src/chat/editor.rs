//! What a person types: lines with editing, completion of commands, and a history that outlives the conversation.

use std::borrow::Cow;
use std::env;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};

use anelith_report::Report;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Behavior, CompletionType, Config, Context, Helper};

use super::command::COMMANDS;
use super::message::{Draft, Message};
use super::settings::NAMES;
use crate::failure::{Failure, Result, Status};
use crate::terminal::say;

/// How many messages the history holds.
const MOST_MESSAGES: usize = 1000;

const PROMPT: &str = "> ";
/// The prompt of a message that goes on.
const MORE: &str = ". ";

/// Where messages are typed.
pub(super) struct Editor {
    lines: rustyline::Editor<Commands, FileHistory>,
    /// Where the history is kept, if it is.
    history: Option<PathBuf>,
}

/// What came of the prompt.
#[derive(Debug)]
pub(super) enum Typed {
    Message(Message),
    /// Ctrl-C, which has cleared what was there.
    Cleared,
    /// The end of all input.
    End,
}

impl Editor {
    /// The terminal, with the history of earlier conversations and of this one if `keeps_history`.
    pub(super) fn open(keeps_history: bool) -> Result<Editor> {
        // A prompt is not part of the answers, wherever they go.
        let is_seen = io::stdout().is_terminal();
        let behavior = if is_seen { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder()
            .behavior(behavior)
            .completion_type(CompletionType::List)
            .max_history_size(MOST_MESSAGES)
            .map_err(|e| broken(&e))?
            .build();
        let mut lines = rustyline::Editor::with_config(config).map_err(|e| broken(&e))?;
        lines.set_helper(Some(Commands));
        let history = history_file().filter(|_| keeps_history);
        // Whatever is wrong with it, one can go on without.
        let history = history.filter(|path| prepare(path).is_ok());
        if let Some(path) = &history {
            let _ = lines.load_history(path);
        }
        Ok(Editor { lines, history })
    }

    /// The next message.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub(super) fn read(&mut self) -> Result<Typed> {
        let mut draft = Draft::default();
        loop {
            let message = match self.lines.readline(if draft.is_begun() { MORE } else { PROMPT }) {
                Ok(line) => draft.push(&line),
                Err(ReadlineError::Interrupted) => return Ok(Typed::Cleared),
                Err(ReadlineError::Eof) => match draft.finish() {
                    None => return Ok(Typed::End),
                    message => message,
                },
                Err(ReadlineError::Io(e)) if e.kind() == ErrorKind::InvalidData => {
                    say("error: this is not UTF-8");
                    return Ok(Typed::Cleared);
                }
                // A terminal that is gone.
                Err(ReadlineError::Io(e)) if e.kind() == ErrorKind::UnexpectedEof => return Ok(Typed::End),
                Err(e) => return Err(broken(&e)),
            };
            if let Some(message) = message {
                self.keep(&message);
                return Ok(Typed::Message(message));
            }
        }
    }

    fn keep(&mut self, message: &Message) {
        let is_new = self.lines.add_history_entry(message.typed.as_str()).unwrap_or(false);
        if let Some(path) = self.history.as_ref().filter(|_| is_new) {
            let _ = self.lines.append_history(path);
        }
    }
}

fn broken(error: &ReadlineError) -> Failure {
    Failure::new(Status::Machine, Report::new(format!("cannot read from the terminal: {error}")))
}

/// `anelith/history` where programs keep what they remember.
fn history_file() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(env::home_dir()?.join(".local/state")))?;
    Some(state.join("anelith/history"))
}

/// Makes the directory of the history, and sees to it that nobody else reads what was asked.
fn prepare(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let file = options.mode(0o600).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))
    }
    #[cfg(not(unix))]
    options.open(path).map(drop)
}

/// Completes commands and the names of settings.
struct Commands;

impl Completer for Commands {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(completions(&line[..at]))
    }
}

impl Hinter for Commands {
    type Hint = String;
}

impl Highlighter for Commands {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        prompt.into()
    }
}

impl Validator for Commands {}

impl Helper for Commands {}

/// What the end of `line` may become, and where that end begins.
fn completions(line: &str) -> (usize, Vec<String>) {
    let beginning_with = |begun: &str, known: &[&str]| -> Vec<String> {
        known.iter().filter(|word| word.starts_with(begun)).map(|word| format!("{word} ")).collect()
    };
    match line.strip_prefix("/set ") {
        Some(name) => (line.len() - name.len(), beginning_with(name, &NAMES)),
        None if line.starts_with('/') => (0, beginning_with(line, &COMMANDS.map(|(name, ..)| name))),
        None => (line.len(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_settings_are_completed() {
        let texts = |line: &str| completions(line).1;
        assert_eq!(texts("/re"), ["/reset ", "/retry "]);
        assert_eq!(texts("/h"), ["/help "]);
        assert_eq!(completions("/set temp"), (5, vec!["temperature ".to_owned()]));
        assert_eq!(texts("/set ").len(), NAMES.len());
        assert!(texts("/set top_k 4").is_empty() && texts("hello").is_empty() && texts("").is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_the_history() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("deep/history");
        prepare(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        prepare(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(prepare(&dir.path().join("deep")).is_err());
        assert!(prepare(&path.join("below/history")).is_err());
    }
}
