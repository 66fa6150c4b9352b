//! What was found, and where.

use anelith_mil::text::print_op;
use anelith_mil::{Function, Op};

use crate::rule::Rule;

/// A place where a program breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The function; `None` where it is the program or a file.
    pub function: Option<String>,
    /// What it is about: the name of an op, or `` input `x` `` and the like.
    pub at: String,
    /// The op as text, cut where it is long; `None` where it is about no op.
    pub op: Option<String>,
    /// What the rule asks for here.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// The longest text of an op that is quoted, in characters.
const QUOTED: usize = 400;

/// The findings so far.
#[derive(Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    /// At an op of `function`.
    pub(crate) fn at_op(
        &mut self,
        rule: &'static Rule,
        function: &Function,
        op: &Op,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let (at, op) = (op.name().to_owned(), Some(quoted(function, op)));
        let function = Some(function.name.clone());
        let (expected, found) = (expected.into(), found.into());
        self.0.push(Finding { rule, function, at, op, expected, found });
    }

    /// At something of `function` that is no op.
    pub(crate) fn in_function(
        &mut self,
        rule: &'static Rule,
        function: &Function,
        at: String,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let function = Some(function.name.clone());
        let (expected, found) = (expected.into(), found.into());
        self.0.push(Finding { rule, function, at, op: None, expected, found });
    }

    /// At the program or one of its files.
    pub(crate) fn in_program(
        &mut self,
        rule: &'static Rule,
        at: String,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let (expected, found) = (expected.into(), found.into());
        self.0.push(Finding { rule, function: None, at, op: None, expected, found });
    }
}

fn quoted(function: &Function, op: &Op) -> String {
    let text = print_op(function, op);
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
