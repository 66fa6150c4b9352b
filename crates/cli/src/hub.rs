//! `--model` and `--revision`: a directory as it is, a hub id as what is downloaded for it.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anelith_checkpoint::{
    Checkpoint, ErrorKind, Hub, HubProgress, HubSettings, ModelId, RemoteFile, Revision, Snapshot,
};
use anelith_convert::File;
use anelith_report::{Report, Reported};
use indicatif::ProgressBar;

use crate::failure::{Failure, Result};
use crate::results::Download;
use crate::terminal::{bar, note, warn_above};

/// Where a model is.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) dir: PathBuf,
    /// What it is called, where that is not the directory's own name.
    name: Option<String>,
}

impl Model {
    pub(crate) fn open(&self) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::open(&self.dir)?;
        Ok(match &self.name {
            Some(name) => checkpoint.named(name.clone()),
            None => checkpoint,
        })
    }
}

/// What is known of a model when nothing may be written.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is here.
    Whole(Model),
    /// Something of it is not.
    Lacking(Download),
}

/// Finds the model that `--model` and `--revision` name, and downloads what is lacking of it.
pub(crate) fn model(model: &Path, revision: Option<&str>) -> Result<Model> {
    match locate(model, revision)? {
        Place::Directory(dir) => Ok(Model { dir, name: None }),
        Place::Cache(cached) => cached.download(),
    }
}

/// Finds the model that `--model` and `--revision` name, and writes nothing.
pub(crate) fn look(model: &Path, revision: Option<&str>) -> Result<Found> {
    match locate(model, revision)? {
        Place::Directory(dir) => Ok(Found::Whole(Model { dir, name: None })),
        // Whoever only looks leaves even the notes of the cache as they are.
        Place::Cache(cached) if cached.snapshot.lacking.is_empty() => Ok(Found::Whole(cached.into_model())),
        Place::Cache(cached) => Ok(Found::Lacking(cached.lacking())),
    }
}

/// Where a model is, or would be.
enum Place {
    Directory(PathBuf),
    Cache(Box<Cached>),
}

/// A model of a hub, as far as the cache has it.
struct Cached {
    hub: Hub,
    snapshot: Snapshot,
    endpoint: String,
    cache: PathBuf,
    progress: Bar,
}

impl Cached {
    fn download(self) -> Result<Model> {
        if !self.snapshot.lacking.is_empty() {
            note(&format!("download from {}", self.endpoint));
        }
        self.hub.download(&self.snapshot, &self.progress)?;
        Ok(self.into_model())
    }

    fn into_model(self) -> Model {
        Model { dir: self.snapshot.dir, name: Some(self.snapshot.id.model_name()) }
    }

    fn lacking(self) -> Download {
        let Cached { snapshot, endpoint, cache, .. } = self;
        let file = |file: &RemoteFile| File { name: file.name.clone(), bytes: Some(file.size) };
        let files = snapshot.lacking.iter().map(file).collect();
        Download { endpoint, cache, commit: snapshot.commit, files }
    }
}

fn locate(model: &Path, revision: Option<&str>) -> Result<Place> {
    let text = model.to_string_lossy();
    if model.exists() || !is_hub_id(&text) {
        return match revision {
            None => Ok(Place::Directory(model.to_owned())),
            Some(revision) => Err(of_a_directory(model, revision)),
        };
    }
    let id = ModelId::parse(&text)?;
    let revision = revision.map_or(Ok(Revision::default()), Revision::parse)?;
    let settings = HubSettings::from_env()?;
    let (endpoint, cache) = (settings.endpoint.clone(), settings.cache.clone());
    let hub = Hub::new(settings);
    let progress = Bar::default();
    let snapshot = hub.find(&id, &revision, &progress)?;
    note(&format!("model: {id}, {revision} is {}", snapshot.commit));
    Ok(Place::Cache(Box::new(Cached { hub, snapshot, endpoint, cache, progress })))
}

