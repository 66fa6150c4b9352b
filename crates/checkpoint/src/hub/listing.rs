//! Which files a model has on the hub, and which of them a conversion needs.

use std::collections::BTreeMap;

use anelith_report::Reported;
use serde::Deserialize;

use super::id::is_commit;
use crate::error::{Error, Result};
use crate::files::model_file_names;
use crate::tensors::{INDEX, SINGLE, foreign_weights_of, is_plain_name, shards_of};

/// A list has some hundred bytes for each file.
pub(super) const MAX_LISTING_BYTES: u64 = 64 << 20;

/// A file of a model on a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name in the model's directory.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The name of its blob: its SHA-256, or git's SHA-1 for small files.
    pub(super) etag: String,
}

impl RemoteFile {
    /// A file whose blob is called `etag`; `None` if no blob is called so.
    pub(super) fn new(name: &str, size: u64, etag: &str) -> Option<RemoteFile> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_name =
            !etag.is_empty() && etag.len() <= 128 && etag.bytes().all(is_plain) && !etag.starts_with('.');
        is_name.then(|| RemoteFile { name: name.to_owned(), size, etag: etag.to_owned() })
    }

    pub(super) fn is_weights(&self) -> bool {
        self.name.ends_with(".safetensors")
    }
}

/// What a hub says of a model at a revision.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commit that the revision stands for.
    pub(super) commit: String,
    files: BTreeMap<String, Sibling>,
}

#[derive(Deserialize)]
struct Document {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// Where the weights of a model are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// In one file.
    Single(String),
    /// In the shards that the index names.
    Index,
}

impl Listing {
    /// Reads the answer of a hub; `endpoint` is for the error, which is `Malformed`.
    pub(super) fn parse(bytes: &[u8], endpoint: &str) -> Result<Listing> {
        let unusable = |found: String| {
            Error::malformed(format!("{endpoint} does not answer as a hub does"))
                .at(endpoint)
                .expecting(r#"{"sha": COMMIT, "siblings": [{"rfilename": NAME, ...}, ...]}"#)
                .finding(found)
                .mending("check HF_ENDPOINT, and what stands between it and this machine")
        };
        let document: Document = serde_json::from_slice(bytes).map_err(|e| unusable(e.to_string()))?;
        if !is_commit(&document.sha) {
            return Err(unusable(format!("the commit {:?}", document.sha)));
        }
        let files = document.siblings.into_iter().map(|file| (file.rfilename.clone(), file)).collect();
        Ok(Listing { commit: document.sha, files })
    }

    /// The files that a model has beside its weights, of those that are read.
    ///
    /// `Missing` if one is absent without which there is no conversion.
    pub(super) fn beside_weights(&self, page: &str) -> Result<Vec<&str>> {
        let mut names = Vec::new();
        for (name, is_required) in model_file_names() {
            if self.files.contains_key(name) {
                names.push(name);
            } else if is_required {
                return Err(Error::missing(format!("the model has no {name}"))
                    .at(page)
                    .expecting(format!("the file {name}"))
                    .finding(format!("{} other files", self.files.len()))
                    .mending("choose a model in the format of transformers, with a fast tokenizer"));
            }
        }
        Ok(names)
    }

    /// The files of `model_file_names` that the model does not have.
    pub(super) fn absent(&self) -> impl Iterator<Item = &'static str> {
        model_file_names().map(|(name, _)| name).filter(|name| !self.files.contains_key(*name))
    }

    /// Where the weights are; `Missing` if there are none that are read.
    pub(super) fn weights(&self, page: &str) -> Result<Weights> {
        if self.files.contains_key(SINGLE) {
            return Ok(Weights::Single(SINGLE.to_owned()));
        }
        if self.files.contains_key(INDEX) {
            return Ok(Weights::Index);
        }
        // The name becomes one in the cache, so it must not lead out of it.
        let is_ours = |name: &&String| name.ends_with(".safetensors") && is_plain_name(name);
        let ours: Vec<&String> = self.files.keys().filter(is_ours).collect();
        if let [only] = ours[..] {
            return Ok(Weights::Single(only.clone()));
        }
        let found = match ours.len() {
            0 => foreign_weights_of(self.files.keys().map(String::as_str)),
            several => format!("{several} .safetensors files and no index"),
        };
        Err(Error::missing("the model has no weights that are read")
            .at(page)
            .expecting(format!("{SINGLE}, or {INDEX} with its shards"))
            .finding(found)
            .mending("choose a model, or a revision of it, that is stored as safetensors"))
    }

