//! Conversations in files: `{"messages": [{"role": ..., "content": ...}, ...]}`, as OpenAI's API has them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process;

use anelith_chat::{Role, Turn};
use anelith_report::{Report, Reported, remedy};
use serde_json::{Value, json};

use super::file;
use crate::failure::{Failure, Result, Status};

/// What was said, and the instructions before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) system: Option<String>,
    /// Questions and answers in turn.
    pub(super) turns: Vec<Turn>,
}

/// Writes the conversation, whole or not at all.
///
/// # Errors
/// When that fails, and where something else is in its place.
pub(super) fn save(path: &Path, saved: &Saved) -> Result<()> {
    // What a link leads to is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok() {
        load(&path).map_err(|_| {
            let report = Report::new("there is something else than a conversation").at(path.display());
            Failure::usage(report.mending("name another file"))
        })?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.partial", process::id()));
    let written = write(&partial, &text(saved)).and_then(|()| fs::rename(&partial, &path));
    written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        let mut report = Report::new(format!("cannot save the conversation: {e}")).at(path.display());
        report.mend = remedy(e.kind()).map(str::to_owned);
        Failure::new(Status::Machine, report)
    })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // What was said is for its owner's eyes, as the history of what was typed is.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The conversation as JSON.
fn text(saved: &Saved) -> String {
    let message = |turn: &Turn| json!({ "role": role(turn.role), "content": turn.content });
    let system = saved.system.iter().map(|text| Turn::new(Role::System, text));
    let messages: Vec<Value> = system.chain(saved.turns.iter().cloned()).map(|turn| message(&turn)).collect();
    format!("{:#}\n", json!({ "messages": messages }))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// Reads a conversation.
///
/// # Errors
/// When the file cannot be read, or is none.
pub(super) fn load(path: &Path) -> Result<Saved> {
    let wrong = |report: Report| {
        let place = report.location().map_or(String::new(), |place| format!(", {place}"));
        let report = report.at(format!("{}{place}", path.display()));
        let mend = "give a file that /save wrote, or one of the same form: {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}]}";
        Failure::new(Status::Input, report.mending(mend))
    };
    let text = file::read("the conversation", path, path.display())?;
    let document: Value = serde_json::from_str(&text)
        .map_err(|e| wrong(Report::new("the conversation is not JSON").finding(e)))?;
    conversation(&document).map_err(wrong)
}

fn conversation(document: &Value) -> std::result::Result<Saved, Report> {
    let messages = document.get("messages").and_then(Value::as_array);
    let messages = messages.ok_or_else(|| Report::new("the conversation has no list `messages`"))?;
    let mut saved = Saved { system: None, turns: Vec::new() };
    for (i, message) in messages.iter().enumerate() {
        let place = format!("message {}", i + 1);
        let field = |name: &str| {
            let text = message.get(name).and_then(Value::as_str);
            text.ok_or_else(|| Report::new(format!("a message has no text `{name}`")).at(&place))
        };
        let (role, content) = (field("role")?, field("content")?);
        let expected = match saved.turns.len() % 2 {
            0 => "user",
            _ => "assistant",
        };
        match role {
            "system" if i == 0 => saved.system = Some(content.to_owned()),
            "user" | "assistant" if role == expected => {
                let role = if role == "user" { Role::User } else { Role::Assistant };
                saved.turns.push(Turn::new(role, content));
            }
            _ => {
                let report = Report::new("a message is not of the one whose turn it is").at(place);
                return Err(report.expecting(expected).finding(role));
            }
        }
    }
    match saved.turns.len() % 2 {
        0 => Ok(saved),
        _ => Err(Report::new("the last question has no answer").expecting("a message of the assistant")),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn sample() -> Saved {
        let turns = vec![Turn::new(Role::User, "Hi \"you\"\n"), Turn::new(Role::Assistant, "Grüß dich")];
        Saved { system: Some("Be kind.".into()), turns }
    }

    #[test]
    fn what_is_saved_can_be_loaded() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.json");
        for saved in [sample(), Saved { system: None, ..sample() }, Saved { system: None, turns: vec![] }] {
            save(&path, &saved).unwrap();
            assert_eq!(load(&path).unwrap(), saved);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        save(&path, &sample()).unwrap();
        let document: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(document["messages"][2], json!({"role": "assistant", "content": "Grüß dich"}));
    }

    #[test]
    fn nothing_else_is_overwritten_and_nothing_is_left() {
        let dir = TempDir::new().unwrap();
        let notes = dir.path().join("notes.txt");
        fs::write(&notes, "notes").unwrap();
        assert!(save(&notes, &sample()).unwrap_err().text().contains("something else"));
        assert_eq!(fs::read_to_string(&notes).unwrap(), "notes");
        assert!(save(dir.path(), &sample()).is_err());
        let nowhere = save(&dir.path().join("none/a.json"), &sample()).unwrap_err();
        assert_eq!(nowhere.status, Status::Machine);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_conversation_is_refused_by_its_place() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.json");
        for (text, words) in [
            ("{", "not JSON"),
            ("[]", "no list `messages`"),
            (r#"{"messages": {}}"#, "no list `messages`"),
            (r#"{"messages": [1]}"#, "message 1"),
            (r#"{"messages": [{"role": "user"}]}"#, "no text `content`"),
            (r#"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#, "no text `content`"),
            (r#"{"messages": [{"role": "assistant", "content": "x"}]}"#, "expected: user"),
            (r#"{"messages": [{"role": "user", "content": "x"}]}"#, "has no answer"),
            (
                r#"{"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]}"#,
                "found: tool",
            ),
            (
                r#"{"messages": [{"role": "system", "content": "x"}, {"role": "system", "content": "x"}]}"#,
                "message 2",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let failure = load(&path).unwrap_err();
            assert_eq!(failure.status, Status::Input);
            assert!(
                failure.text().contains(words) && failure.text().contains("a.json"),
                "{}",
                failure.text()
            );
        }
        assert!(load(dir.path()).unwrap_err().text().contains("not a file"));
        assert!(load(&dir.path().join("none")).unwrap_err().text().contains("cannot read"));
    }
}
