//! Text that others have written, in models, packages and answers of a hub, as a terminal may be given it.

/// One line without what would move the cursor or command the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// What [`plain`] gives, but for ends of lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// What [`plain`] gives, but for ends of lines and tabs, as in code.
pub(crate) fn plain_text(text: &str) -> String {
    text.split('\t').map(plain_lines).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_as_what_they_are() {
        assert_eq!(plain("a\u{1b}[2J\n\u{9b}b ä"), "a\\u{1b}[2J\\n\\u{9b}b ä");
        assert_eq!(plain_lines("a\r\nb\n"), "a\\r\nb\n");
        assert_eq!(plain_text("if x:\n\t\u{7}\r"), "if x:\n\t\\u{7}\\r");
    }
}
