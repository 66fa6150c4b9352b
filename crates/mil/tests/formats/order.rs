//! The modules come in the order that the crate's documentation states.

use std::path::{Path, PathBuf};

use crate::shared;

/// The modules that the documentation of the crate lists, in its order.
fn stated_order(documentation: &str) -> Vec<String> {
    let (_, list) = documentation.split_once("only what stands before it:").expect("the list");
    let (list, _) = list.split_once("//!\n").expect("the end of the list");
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_source(path: &Path) -> bool {
    shared::has_extension(path, "rs") && path.file_name().is_some_and(|name| name != "tests.rs")
}

/// The modules of the crate that the code of a module uses; its tests may use any.
fn used(source: &Path, module: &str) -> Vec<String> {
    let mut files = shared::find(source, is_source);
    files.retain(|f| f.starts_with(source.join(module)) || *f == source.join(format!("{module}.rs")));
    let read = |file: PathBuf| std::fs::read_to_string(file).expect("a source file");
    let code = files.into_iter().map(read).map(|text| {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    });
    let code: String = code.collect();
    let name = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned);
    code.split("crate::").skip(1).filter_map(name).collect()
}

#[test]
fn each_module_uses_only_modules_before_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let documentation = std::fs::read_to_string(source.join("lib.rs")).expect("a source file");
    let order = stated_order(&documentation);
    let declared = documentation.lines().filter(|line| line.ends_with(';') && line.contains("mod ")).count();
    assert_eq!(order.len(), declared, "every module is in the list: {order:?}");
    for (i, module) in order.iter().enumerate() {
        for other in used(&source, module) {
            let at = order.iter().position(|m| *m == other);
            let at = at.unwrap_or_else(|| panic!("`{module}` uses `crate::{other}`, which is no module"));
            assert!(at <= i, "`{module}` uses `{other}`, which stands behind it");
        }
    }
}
