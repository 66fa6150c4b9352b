//! A Rust file as the rules see it: code and comments apart, and which lines are tests.

use crate::workspace;

/// A Rust file. Code and comments have the lines of the text; what is not theirs is blank.
pub(crate) struct Source {
    /// From the root of the workspace, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Without comments and without the contents of strings.
    pub(crate) code: String,
    pub(crate) comments: String,
    /// For each line, whether only tests are built from it.
    pub(crate) is_test: Vec<bool>,
}

/// Every Rust file of the workspace.
pub(crate) fn all() -> Vec<Source> {
    let files = workspace::files(|path| path.ends_with(".rs"));
    let mut sources: Vec<Source> = files.into_iter().map(|(path, text)| Source::new(path, text)).collect();
    let tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let module = source.path.trim_end_matches(".rs");
        if source.path.contains("/tests/") || tests.iter().any(|t| t == module) {
            source.is_test.fill(true);
        }
    }
    sources
}

impl Source {
    pub(crate) fn new(path: String, text: String) -> Source {
        let (code, comments) = split(&text);
        let is_test = test_lines(&code);
        Source { path, text, code, comments, is_test }
    }

    /// Lines of code that are part of the program, counted from one.
    pub(crate) fn program_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.code.lines().enumerate();
        numbered.filter(|(i, _)| !self.is_test[*i]).map(|(i, line)| (i + 1, line))
    }

    /// Crate and module path below `src`: `crates/mil/src/text/print.rs` is `("mil", "text/print")`.
    pub(crate) fn module(&self) -> Option<(&str, &str)> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once("/src/")?;
        Some((name, rest.strip_suffix(".rs")?))
    }

    /// Paths without `.rs` of the modules that this file declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let inside = match stem.rsplit_once('/') {
            Some((dir, "lib" | "main")) => dir,
            _ => stem,
        };
        let lines: Vec<&str> = self.code.lines().map(str::trim).collect();
        let declared = lines.windows(2).filter(|w| w[0].starts_with("#[cfg(test)]"));
        let name = |w: &[&str]| w[1].strip_suffix(';')?.rsplit_once("mod ").map(|(_, n)| n.to_owned());
        declared.filter_map(name).map(|n| format!("{inside}/{n}")).collect()
    }
}

/// Marks the lines of every `#[cfg(test)]` block.
fn test_lines(code: &str) -> Vec<bool> {
    let lines: Vec<&str> = code.lines().collect();
    let mut marks = vec![false; lines.len()];
    let mut i = 0;
    while i < lines.len() {
        let mut end = i;
        if lines[i].trim_start().starts_with("#[cfg(test)]") {
            end = end_of_item(&lines, i);
            marks[i..=end].fill(true);
        }
        i = end + 1;
    }
    marks
}

/// The line on which the item that begins at line `start` ends: with its closing brace, or with a semicolon.
pub(crate) fn end_of_item(lines: &[&str], start: usize) -> usize {
    let (mut braces, mut brackets) = (0i32, 0i32);
    for (i, line) in lines.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' => braces -= 1,
                _ => {}
            }
            let ended = matches!(c, '}' | ';') && braces == 0;
            if ended && brackets == 0 {
                return i;
            }
        }
    }
    lines.len() - 1
}

/// Code and comments of a Rust text, each with the other blanked out, and strings empty in the code.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut i = 0;
    while i < chars.len() {
        let (end, kind) = token(&chars, i);
        for &c in &chars[i..end] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            code.push(if kind == Kind::Code { c } else { blank });
            comments.push(if kind == Kind::Comment { c } else { blank });
        }
        i = end;
    }
    (code, comments)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Text,
}

/// The end of what begins at `i`, and what it is.
fn token(chars: &[char], i: usize) -> (usize, Kind) {
    let at = |k: usize| chars.get(k).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match at(i) {
        '/' if at(i + 1) == '/' => (find(chars, i, |k| at(k) == '\n'), Kind::Comment),
        '/' if at(i + 1) == '*' => (find(chars, i, |k| at(k) == '*' && at(k + 1) == '/') + 2, Kind::Comment),
        '"' => (end_of_string(chars, i), Kind::Text),
        '\'' if at(i + 1) == '\\' => (find(chars, i + 3, |k| at(k) == '\'') + 1, Kind::Text),
        '\'' if at(i + 2) == '\'' => (i + 3, Kind::Text),
        'r' if matches!(at(i + 1), '"' | '#') => {
            let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
            if at(i + 1 + hashes) != '"' {
                return (i + 1, Kind::Code);
            }
            let closes = |k: usize| at(k) == '"' && (1..=hashes).all(|h| at(k + h) == '#');
            (find(chars, i + 2 + hashes, closes) + 1 + hashes, Kind::Text)
        }
        c if is_word(c) => {
            // Only a prefix like `b` or `br` leads into a string; a longer word may not be cut at its `r`.
            let end = find(chars, i, |k| !is_word(at(k)));
            let prefix: String = chars[i..end].iter().collect();
            let leads = matches!(prefix.as_str(), "br" | "cr") && matches!(at(end), '"' | '#');
            (if leads { i + 1 } else { end }, Kind::Code)
        }
        _ => (i + 1, Kind::Code),
    }
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn find(chars: &[char], from: usize, is: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|k| is(*k)).unwrap_or(chars.len()).min(chars.len())
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let text = "let a = \"// {\"; // it's } {\nlet r = r#\"\"}\"#; /* { */ let c = '{'; f::<'a>('\\'');\nlet for_r = 1;";
    let (code, comments) = split(text);
    assert!(
        code.starts_with("let a =   ") && code.lines().next().is_some_and(|l| l.trim_end().ends_with(';'))
    );
    assert!(!code.contains(['{', '}']), "{code}");
    assert!(code.contains("f::<'a>("), "{code}");
    assert!(code.contains("let for_r = 1;"), "{code}");
    assert!(comments.contains("// it's } {") && comments.contains("/* { */"), "{comments}");
    assert!(!comments.contains("let"), "{comments}");
}

#[test]
fn test_modules_are_not_the_program() {
    let text =
        "//! x\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\n";
    let source = Source::new("crates/a/src/b.rs".into(), text.into());
    let lines: Vec<usize> = source.program_lines().map(|(n, _)| n).collect();
    assert_eq!(lines, [1, 2, 7]);
    assert_eq!(source.test_modules(), ["crates/a/src/b/more"]);
}
