//! `chat` and `generate`.
//!
//! Files below, each of which uses only those before it: signals, answer, generate, screen, file, settings, stats, talk,
//! message, command, saved, editor, conversation.

mod answer;
mod command;
mod conversation;
mod editor;
mod file;
mod generate;
mod message;
mod saved;
mod screen;
mod settings;
mod signals;
mod stats;
mod talk;

use std::io::{self, BufRead, IsTerminal, Read, stdin};
use std::time::SystemTime;

use anelith_chat::{Cached, Meta, Monolith, Session, SessionOptions};
use anelith_report::{Report, Reported};
use anelith_runtime::Precision;

use crate::args::{ChatArgs, MetaArgs};
use crate::document;
use crate::failure::{Failure, Result, Status};
use crate::results::Answer;
use editor::Editor;
use file::MOST_BYTES;
use signals::{Signals, Stop};
use talk::{Style, Talk};

pub(crate) use generate::generate;

pub(crate) fn chat(args: &ChatArgs) -> Result<()> {
    let is_conversation = args.prompt.is_none() && stdin().is_terminal();
    if is_conversation && args.json {
        let report = Report::new("a conversation has no end at which to print one document").at("--json");
        return Err(Failure::usage(report.expecting("--prompt").mending("give the question to --prompt")));
    }
    let signals = Signals::catch();
    if is_conversation {
        let mut talk = open_talk(args, !args.no_memory)?;
        let mut editor = Editor::open(!args.no_save_history)?;
        talk.stop = signals.begin();
        return conversation::hold(&mut talk, &mut editor);
    }
    if args.full && args.prompt.is_none() {
        let mut talk = open_talk(args, true)?;
        return answer_lines(&mut talk);
    }
    let question = match args.prompt.as_deref() {
        None | Some("-") => read_question()?,
        Some(question) if question.trim().is_empty() => {
            let report = Report::new("there is no question").at("--prompt").finding("nothing to read");
            return Err(Failure::usage(report.expecting("a question")));
        }
        Some(question) => question.to_owned(),
    };
    let mut talk = open_talk(args, false)?;
    if args.json {
        let given = talk.answer_silently(&question)?;
        return document::show(document::answer(Some(&question), &given));
    }
    talk.ask(&question)
}

fn open_talk(args: &ChatArgs, full: bool) -> Result<Talk> {
    let system = args.system.as_deref().map_or(Ok(None), |text| settings::system("--system", text))?;
    let (meta, model) = open(&args.meta)?;
    let options = SessionOptions {
        max_tokens: args.max_tokens,
        full,
        no_template: args.no_template,
        enable_thinking: args.no_think.then_some(false),
        system,
        sampling: settings::sampling(&args.sampling, &meta)?,
        now: SystemTime::now(),
    };
    let session = Session::open(meta.dir(), options)?;
    let has_stats = args.stats || (io::stdout().is_terminal() && !args.quiet && !args.json);
    let has_commands = args.prompt.is_none() && stdin().is_terminal();
    let style = Style { name: meta.name.clone(), has_stats, has_commands };
    Ok(Talk::new(session, Cached::new(model), style))
}

/// Answers each line of standard input, but for empty ones.
fn answer_lines(talk: &mut Talk) -> Result<()> {
    loop {
        let mut line = String::new();
        let length = stdin().lock().take(MOST_BYTES + 1).read_line(&mut line).map_err(|e| unreadable(&e))?;
        if length == 0 {
            return Ok(());
        }
        check_length(length)?;
        let question = line.trim();
        if !question.is_empty() {
            talk.ask(question)?;
        }
    }
}

/// All of standard input.
fn read_question() -> Result<String> {
    let mut text = String::new();
    let length = stdin().lock().take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|e| unreadable(&e))?;
    check_length(length)?;
    let question = text.trim_end();
    if question.is_empty() {
        let report = Report::new("there is no question").at("standard input");
        return Err(Failure::usage(report.mending("give it to --prompt, or on standard input")));
    }
    Ok(question.to_owned())
}

fn check_length(bytes: usize) -> Result<()> {
    if bytes as u64 <= MOST_BYTES {
        return Ok(());
    }
    let report = Report::new(format!("the question has more than {MOST_BYTES} bytes"));
    Err(Failure::new(Status::Input, report.at("standard input")))
}

fn unreadable(error: &io::Error) -> Failure {
    let is_text = error.kind() != io::ErrorKind::InvalidData;
    let status = if is_text { Status::Machine } else { Status::Input };
    Failure::new(status, Report::new(format!("cannot read a question from standard input: {error}")))
}

/// Shows the answer to `question` as it comes, and a line end.
pub(crate) fn answer(
    session: &mut Session,
    model: &mut Cached<Monolith>,
    question: &str,
    mut show: fn(&str) -> Result<()>,
) -> Result<Answer> {
    let answer = answer::ask(session, model, question, &mut show, &Stop::default())?;
    show("\n")?;
    answer.ok_or_else(Failure::interrupted)
}

pub(crate) fn open(args: &MetaArgs) -> Result<(Meta, Monolith)> {
    let meta = Meta::open(&args.meta)?;
    let model = Monolith::open(&meta, args.numbers.options(Precision::Fast)?)?;
    Ok((meta, model))
}
