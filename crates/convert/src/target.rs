//! What a package or bundle may take the place of: all that a directory holds goes when another replaces it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anelith_report::{Report, Reported};

use crate::error::{Error, Result, io};

/// What is written at a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A directory with a manifest.
    Package,
    /// A compiled model.
    Bundle,
}

impl Kind {
    fn extension(self) -> &'static str {
        match self {
            Kind::Package => "mlpackage",
            Kind::Bundle => "mlmodelc",
        }
    }

    /// The file by which a directory is known to be one.
    fn landmark(self) -> &'static str {
        match self {
            Kind::Package => "Manifest.json",
            Kind::Bundle => "coremldata.bin",
        }
    }

    /// What such a directory holds as we write it: one with nothing else is what is left of one.
    fn contents(self) -> &'static [&'static str] {
        match self {
            Kind::Package => &["Manifest.json", "Data"],
            Kind::Bundle => &["coremldata.bin", "model.mil", "metadata.json", "analytics", "weights"],
        }
    }
}

/// Refuses, as input, whatever stands at the place of a step's output and is not such an output.
pub(crate) fn check_output(target: &Path, kind: Kind) -> Result<()> {
    obstacle(target, kind)?.map_or(Ok(()), |report| Err(Error::Input(report)))
}

/// Refuses a target that the user has named: one of another extension than `kind` has, one where something else
/// stands, and one that replaces a source or lies in it.
pub(crate) fn check_named(target: &Path, kind: Kind, sources: &[&Path]) -> Result<()> {
    let extension = kind.extension();
    if target.extension().is_none_or(|e| e != extension) {
        let report = Report::new("the output has another extension than what is written");
        let report = report.at(target.display()).expecting(format!("a name that ends in .{extension}"));
        return Err(Error::Usage(report));
    }
    if let Some(report) = obstacle(target, kind)? {
        return Err(Error::Usage(report));
    }
    let place = resolved(target)?;
    for source in sources {
        let from = resolved(source)?;
        if from.starts_with(&place) || place.starts_with(&from) {
            let report = Report::new("the output would replace a source, or lie inside one");
            let report = report.at(target.display()).finding(format!("the source {}", source.display()));
            return Err(Error::Usage(report.mending("choose another name for the output")));
        }
    }
    Ok(())
}

/// What to say where something stands at `target` that is neither of this kind, nor what is left of it.
fn obstacle(target: &Path, kind: Kind) -> Result<Option<Report>> {
    let is_free = !target.exists() || target.join(kind.landmark()).is_file();
    if is_free || target.is_dir() && holds_only(target, kind.contents())? {
        return Ok(None);
    }
    let report = Report::new("something else stands at the output").at(target.display());
    let found = match target.is_dir() {
        true => format!("a directory without {}", kind.landmark()),
        false => "a file".to_owned(),
    };
    let report = report.expecting(format!("nothing, or a .{}", kind.extension())).finding(found);
    Ok(Some(report.mending("remove it, or choose another name")))
}

fn holds_only(dir: &Path, names: &[&str]) -> Result<bool> {
    for entry in fs::read_dir(dir).map_err(io("read", dir))? {
        let name = entry.map_err(io("read", dir))?.file_name();
        if !names.iter().any(|known| name == *known) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The path without links, `.` and `..`, as far as it exists, and without `.` and `..` beyond.
pub(crate) fn resolved(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(io("find", path))?;
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            other => {
                resolved.push(other);
                resolved = resolved.canonicalize().unwrap_or(resolved);
            }
        }
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_never_takes_a_source_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a.mlpackage", "outer.mlpackage/b.mlpackage"] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join("Manifest.json"), "{}").unwrap();
        }
        fs::write(at("outer.mlpackage/Manifest.json"), "{}").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("a.mlpackage"), at("link.mlpackage")).unwrap();
        let (a, b) = (at("a.mlpackage"), at("outer.mlpackage/b.mlpackage"));
        for (target, is_refused) in [
            ("a.mlpackage", true),
            ("outer.mlpackage/../a.mlpackage", true),
            ("none/../a.mlpackage", true),
            ("link.mlpackage", cfg!(unix)),
            ("outer.mlpackage", true),
            ("a.mlpackage/new.mlpackage", true),
            ("a.mlpackage.mlpackage", false),
            ("outer.mlpackage/new.mlpackage", false),
        ] {
            let result = check_named(&at(target), Kind::Package, &[&a, &b]);
            assert_eq!(matches!(result, Err(Error::Usage(_))), is_refused, "{target}: {result:?}");
        }
    }

    #[test]
    fn only_what_is_of_the_kind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x.mlmodelc");
        check_output(&target, Kind::Bundle).unwrap();
        fs::create_dir(&target).unwrap();
        check_output(&target, Kind::Bundle).unwrap();
        fs::create_dir(target.join("weights")).unwrap();
        check_output(&target, Kind::Bundle).unwrap();
        fs::write(target.join("Manifest.json"), "{}").unwrap();
        let Err(Error::Input(report)) = check_output(&target, Kind::Bundle) else { panic!("replaced") };
        assert_eq!(report.location, Some(target.display().to_string()));
        fs::write(target.join("coremldata.bin"), "").unwrap();
        check_output(&target, Kind::Bundle).unwrap();
        let file = dir.path().join("file.mlmodelc");
        fs::write(&file, "").unwrap();
        assert!(matches!(check_output(&file, Kind::Bundle), Err(Error::Input(_))));
    }
}
