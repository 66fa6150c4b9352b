//! What a person types: a question, or one of the commands.

use anelith_report::{Report, Reported};

use super::message::Message;
use crate::failure::{Failure, Result};

/// A line for the conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// There is nothing in it.
    Nothing,
    /// It goes to the model.
    Question(String),
    Command(Command),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Reset,
    /// What is to be shown, or to be set; an empty text is none.
    System(Option<String>),
    Save(String),
    Load(String),
    Stats,
    /// Name and value, or all that there are.
    Set(Option<(String, String)>),
    Retry,
    Quit,
}

/// Name, argument and meaning of every command.
pub(super) const COMMANDS: [(&str, &str, &str); 9] = [
    ("/help", "", "list the commands"),
    ("/reset", "", "forget what was said"),
    (
        "/system",
        "[TEXT]",
        "show the instructions for the model, or set them and begin anew; @FILE reads them, - removes them",
    ),
    ("/save", "FILE", "write the conversation into a file, as JSON"),
    ("/load", "FILE", "go on with the conversation in a file"),
    ("/stats", "", "tell how full the context is, how long the last answer took, and its seed"),
    ("/set", "[NAME VALUE]", "show or change how answers are made: /set temperature 0.7"),
    ("/retry", "", "drop the last answer and answer again"),
    ("/quit", "", "end the conversation; so does Ctrl-D"),
];

/// What `/help` says.
pub(super) fn help() -> String {
    let commands =
        COMMANDS.map(|(name, argument, meaning)| format!("{:<20}{meaning}", format!("{name} {argument}")));
    format!(
        "{}\n\n\
         A line that ends in \\ goes on in the next; lines between \"\"\" and \"\"\" are one message, and so is what is \
         pasted.\nA question that begins with / is asked with //. Ctrl-C stops an answer.",
        commands.join("\n")
    )
}

/// What `message` is.
///
/// # Errors
/// For a command that does not exist, or that is not complete.
pub(super) fn read(message: Message) -> Result<Line> {
    let text = message.text;
    if text.trim().is_empty() {
        return Ok(Line::Nothing);
    }
    if message.is_block || !text.starts_with('/') {
        return Ok(Line::Question(text));
    }
    if text.starts_with("//") {
        return Ok(Line::Question(text[1..].to_owned()));
    }
    let (name, argument) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
    command(name, argument.trim()).map(Line::Command)
}

fn command(name: &str, argument: &str) -> Result<Command> {
    let given = (!argument.is_empty()).then(|| argument.to_owned());
    let command = match name {
        "/system" if argument == "-" => Command::System(Some(String::new())),
        "/system" => Command::System(given),
        "/save" => Command::Save(given.ok_or_else(|| incomplete(name))?),
        "/load" => Command::Load(given.ok_or_else(|| incomplete(name))?),
        "/set" => match argument.split_once(char::is_whitespace) {
            Some((name, value)) => Command::Set(Some((name.to_owned(), value.trim().to_owned()))),
            None if given.is_none() => Command::Set(None),
            None => return Err(incomplete(name)),
        },
        _ => return bare(name, argument),
    };
    Ok(command)
}

/// The commands that take no argument.
fn bare(name: &str, argument: &str) -> Result<Command> {
    let command = match name {
        "/help" => Command::Help,
        "/reset" => Command::Reset,
        "/stats" => Command::Stats,
        "/retry" => Command::Retry,
        "/quit" => Command::Quit,
        _ => {
            let report = Report::new("there is no such command").finding(name);
            let report = report.expecting(COMMANDS.map(|(name, ..)| name).join(", "));
            return Err(Failure::usage(
                report.mending("to ask a question that begins with /, begin it with //"),
            ));
        }
    };
    if argument.is_empty() {
        return Ok(command);
    }
    let report = Report::new("the command takes nothing after it").at(name).finding(argument);
    Err(Failure::usage(report))
}

fn incomplete(name: &str) -> Failure {
    let forms = COMMANDS.iter().filter(|(known, ..)| *known == name);
    let form = forms.map(|(name, argument, _)| format!("{name} {argument}")).collect::<String>();
    Failure::usage(Report::new("the command is not complete").at(name).expecting(form))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line> {
        read(Message { text: text.to_owned(), is_block: false, typed: text.to_owned() })
    }

    #[test]
    fn commands_begin_with_a_slash() {
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("/help", Command::Help),
            ("/reset", Command::Reset),
            ("/system", Command::System(None)),
            ("/system You are a pirate.\nSay arr.", Command::System(some("You are a pirate.\nSay arr."))),
            ("/system -", Command::System(some(""))),
            ("/save a b.json", Command::Save("a b.json".into())),
            ("/load\tx.json", Command::Load("x.json".into())),
            ("/stats", Command::Stats),
            ("/set", Command::Set(None)),
            ("/set top_k  4", Command::Set(Some(("top_k".into(), "4".into())))),
            ("/retry", Command::Retry),
            ("/quit", Command::Quit),
        ] {
            assert_eq!(line(text).unwrap(), Line::Command(expected), "{text}");
        }
        for (name, ..) in COMMANDS {
            assert!(help().contains(name));
            assert_ne!(line(name).map_err(|f| f.text()), line("/nonsense").map_err(|f| f.text()), "{name}");
        }
    }

    #[test]
    fn all_else_is_a_question() {
        assert_eq!(line("Hi").unwrap(), Line::Question("Hi".into()));
        assert_eq!(line("//help").unwrap(), Line::Question("/help".into()));
        assert_eq!(line(" ").unwrap(), Line::Nothing);
        let block = Message { text: "/help".into(), is_block: true, typed: String::new() };
        assert_eq!(read(block).unwrap(), Line::Question("/help".into()));
    }

    #[test]
    fn what_is_no_command_is_said() {
        for (text, words) in [
            ("/nonsense", "/help, /reset, /system, /save, /load, /stats, /set, /retry, /quit"),
            ("/usr/bin is what?", "begin it with //"),
            ("/quit now", "found: now"),
            ("/save", "expected: /save FILE"),
            ("/load ", "expected: /load FILE"),
            ("/set top_k", "expected: /set [NAME VALUE]"),
        ] {
            let text = line(text).unwrap_err().text();
            assert!(text.contains(words), "{text}");
        }
    }
}
