//! `Manifest.json`: what the package holds, by identifier.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// An item as anelith writes it; all are Core ML's own.
pub(super) struct Item {
    name: &'static str,
    description: &'static str,
}

pub(super) const MODEL: Item = Item { name: "model.mlmodel", description: "CoreML Model Specification" };
pub(super) const WEIGHTS: Item = Item { name: "weights", description: "CoreML Model Weights" };

const AUTHOR: &str = "com.apple.CoreML";
/// The newest version of the manifest that is read, and the one that is written.
const VERSION: [u64; 3] = [1, 0, 0];

impl Item {
    /// The path below `Data`.
    pub(super) fn path(&self) -> String {
        format!("{AUTHOR}/{}", self.name)
    }

    /// A UUID of version 8 (free form): the first bytes of the SHA-256 of the item's path, a zero byte and the
    /// model.
    fn identifier(&self, specification: &[u8]) -> String {
        let digest =
            Sha256::new().chain_update(self.path()).chain_update([0]).chain_update(specification).finalize();
        let mut digits = String::new();
        for (i, byte) in digest.iter().take(16).enumerate() {
            let byte = match i {
                6 => byte & 0x0f | 0x80,
                8 => byte & 0x3f | 0x80,
                _ => *byte,
            };
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            digits.push_str(&format!("{dash}{byte:02x}"));
        }
        digits
    }

    fn entry(&self, identifier: &str) -> String {
        let (name, description, path) = (self.name, self.description, self.path());
        let fields = [("author", AUTHOR), ("description", description), ("name", name), ("path", &path)];
        let fields: Vec<_> = fields.iter().map(|(k, v)| format!("            \"{k}\": \"{v}\"")).collect();
        format!("        \"{identifier}\": {{\n{}\n        }}", fields.join(",\n"))
    }
}

/// The manifest of a package with this model and a directory of weights.
pub(super) fn text(specification: &[u8]) -> String {
    let root = MODEL.identifier(specification);
    let mut entries = [&MODEL, &WEIGHTS].map(|item| item.entry(&item.identifier(specification)));
    entries.sort();
    let version = VERSION.map(|n| n.to_string()).join(".");
    format!(
        "{{\n    \"fileFormatVersion\": \"{version}\",\n    \"itemInfoEntries\": {{\n{}\n    }},\n    \
         \"rootModelIdentifier\": \"{root}\"\n}}\n",
        entries.join(",\n")
    )
}

/// What a manifest leads to; paths are below `Data`.
#[derive(Debug)]
pub(super) struct Paths {
    /// The model.
    pub(super) model: PathBuf,
    /// Every item, the model among them.
    pub(super) items: Vec<PathBuf>,
}

/// Reads a manifest, which errors call `what`.
pub(super) fn read(text: &[u8], what: &str) -> Result<Paths> {
    let wrong = |problem: String| Error::malformed(what, problem);
    let json: Value = serde_json::from_slice(text).map_err(|e| wrong(format!("is not JSON: {e}")))?;
    let manifest = json.as_object().ok_or_else(|| wrong("is not a JSON object".into()))?;
    check_version(string(manifest, "fileFormatVersion").map_err(wrong)?, what)?;
    let entries = manifest.get("itemInfoEntries").and_then(Value::as_object);
    let entries = entries.ok_or_else(|| wrong("`itemInfoEntries` is missing, expected an object".into()))?;
    let root = string(manifest, "rootModelIdentifier").map_err(wrong)?;
    let mut model = None;
    let mut items = Vec::new();
    for (identifier, entry) in entries {
        let path = item_path(entry).map_err(|p| wrong(format!("`itemInfoEntries`: `{identifier}`: {p}")))?;
        if identifier == root {
            model = Some(path.clone());
        }
        items.push(path);
    }
    let model = model.ok_or_else(|| {
        wrong(format!("`rootModelIdentifier` is `{root}`, expected a key of `itemInfoEntries`"))
    })?;
    Ok(Paths { model, items })
}

fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("`{key}` is {other}, expected a string")),
        None => Err(format!("`{key}` is missing, expected a string")),
    }
}

fn check_version(version: &str, what: &str) -> Result<()> {
    let expected = VERSION.map(|n| n.to_string()).join(".");
    let problem = format!("`fileFormatVersion` is `{version}`, expected three numbers up to {expected}");
    let parts: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    match parts {
        Some(parts) if parts.len() != VERSION.len() => Err(Error::malformed(what, problem)),
        Some(parts) if parts.as_slice() <= VERSION.as_slice() => Ok(()),
        Some(_) => Err(Error::unsupported(what, problem)),
        None => Err(Error::malformed(what, problem)),
    }
}

/// The path of an item, once all its fields are seen to be there.
fn item_path(entry: &Value) -> Result<PathBuf, String> {
    let entry = entry.as_object().ok_or("is not an object")?;
    for key in ["author", "description", "name"] {
        string(entry, key)?;
    }
    let text = string(entry, "path")?;
    let path = Path::new(text);
    if text.is_empty() || !path.components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(format!("`path` is `{text}`, expected a path inside the package"));
    }
    Ok(path.to_path_buf())
}
