//! Programs of `tests/mil`, where `// lint: RULE, ...` at the end of a line names all that breaks there.
//!
//! A line stands for the op that it assigns, that of a function for its inputs, and the first one for the program. A line
//! `// targets: NAME,...` says where the program is to run, if not on any Mac.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anelith_lint::{Finding, Options, RULES, Target, lint};
use anelith_mil::{Description, Feature, Function, Interface, Model, Type, Var, text};

/// Rules about files, whose test is `files`.
const OF_FILES: [&str; 2] = ["file-size", "file-size-ios"];

#[test]
fn every_rule_is_broken_where_a_program_says_so_and_nowhere_else() {
    let mut broken = BTreeSet::new();
    for (name, source) in programs() {
        let expected = expected(&source);
        let found = found(&name, &source);
        let missing: Vec<_> = expected.difference(&found).collect();
        let more: Vec<_> = found.difference(&expected).collect();
        assert!(missing.is_empty() && more.is_empty(), "{name}: not found {missing:?}, but {more:?}");
        assert!(expected.iter().any(|(_, rule)| *rule == name), "{name}: breaks no rule of its name");
        broken.extend(expected.into_iter().map(|(_, rule)| rule));
    }
    for rule in RULES.iter().filter(|rule| !OF_FILES.contains(&rule.id)) {
        assert!(broken.contains(rule.id), "no program in tests/mil breaks `{}`", rule.id);
    }
}

#[test]
fn rules_are_told_apart_and_say_what_to_do() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len(), "two rules have one id");
    for rule in RULES {
        assert!(rule.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        assert!(![rule.title, rule.source, rule.fix].contains(&""), "{}", rule.id);
    }
}

#[test]
fn rules_are_chosen_allowed_and_bound_to_targets() {
    let model = model(&read("uniform-states"));
    let ids = |options: &Options| {
        lint(&model, None, options).iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    let rule = |id| anelith_lint::Rule::from_id(id).expect("a rule");
    let m1 = || Options { targets: vec![Target::M1], ..Options::default() };
    assert_eq!(ids(&Options::default()), ["one-state"]);
    assert_eq!(ids(&m1()), ["one-state", "uniform-states"]);
    assert_eq!(ids(&Options { rules: vec![rule("uniform-states")], ..m1() }), ["uniform-states"]);
    assert_eq!(ids(&Options { allowed: vec![rule("uniform-states")], ..m1() }), ["one-state"]);
}

/// Names and texts of all programs.
fn programs() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mil");
    let entries = fs::read_dir(dir).expect("a directory");
    let names = entries.map(|e| e.expect("an entry").path().file_stem().expect("a name").to_owned());
    let mut names: Vec<String> = names.map(|name| name.into_string().expect("a word")).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/mil/{name}.mil"));
    fs::read_to_string(path).expect("a program")
}

/// Lines, counted from one, and the rules that break there.
fn expected(source: &str) -> BTreeSet<(usize, String)> {
    let of_line = |(i, line): (usize, &str)| {
        let (_, rules) = line.split_once("// lint: ")?;
        Some(rules.split(", ").map(move |rule| (i + 1, rule.trim().to_owned())).collect::<Vec<_>>())
    };
    source.lines().enumerate().filter_map(of_line).flatten().collect()
}

fn found(name: &str, source: &str) -> BTreeSet<(usize, String)> {
    let named = source.lines().find_map(|line| line.strip_prefix("// targets: "));
    let target = |name: &str| Target::ALL.into_iter().find(|t| t.name() == name).expect("a target");
    let targets = named.map_or(vec![Target::Macos15], |names| names.split(',').map(target).collect());
    let findings = lint(&model(source), None, &Options { targets, ..Options::default() });
    findings
        .iter()
        .map(|finding| match line_of(source, finding) {
            Some(line) => (line, finding.rule.id.to_owned()),
            None => panic!("{name}: no line for {finding:?}"),
        })
        .collect()
}

/// The line that a finding is about.
fn line_of(source: &str, finding: &Finding) -> Option<usize> {
    let lines: Vec<&str> = source.lines().collect();
    let after = |start: usize, text: &str| lines.iter().skip(start).position(|l| l.contains(text));
    let Some(function) = &finding.function else { return Some(after(0, "program(")? + 1) };
    let head = after(0, &format!("func {function}<"))?;
    // What the validator quotes is an op as well.
    let named = finding.at.strip_prefix("op `").and_then(|at| at.split('`').next());
    match named.or(finding.op.as_ref().map(|_| finding.at.as_str())) {
        Some(op) => Some(head + after(head, &format!("[name = string(\"{op}\")"))? + 1),
        None => Some(head + 1),
    }
}

/// The program with a description that is true.
fn model(source: &str) -> Model {
    let program = text::parse(source, "a test").expect("a program");
    let functions: Vec<Interface> = program.functions.iter().map(interface).collect();
    let default_function = functions.first().map(|interface| interface.name.clone());
    let description = Description { functions, default_function, ..Description::default() };
    Model { specification_version: 9, description, program }
}

fn interface(function: &Function) -> Interface {
    let mut interface = Interface { name: function.name.clone(), ..Interface::default() };
    for id in &function.inputs {
        let var = function.var(*id);
        match var.ty {
            Type::State(_) => interface.states.push(feature(var)),
            _ => interface.inputs.push(feature(var)),
        }
    }
    interface.outputs = function.outputs.iter().map(|id| feature(function.var(*id))).collect();
    interface
}

fn feature(var: &Var) -> Feature {
    let (Type::Tensor(ty) | Type::State(ty)) = &var.ty else { panic!("{} is no tensor", var.name) };
    let shape = ty.fixed_shape().unwrap_or_default();
    Feature::new(&var.name, ty.dtype, &shape.iter().map(|n| *n as i64).collect::<Vec<_>>())
}
