//! A conversation in a terminal: questions and commands, until its end.

use anelith_chat::Sampling;
use anelith_report::{Report, Reported};

use super::command::{self, Command, Line};
use super::editor::{Editor, Typed};
use super::file;
use super::saved::{self, Saved};
use super::settings;
use super::talk::Talk;
use crate::failure::{Failure, Result, Status};
use crate::terminal::{note, say};

/// Talks until the end of input or `/quit`.
///
/// # Errors
/// When the terminal cannot be read or written. What else goes wrong is told, and the conversation goes on.
pub(super) fn hold(talk: &mut Talk, editor: &mut Editor) -> Result<()> {
    note(&format!(
        "{}, a context of {} tokens. /help lists the commands, Ctrl-D ends the conversation.",
        talk.style.name,
        talk.context()
    ));
    let mut was_cleared = false;
    loop {
        // Once the terminal has given the line away, Ctrl-C is for the answer.
        talk.stop.clear();
        let message = match editor.read()? {
            Typed::Message(message) => message,
            Typed::End => return Ok(()),
            Typed::Cleared => {
                if was_cleared {
                    say("To end the conversation press Ctrl-D, or type /quit.");
                }
                was_cleared = true;
                continue;
            }
        };
        was_cleared = false;
        let done = command::read(message).and_then(|line| match line {
            Line::Nothing => Ok(true),
            Line::Question(question) => talk.ask(&question).map(|()| true),
            Line::Command(command) => obey(talk, command),
        });
        match done {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(failure) if failure.status == Status::Machine => return Err(failure),
            Err(failure) => say(failure.text().trim_end()),
        }
    }
}

/// Does what a command says; whether the conversation goes on.
fn obey(talk: &mut Talk, command: Command) -> Result<bool> {
    match command {
        Command::Help => say(&command::help()),
        Command::Reset => {
            talk.reset();
            say("What was said is forgotten.");
        }
        Command::System(None) => match &talk.session.options().system {
            Some(system) => say(system),
            None => say("There are no instructions. /system TEXT sets some."),
        },
        Command::System(Some(text)) => {
            talk.session.options_mut().system = settings::system("/system", &text)?;
            talk.reset();
            say("The instructions are changed; the conversation begins anew.");
        }
        Command::Save(name) => save(talk, &name)?,
        Command::Load(name) => load(talk, &name)?,
        Command::Stats => say(&talk.report()),
        Command::Set(None) => say(&settings::shown(talk.session.options())),
        Command::Set(Some((name, value))) => set(talk, &name, &value)?,
        Command::Retry => retry(talk)?,
        Command::Quit => return Ok(false),
    }
    Ok(true)
}

fn save(talk: &Talk, name: &str) -> Result<()> {
    check_memory(talk, "/save")?;
    let (system, turns) = (talk.session.options().system.clone(), talk.session.history().to_vec());
    let (path, count) = (file::place(name), turns.len());
    // A disk that is full does not end the conversation.
    saved::save(&path, &Saved { system, turns }).map_err(|failure| failure.with_status(Status::Input))?;
    say(&format!("{count} messages were written to {}.", path.display()));
    Ok(())
}

fn load(talk: &mut Talk, name: &str) -> Result<()> {
    check_memory(talk, "/load")?;
    let Saved { system, turns } = saved::load(&file::place(name))?;
    talk.reset();
    talk.session.options_mut().system = system;
    say(&format!("{} messages were read; the conversation goes on after them.", turns.len()));
    talk.session.set_history(turns);
    Ok(())
}

/// Where every question stands alone, there is no conversation to save or to go on with.
fn check_memory(talk: &Talk, command: &str) -> Result<()> {
    if talk.session.options().full {
        return Ok(());
    }
    let report = Report::new("every question stands alone, so there is no conversation").at(command);
    Err(Failure::usage(report.mending("start anelith chat without --no-memory")))
}

fn set(talk: &mut Talk, name: &str, value: &str) -> Result<()> {
    let has_argmax = talk.has_argmax();
    settings::set(talk.session.options_mut(), name, value, has_argmax)?;
    if talk.session.options().sampling.is_greedy() && is_limit(name) {
        say(
            "This has no effect while the likeliest token is taken always: /set temperature 0.7 changes that.",
        );
    }
    Ok(())
}

/// Whether a setting says from how many tokens to choose.
fn is_limit(name: &str) -> bool {
    ["top_k", "top_p", "min_p", "seed"].contains(&name.replace('-', "_").as_str())
}

fn retry(talk: &mut Talk) -> Result<()> {
    let Some(question) = talk.retract() else {
        let report = Report::new("there is no question to answer again").at("/retry");
        return Err(Failure::usage(report));
    };
    let Sampling { temperature, .. } = talk.session.options().sampling;
    if temperature == 0.0 && talk.last.as_ref().is_some_and(|last| last.end.is_some()) {
        note(
            "note: the likeliest token is taken always, so the answer may be the same; /set temperature 0.7 changes that",
        );
    }
    talk.ask(&question)
}
