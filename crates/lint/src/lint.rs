//! Which rules are asked for, and what breaks them.

use anelith_mil::Model;
use anelith_mil::blob::WeightStore;

use crate::checks;
use crate::finding::Finding;
use crate::rule::Rule;
use crate::target::Target;

/// What to look for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the program is to run.
    pub targets: Vec<Target>,
    /// The rules to keep to; all where there are none.
    pub rules: Vec<&'static Rule>,
    /// Rules that may be broken.
    pub allowed: Vec<&'static Rule>,
}

impl Default for Options {
    /// All rules that hold on every Mac.
    fn default() -> Options {
        Options { targets: vec![Target::Macos15], rules: Vec::new(), allowed: Vec::new() }
    }
}

impl Options {
    fn asks_for(&self, rule: &Rule) -> bool {
        let is_chosen = self.rules.is_empty() || self.rules.contains(&rule);
        is_chosen && !self.allowed.contains(&rule) && rule.applies(&self.targets)
    }
}

/// Where `model` breaks the rules that `options` asks for, function by function; those of whole programs come last.
///
/// The model need not be valid. Without `files`, rules about weight files and their contents are not looked at.
pub fn lint(model: &Model, files: Option<&WeightStore>, options: &Options) -> Vec<Finding> {
    let found = checks::run(model, files).0;
    found.into_iter().filter(|finding| options.asks_for(finding.rule)).collect()
}
