//! The document of all measurements, docs/performance.md, and the parts of it that commands write.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// A part between two marks; what stands outside of them is written by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// What conversions take.
    Conversions,
    /// How fast their results run.
    Running,
}

impl Part {
    /// The lines between which the part stands.
    fn marks(self) -> [&'static str; 2] {
        match self {
            Part::Conversions => [
                "<!-- written by `make bench`, up to the next mark; do not edit -->",
                "<!-- end of what `make bench` writes -->",
            ],
            Part::Running => [
                "<!-- written by `make bench-runtime`, up to the next mark; do not edit -->",
                "<!-- end of what `make bench-runtime` writes -->",
            ],
        }
    }

    /// Puts `text` between the marks of a document.
    pub(crate) fn write_into(self, document: &Path, text: &str) -> Result<()> {
        let old = fs::read_to_string(document).map_err(Error::io("read", document))?;
        let [begin, end] = self.marks();
        let lacks = || Error::Usage(format!("{} lacks the lines\n{begin}\n{end}", document.display()));
        let new = self.replace(&old, text).ok_or_else(lacks)?;
        fs::write(document, new).map_err(Error::io("write", document))
    }

    fn replace(self, document: &str, text: &str) -> Option<String> {
        let [begin, end] = self.marks();
        let (before, rest) = document.split_once(begin)?;
        let (_, after) = rest.split_once(end)?;
        Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_leaves_the_rest_alone() {
        let [first, second] = [Part::Conversions, Part::Running].map(Part::marks);
        let old = format!("# a\n{}\nold\n{}\nb\n{}\n{}\nc\n", first[0], first[1], second[0], second[1]);
        let new = Part::Conversions.replace(&old, "new\n").expect("the marks are there");
        let new = Part::Running.replace(&new, "other").expect("the marks are there");
        let [one, two] = [("new", first), ("other", second)]
            .map(|(text, [begin, end])| format!("{begin}\n\n{text}\n\n{end}"));
        assert_eq!(new, format!("# a\n{one}\nb\n{two}\nc\n"));
        assert_eq!(Part::Running.replace(&new, "other"), Some(new.clone()));
        assert_eq!(Part::Running.replace("# a\n", "new\n"), None);
    }

    #[test]
    fn the_document_has_all_marks() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md");
        let text = fs::read_to_string(path).expect("the document is there");
        for part in [Part::Conversions, Part::Running] {
            assert!(part.replace(&text, "").is_some(), "{part:?}");
        }
    }
}
