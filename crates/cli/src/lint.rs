//! `lint`: what is known to fail on the Neural Engine, or to leave it, in a program.

use std::collections::BTreeSet;
use std::path::Path;

use anelith_lint::{Finding, Options, RULES, Rule, Severity, Target};
use anelith_mil::blob::WeightStore;
use anelith_mil::read_model;
use anelith_report::{Report, Reported};
use serde_json::{Value, json};

use crate::args::LintArgs;
use crate::failure::{Failure, Result, Status};
use crate::inspect::program_path;
use crate::plain::plain;
use crate::terminal::{print, report};

pub(crate) fn lint(args: &LintArgs) -> Result<()> {
    let options = options(args)?;
    let Some(package) = &args.package else { return list(&options, args.json) };
    let package = &program_path(package)?;
    let (model, root) = read_model(package)?;
    let weights = WeightStore::open(&root, &model.program)?;
    let findings = anelith_lint::lint(&model, Some(&weights), &options);
    let counts = Counts::of(&findings);
    report(&match args.json {
        true => format!("{:#}\n", document(package, &options, &findings, &counts)),
        false => text(&options, &findings, &counts),
    })?;
    let failures = counts.errors + if args.strict { counts.warnings } else { 0 };
    if failures == 0 {
        return Ok(());
    }
    let what = match args.strict {
        true => format!("{} break rules of the Neural Engine", plural(failures, "place")),
        false => format!("{} known to fail on the Neural Engine", plural(failures, "place")),
    };
    let report = Report::new(what).at(package.display());
    Err(Failure::new(Status::Gate, report.mending("each finding says how; --allow ID leaves a rule out")))
}

fn options(args: &LintArgs) -> Result<Options> {
    Ok(Options {
        targets: args.target.iter().map(|target| Target::from(*target)).collect(),
        rules: rules("--rules", args.rules.as_deref().unwrap_or_default())?,
        allowed: rules("--allow", &args.allow)?,
    })
}

fn rules(option: &'static str, ids: &[String]) -> Result<Vec<&'static Rule>> {
    let rule = |id: &String| {
        Rule::from_id(id).ok_or_else(|| {
            let report = Report::new(format!("there is no rule `{id}`")).at(option);
            let known = RULES.iter().map(|rule| rule.id).collect::<Vec<_>>().join(", ");
            Failure::usage(report.expecting(known).mending("anelith lint --rules lists them"))
        })
    };
    ids.iter().map(rule).collect()
}

/// The rules themselves.
fn list(options: &Options, as_json: bool) -> Result<()> {
    let chosen = || {
        let is_chosen = |rule: &&Rule| options.rules.is_empty() || options.rules.contains(rule);
        RULES.iter().copied().filter(is_chosen).filter(|rule| !options.allowed.contains(rule))
    };
    if as_json {
        let rules: Vec<Value> = chosen().map(rule_document).collect();
        return print(&format!("{:#}\n", json!({ "rules": rules })));
    }
    print(&chosen().map(rule_text).collect::<Vec<_>>().join("\n"))
}

fn rule_document(rule: &Rule) -> Value {
    let targets: Vec<&str> = rule.targets.iter().map(|target| target.name()).collect();
    json!({
        "id": rule.id,
        "severity": rule.severity.name(),
        "targets": if targets.is_empty() { json!("all") } else { json!(targets) },
        "rule": rule.title,
        "source": rule.source,
        "fix": rule.fix,
    })
}

fn rule_text(rule: &Rule) -> String {
    let targets: Vec<&str> = rule.targets.iter().map(|target| target.description()).collect();
    let on = if targets.is_empty() { String::new() } else { format!(", on {}", targets.join(", ")) };
    format!(
        "{} ({}{on})\n  rule: {}\n  source: {}\n  to mend: {}\n",
        rule.id,
        rule.severity.name(),
        rule.title,
        rule.source,
        rule.fix
    )
}

/// How many findings of each severity there are.
struct Counts {
    errors: usize,
    warnings: usize,
    notes: usize,
}

impl Counts {
    fn of(findings: &[Finding]) -> Counts {
        let count = |severity| findings.iter().filter(|f| f.rule.severity == severity).count();
        Counts {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
        }
    }
}

fn document(package: &Path, options: &Options, findings: &[Finding], counts: &Counts) -> Value {
    let finding = |f: &Finding| {
        json!({
            "rule": f.rule.id,
            "severity": f.rule.severity.name(),
            "function": f.function,
            "at": f.at,
            "op": f.op,
            "expected": f.expected,
            "found": f.found,
            "source": f.rule.source,
            "fix": f.rule.fix,
        })
    };
    json!({
        "package": package.display().to_string(),
        "targets": options.targets.iter().map(|t| t.name()).collect::<Vec<_>>(),
        "errors": counts.errors,
        "warnings": counts.warnings,
        "notes": counts.notes,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// The findings of each rule in each function as one: the first of them, and how many more there are; the worst first.
fn text(options: &Options, findings: &[Finding], counts: &Counts) -> String {
    let mut text = String::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let mut seen = BTreeSet::new();
        for finding in findings.iter().filter(|f| f.rule.severity == severity) {
            if seen.insert((finding.rule.id, &finding.function)) {
                let is_same = |f: &&Finding| f.rule == finding.rule && f.function == finding.function;
                text += &entry(finding, findings.iter().filter(is_same).count() - 1);
            }
        }
    }
    let targets = options.targets.iter().map(|t| t.description()).collect::<Vec<_>>().join(", ");
    let Counts { errors, warnings, notes } = *counts;
    let (errors, warnings) = (plural(errors, "error"), plural(warnings, "warning"));
    text + &format!("{errors}, {warnings}, {} for {targets}\n", plural(notes, "note"))
}

fn entry(finding: &Finding, more: usize) -> String {
    let Finding { rule, function, at, op, expected, found } = finding;
    let mut text = format!("{}[{}]: {}\n", rule.severity.name(), rule.id, rule.title);
    let place = match (function, op) {
        (Some(function), Some(_)) => format!("function `{function}`, op `{at}`"),
        (Some(function), None) => format!("function `{function}`, {at}"),
        (None, _) => at.clone(),
    };
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    text += &format!("  where: {}{more}\n", plain(&place));
    if let Some(op) = op {
        text += &format!("  op: {}\n", plain(op));
    }
    text += &format!("  expected: {}\n  found: {}\n", plain(expected), plain(found));
    text + &format!("  to mend: {}\n  source: {}\n", rule.fix, rule.source)
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