    /// The shards that the text of an index names. `Malformed` if it is none, `Missing` if a shard is not there.
    pub(super) fn shards(&self, index: &[u8], page: &str) -> Result<Vec<String>> {
        let shards = shards_of(index, format!("{page}: {INDEX}").as_ref())?;
        match shards.iter().find(|shard| !self.files.contains_key(*shard)) {
            None => Ok(shards),
            Some(shard) => Err(Error::missing(format!("the model has no `{shard}`, which its index names"))
                .at(page)
                .expecting(format!("the file {shard}"))
                .finding("no such file")
                .mending("choose another revision, or tell the model's authors")),
        }
    }

    /// Size and blob of a file; `None` where the hub does not say.
    pub(super) fn file(&self, name: &str) -> Option<RemoteFile> {
        let file = self.files.get(name)?;
        match &file.lfs {
            Some(lfs) => RemoteFile::new(name, lfs.size, &lfs.sha256),
            None => RemoteFile::new(name, file.size?, file.blob_id.as_ref()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let siblings: Vec<String> =
            names.iter().map(|n| format!(r#"{{"rfilename": "{n}", "size": 3, "blobId": "{n}"}}"#)).collect();
        let text = format!(r#"{{"sha": "{}", "siblings": [{}]}}"#, "0a".repeat(20), siblings.join(", "));
        Listing::parse(text.as_bytes(), "http://hub").unwrap()
    }

    #[test]
    fn weights_are_one_file_or_an_index_and_never_both() {
        let single = || Weights::Single("model.safetensors".to_owned());
        for (names, expected) in [
            (&["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"][..], Some(single())),
            (
                &["model.safetensors.index.json", "a.safetensors", "consolidated.safetensors"],
                Some(Weights::Index),
            ),
            (
                &["other.safetensors", "sub/x.safetensors"],
                Some(Weights::Single("other.safetensors".to_owned())),
            ),
            (&["a.safetensors", "b.safetensors"], None),
            (&["..\\\\x.safetensors"], None),
            (&["C:x.safetensors"], None),
            (&["\\u001b[2Jx.safetensors"], None),
            (&["pytorch_model.bin", "model.gguf"], None),
        ] {
            assert_eq!(listing(names).weights("page").ok(), expected, "{names:?}");
        }
        let error = listing(&["pytorch_model.bin"]).weights("page").unwrap_err();
        assert_eq!(error.found(), Some("pytorch_model.bin"));
    }

    #[test]
    fn an_index_names_files_that_are_there() {
        let listing = listing(&["a.safetensors"]);
        let good = br#"{"weight_map": {"x": "a.safetensors", "y": "a.safetensors"}}"#;
        assert_eq!(listing.shards(good, "page").unwrap(), ["a.safetensors"]);
        for bad in [
            &br#"{"weight_map": {"x": "b.safetensors"}}"#[..],
            br#"{"weight_map": {"x": "../a"}}"#,
            b"<html>",
        ] {
            assert!(listing.shards(bad, "page").is_err());
        }
    }

    #[test]
    fn blobs_have_names_of_files() {
        for bad in ["", ".", "../x", "a/b", "a\\b", &"x".repeat(200)] {
            assert_eq!(RemoteFile::new("x", 1, bad), None, "{bad}");
        }
        for text in ["<html>", r#"{"sha": "../..", "siblings": []}"#, r#"{"siblings": []}"#] {
            assert!(Listing::parse(text.as_bytes(), "http://hub").is_err(), "{text}");
        }
    }
}
