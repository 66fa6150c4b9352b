//! The program as a whole, and its files.

use anelith_mil::blob::WeightStore;
use anelith_mil::{Error, Model, validate_model};

use crate::finding::{Finding, Findings};
use crate::rule::{self, Severity};

/// The largest number of functions that is known to load.
const FUNCTIONS: usize = 2;

/// The largest weight file that the Neural Engine takes, in bytes.
const MAX_FILE: u64 = 1 << 31;

/// The largest weight file that iPhones take, in bytes.
const MAX_FILE_IOS: u64 = 1_000_000_000;

pub(super) fn check(model: &Model, files: Option<&WeightStore>, findings: &mut Findings) {
    let functions = &model.program.functions;
    if functions.len() > FUNCTIONS {
        let names: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
        let found = names.join(", ");
        findings.in_program(&rule::FUNCTIONS, "functions".into(), "at most two functions", found);
    }
    for (name, file) in files.into_iter().flat_map(WeightStore::files) {
        size(name, file.byte_len(), findings);
    }
    validity(model, findings);
}

fn size(name: &str, bytes: u64, findings: &mut Findings) {
    let mut add = |rule, expected: &str| {
        findings.in_program(rule, format!("file `{name}`"), expected, format!("{bytes} bytes"));
    };
    if bytes > MAX_FILE {
        add(&rule::FILE_SIZE, "at most 2147483648 bytes");
    }
    if bytes > MAX_FILE_IOS {
        add(&rule::FILE_SIZE_IOS, "at most 1000000000 bytes");
    }
}

/// What the validator says, but for functions in which a rule with a name of its own found an error.
fn validity(model: &Model, findings: &mut Findings) {
    let Err(error) = validate_model(model) else { return };
    let expected = "a program that keeps the rules of MIL";
    let Error::Invalid(broken) = error else {
        findings.in_program(&rule::VALID, "model".into(), expected, error.to_string());
        return;
    };
    for broken in broken {
        let is_named =
            |f: &Finding| f.rule.severity == Severity::Error && f.function.as_ref() == Some(&broken.function);
        if !findings.0.iter().any(is_named) {
            let rule = &rule::VALID;
            let (function, at) = (Some(broken.function), broken.at);
            let expected = expected.to_owned();
            findings.0.push(Finding { rule, function, at, op: None, expected, found: broken.problem });
        }
    }
}
