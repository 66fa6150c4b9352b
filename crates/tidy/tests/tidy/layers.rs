//! Crates depend on each other as ARCHITECTURE.md draws it, modules only on those before them.

use std::fs;

use crate::source::{self, Source};
use crate::workspace;
use crate::{Fault, report};

/// A crate: the crates of the workspace that its program uses, and its modules in order. `lib.rs` or `main.rs`
/// states the same order.
struct Layer {
    name: &'static str,
    uses: &'static [&'static str],
    modules: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        name: "mil",
        uses: &[],
        modules: "error dtype types value infer opset program call builder model pack text validate digest disk \
                  blob proto package compiled bundle",
    },
    Layer { name: "report", uses: &[], modules: "" },
    Layer { name: "checkpoint", uses: &["report"], modules: "error config tensors files hub" },
    Layer {
        name: "convert",
        uses: &["checkpoint", "mil", "report"],
        modules: "error step selection progress ordered options digest kmeans head rotary weights graph arch \
                  metadata parts sampling meta_yaml combine record lock target leftovers links check pipeline",
    },
    Layer {
        name: "reference",
        uses: &["checkpoint", "report"],
        modules: "error memory matrix observer text weight product linear embed norm frequencies rotary family \
                  attention mlp layer head",
    },
    Layer { name: "lint", uses: &["mil"], modules: "target rule finding view checks lint" },
    Layer { name: "runtime", uses: &["mil"], modules: "error tensor kernels ops plan instance" },
    Layer {
        name: "chat",
        uses: &["mil", "report", "runtime"],
        modules: "contain error json date special tokenizer template meta model sampler sampling monolith cached generate \
                  conversation",
    },
    Layer {
        name: "inspect",
        uses: &["checkpoint", "mil", "report"],
        modules: "error names constants weights summary compare source detail align steps pairs graph signature diff",
    },
    Layer {
        name: "verify",
        uses: &["chat", "checkpoint", "convert", "mil", "reference", "report", "runtime"],
        modules: "error progress zip npz passage tokens figures block graph machine package noise saturation agreement \
                  column verify gate verdict",
    },
    Layer {
        name: "serve",
        uses: &["chat", "report"],
        modules: "error problem settings protocol pieces writer metrics intake engine card page reply entry guard app body \
                  answering routes connection server",
    },
    Layer {
        name: "cli",
        uses: &[
            "chat",
            "checkpoint",
            "convert",
            "inspect",
            "lint",
            "mil",
            "report",
            "runtime",
            "serve",
            "verify",
        ],
        modules: "plain failure args terminal threads foreign results hub tables document bench chat gate convert packages run \
                  serve verify inspect diff lint doctor",
    },
    Layer {
        name: "bench",
        uses: &["checkpoint", "convert"],
        modules: "error markdown shapes normal generate disk usage machine place run targets stages kmeans \
                  report command",
    },
    Layer { name: "tidy", uses: &[], modules: "" },
];

impl Layer {
    fn of(name: &str) -> Option<&'static Layer> {
        LAYERS.iter().find(|l| l.name == name)
    }

    /// The place of a module in the order.
    fn place(&self, module: &str) -> Option<usize> {
        self.modules.split_whitespace().position(|m| m == module)
    }
}

#[test]
fn crates_depend_as_the_picture_says() {
    let mut faults = Vec::new();
    let manifests = workspace::files(|p| p.starts_with("crates/") && p.ends_with("Cargo.toml"));
    for (path, text) in &manifests {
        let name = path.trim_start_matches("crates/").trim_end_matches("/Cargo.toml");
        let Some(layer) = Layer::of(name) else {
            let mend = "add it to LAYERS here, to ARCHITECTURE.md and to CONTRIBUTING.md";
            faults.push(Fault::new(path, 0, format!("the crate `{name}` is in no layer"), mend));
            continue;
        };
        let found = dependencies(text);
        for (dependency, line) in found.iter().filter(|(d, _)| !layer.uses.contains(d)) {
            let what = format!("`{name}` depends on `{dependency}`, which the picture does not allow");
            faults.push(Fault::new(path, *line, what, "move what you need to a lower crate, or pass it in"));
        }
        for unused in layer.uses.iter().filter(|u| !found.iter().any(|(d, _)| d == *u)) {
            let what = format!("`{name}` does not depend on `{unused}`, though the picture says so");
            faults.push(Fault::new(path, 0, what, "correct LAYERS here and the picture in ARCHITECTURE.md"));
        }
    }
    for layer in LAYERS {
        let path = format!("crates/{}/Cargo.toml", layer.name);
        if !manifests.iter().any(|(p, _)| *p == path) {
            faults.push(Fault::new(
                &path,
                0,
                "LAYERS names a crate that is not there",
                "take it out of LAYERS",
            ));
        }
    }
    report("dependencies between crates", &faults);
}

