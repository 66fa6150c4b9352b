//! Lines that are typed, as messages: one line, several of them, or a block.

/// What begins and ends a block.
const FENCE: &str = "\"\"\"";

/// A message as far as it has been typed.
///
/// A line that ends in `\` goes on in the next. A message that begins with `"""` goes on until a line ends with that.
/// What is pasted comes as one piece with line ends in it, all of which are part of the message.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// As it was typed, without the `\` of lines that go on.
    typed: String,
    is_begun: bool,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// What it says.
    pub(super) text: String,
    /// Whether it was between `"""`, so that it is no command whatever it begins with.
    pub(super) is_block: bool,
    /// As it can be typed again.
    pub(super) typed: String,
}

impl Draft {
    /// Whether something is there that goes on.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Takes the next line, or what was pasted; gives the message where that is its end.
    pub(super) fn push(&mut self, line: &str) -> Option<Message> {
        if self.is_begun {
            self.typed.push('\n');
        }
        self.is_begun = true;
        self.typed.push_str(line);
        if let Some(block) = self.typed.trim_start().strip_prefix(FENCE) {
            let is_whole = block.trim_end().ends_with(FENCE);
            return is_whole.then(|| self.finish()).flatten();
        }
        if self.typed.ends_with('\\') {
            self.typed.pop();
            return None;
        }
        self.finish()
    }

    /// The message as far as it is there, if something is.
    pub(super) fn finish(&mut self) -> Option<Message> {
        let Draft { typed, is_begun } = std::mem::take(self);
        if !is_begun {
            return None;
        }
        let Some(block) = typed.trim_start().strip_prefix(FENCE) else {
            return Some(Message { text: trimmed(&typed).to_owned(), is_block: false, typed });
        };
        let text = block.trim_end();
        let text = text.strip_suffix(FENCE).unwrap_or(text);
        let text = text.strip_prefix('\n').unwrap_or(text);
        let text = text.strip_suffix('\n').unwrap_or(text).to_owned();
        Some(Message { text, is_block: true, typed })
    }
}

/// Without what nobody means to say; the first of several lines keeps its indentation.
fn trimmed(text: &str) -> &str {
    match text.trim() {
        line if !line.contains('\n') => line,
        _ => text.trim_end().trim_start_matches('\n'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message that comes with the last of `lines`, and with no earlier one.
    #[track_caller]
    fn typed(lines: &[&str]) -> Message {
        let mut draft = Draft::default();
        let (last, first) = lines.split_last().unwrap();
        for line in first {
            assert_eq!(draft.push(line), None, "{line}");
            assert!(draft.is_begun());
        }
        let message = draft.push(last).unwrap();
        assert!(!draft.is_begun());
        message
    }

    #[test]
    fn a_line_is_a_message_unless_it_goes_on() {
        assert_eq!(typed(&["  Hi "]).text, "Hi");
        assert_eq!(typed(&[""]).text, "");
        let message = typed(&["one\\", "two \\", ""]);
        assert_eq!((message.text.as_str(), message.typed.as_str()), ("one\ntwo", "one\ntwo \n"));
    }

    #[test]
    fn what_is_pasted_is_one_message() {
        let message = typed(&["#define A \\\n  1\nint a = A;"]);
        assert_eq!(message.text, "#define A \\\n  1\nint a = A;");
        assert_eq!(typed(&["\n  if x:\n    y\n"]).text, "  if x:\n    y");
        assert_eq!(typed(&["a = \"\"\"\nb"]).text, "a = \"\"\"\nb");
    }

    #[test]
    fn a_block_goes_on_until_it_ends() {
        let message = typed(&["\"\"\"", "/reset is a command", "  in\\", "\"\"\""]);
        assert_eq!(message.text, "/reset is a command\n  in\\");
        assert!(message.is_block);
        // What is recalled is one piece.
        assert_eq!(typed(&[&message.typed]), message);
        assert_eq!(typed(&["\"\"\"one", "two\"\"\" "]).text, "one\ntwo");
        assert_eq!(typed(&["\"\"\"one\"\"\""]).text, "one");
        assert_eq!(typed(&["\"\"\"\"\"\""]).text, "");
        assert_eq!(typed(&["\"\"\"\"", "\"\"\""]).text, "\"");
    }

    #[test]
    fn the_end_of_input_ends_a_block() {
        let mut draft = Draft::default();
        assert_eq!(draft.finish(), None);
        assert_eq!(draft.push("\"\"\"one"), None);
        assert_eq!(draft.finish().unwrap().text, "one");
        assert_eq!(draft.push("one\\"), None);
        assert_eq!(draft.finish().unwrap().text, "one");
    }
}
