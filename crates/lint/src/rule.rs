//! The rules: what each asks for, how bad it is to break it, where that is known from, and how to mend it.

use crate::target::Target;

mod table;

pub use table::RULES;
pub(crate) use table::*;

/// How bad it is to break a rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// It may be slower than it could be; nothing fails.
    Note,
    /// It is known to leave the Neural Engine, or to lose numbers on some inputs.
    Warning,
    /// It is known to fail: the model does not load or run, or what it computes is wrong.
    Error,
}

impl Severity {
    /// `note`, `warning` or `error`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A rule that programs for the Neural Engine should keep.
#[derive(PartialEq, Eq, Debug)]
pub struct Rule {
    /// The name that reports and options use, unique.
    pub id: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// Where it holds; everywhere when there is none.
    pub targets: &'static [Target],
    /// What it asks for, and what happens otherwise.
    pub title: &'static str,
    /// Where that is known from: issues by repository and number, documents by name.
    pub source: &'static str,
    /// How to mend it.
    pub fix: &'static str,
}

impl Rule {
    /// The rule called `id`.
    pub fn from_id(id: &str) -> Option<&'static Rule> {
        RULES.iter().copied().find(|rule| rule.id == id)
    }

    /// Whether it holds on one of `targets`.
    pub fn applies(&self, targets: &[Target]) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| targets.contains(target))
    }
}