/// The crates of this workspace under `[dependencies]`, with their lines. What tests need is not counted: a test
/// may look at its crate from above.
fn dependencies(manifest: &str) -> Vec<(&str, usize)> {
    let mut section = "";
    let mut found = Vec::new();
    for (i, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim();
        } else if let Some(rest) = line.strip_prefix("anelith-").filter(|_| section == "[dependencies]") {
            let name = rest.split(['.', ' ', '=']).next().unwrap_or(rest);
            found.push((name, i + 1));
        }
    }
    found
}

#[test]
fn modules_use_only_those_before_them() {
    let mut faults = Vec::new();
    for source in source::all() {
        let Some((name, module)) = source.module() else { continue };
        let top = module.split('/').next().unwrap_or(module);
        let is_test = source.is_test.iter().all(|t| *t);
        match Layer::of(name) {
            Some(layer) if !is_test && !matches!(top, "lib" | "main") => {
                faults.extend(out_of_order(&source, layer, module, top));
            }
            _ => {}
        }
    }
    report("order of modules", &faults);
}

/// What the module `module`, which belongs to the module `top` of its crate, uses from after it.
fn out_of_order(source: &Source, layer: &Layer, module: &str, top: &str) -> Vec<Fault> {
    let Some(own) = layer.place(top) else {
        let what = format!("module `{top}` is not in the order of `{}`", layer.name);
        let mend = "add it to LAYERS here and to the crate's documentation";
        return vec![Fault::new(&source.path, 0, what, mend)];
    };
    let judge = |(line, used): (usize, String)| match layer.place(&used) {
        Some(place) if place <= own => None,
        Some(_) => {
            let what = format!("`{top}` uses `{used}`, which comes after it in `{}`", layer.name);
            Some(Fault::new(&source.path, line, what, "move what both need to a module before them"))
        }
        None => {
            let what = format!("`crate::{used}` goes through the root of the crate");
            Some(Fault::new(&source.path, line, what, "name the module that defines it"))
        }
    };
    uses(source, module).into_iter().filter_map(judge).collect()
}

/// The first names after `crate::`, or after as many `super::` as lead to the root, in the program's lines.
fn uses(source: &Source, module: &str) -> Vec<(usize, String)> {
    let to_root = "super::".repeat(module.split('/').count());
    let mut found = Vec::new();
    let lines: Vec<(usize, &str)> = source.program_lines().collect();
    for (i, (number, line)) in lines.iter().enumerate() {
        for root in ["crate::", &to_root] {
            for (at, _) in line.match_indices(root) {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                    continue;
                }
                let rest =
                    [&line[at + root.len()..]].into_iter().chain(lines[i + 1..].iter().map(|(_, l)| *l));
                let rest: String = rest.take(20).collect::<Vec<_>>().join(" ");
                found.extend(first_names(&rest).into_iter().map(|name| (*number, name)));
            }
        }
    }
    found
}

/// The first name of a path, or of each path of a group `{a::b, c::{d, e}}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |p: &str| p.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                names.push(name(&group[start..i]));
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|n: &String| !n.is_empty());
    names
}

#[test]
fn every_crate_states_the_order_of_its_modules() {
    let mut faults = Vec::new();
    for layer in LAYERS.iter().filter(|l| !l.modules.is_empty()) {
        let root = |file: &str| format!("crates/{}/src/{file}.rs", layer.name);
        let path = [root("lib"), root("main")].into_iter().find(|p| workspace::root().join(p).exists());
        let path = path.unwrap_or_else(|| panic!("{}: neither lib.rs nor main.rs", layer.name));
        let text = fs::read_to_string(workspace::root().join(&path)).expect("the file can be read");
        let documentation: Vec<&str> =
            text.lines().map_while(|l| l.strip_prefix("//!")).flat_map(str::split_whitespace).collect();
        let documentation = documentation.join(" ").replace('`', "");
        let order = layer.modules.split_whitespace().collect::<Vec<_>>().join(", ");
        if !documentation.contains(&order) {
            let what = format!("the documentation does not state the order of modules: {order}");
            faults.push(Fault::new(&path, 1, what, "state it there, or correct LAYERS here"));
        }
    }
    report("stated order of modules", &faults);
}

#[test]
fn paths_and_groups_are_found() {
    let text = "use crate::a;\nuse crate::{b::{x, y}, c,\n    d::Z};\nlet v = crate::e::f(super::g::h);\npub(crate) mod m;\n";
    let source = Source::new("crates/a/src/b.rs".into(), text.into());
    let names: Vec<String> = uses(&source, "b").into_iter().map(|(_, n)| n).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e", "g"]);
}