/// The model that `named` is, a directory or the id of one that the cache holds at `revision`, opened; and its directory.
/// Nothing is asked of a hub.
pub(crate) fn cached(named: &Path, revision: Option<&str>) -> Result<(Checkpoint, PathBuf)> {
    let text = named.to_string_lossy();
    let model = if named.exists() || !is_hub_id(&text) {
        if let Some(revision) = revision {
            return Err(of_a_directory(named, revision));
        }
        Model { dir: named.to_owned(), name: None }
    } else {
        let id = ModelId::parse(&text)?;
        let revision = revision.map_or(Ok(Revision::default()), Revision::parse)?;
        let settings = HubSettings::from_env()?;
        let is_offline = settings.offline;
        let hub = Hub::new(HubSettings { offline: true, ..settings });
        let to_download =
            "nothing is downloaded here: `anelith convert --model` does, and with --dry-run says what first";
        let snapshot = hub.find(&id, &revision, &Bar::default()).map_err(|error| match error.kind() {
            ErrorKind::Missing if !is_offline => error.mending(to_download),
            _ => error,
        })?;
        Model { dir: snapshot.dir, name: Some(id.model_name()) }
    };
    Ok((model.open()?, model.dir))
}

fn of_a_directory(model: &Path, revision: &str) -> Failure {
    let report = Report::new("--revision is for hub ids, and --model is a path").at("--revision");
    let report =
        report.expecting("--model org/name").finding(format!("--model {}, {revision}", model.display()));
    Failure::usage(report.mending("leave --revision out, or give a hub id to --model"))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Whether `--model` is a hub id: two plain words, of which the first is no path here.
fn is_hub_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let word = |text: &str| !text.is_empty() && text.chars().all(plain);
    text.split_once('/').is_some_and(|(org, name)| {
        word(org) && word(name) && !org.starts_with('.') && !Path::new(org).exists()
    })
}

/// Shows a download: on a terminal as a bar, elsewhere as a line when it ends.
#[derive(Debug, Default)]
struct Bar(Mutex<Option<Under>>);

/// The download under way.
#[derive(Debug)]
struct Under {
    start: Instant,
    bar: Option<ProgressBar>,
    /// The bytes in all, and those that are there.
    bytes: (u64, u64),
}

impl Bar {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Under>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HubProgress for Bar {
    fn begin(&self, files: usize, bytes: u64) {
        if !io::stderr().is_terminal() {
            note(&format!("  {files} files, {}", megabytes(bytes)));
        }
        self.with(|under| {
            *under = Some(Under { start: Instant::now(), bar: bar(bytes, ""), bytes: (bytes, 0) })
        });
    }

    fn reached(&self, bytes: u64) {
        self.with(|under| {
            let Some(under) = under else { return };
            under.bytes.1 = bytes;
            if let Some(bar) = &under.bar {
                bar.set_position(bytes);
            }
        });
    }

    fn end(&self) {
        let Some(Under { start, bar, bytes: (all, there) }) = self.with(Option::take) else { return };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if all == there {
            note(&format!("  done ({:.1} s): {}", start.elapsed().as_secs_f64(), megabytes(all)));
        }
    }

    fn warn(&self, message: &str) {
        self.with(|under| warn_above(under.as_ref().and_then(|u| u.bar.as_ref()), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_id_is_two_words_and_no_path() {
        for (text, expected) in [
            ("Qwen/Qwen3-0.6B", true),
            ("Qwen3-0.6B", false),
            ("./Qwen3-0.6B", false),
            ("../Qwen3-0.6B", false),
            ("/models/Qwen3", false),
            ("models/Qwen/Qwen3", false),
            ("Qwen/", false),
            // `src` is a directory here, so this is a path that leads nowhere.
            ("src/Qwen3-0.6B", false),
        ] {
            assert_eq!(is_hub_id(text), expected, "{text}");
        }
    }
}
