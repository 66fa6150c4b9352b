//! Models by their hub id: found in the cache that `huggingface_hub` and other tools share, or downloaded into it.

mod address;
mod cache;
mod client;
mod digest;
mod download;
mod id;
mod listing;
mod refusal;
mod settings;

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use anelith_report::Reported;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensors::{INDEX, MAX_INDEX_BYTES};
use address::escaped;
use cache::{Repository, existing};
use client::{Client, Patience, Told, Trouble};
use digest::Digest;
use download::Download;
pub use id::{ModelId, Revision};
pub use listing::RemoteFile;
use listing::{Listing, MAX_LISTING_BYTES, Weights};
use refusal::Request;
pub use settings::{HubSettings, HubToken};

/// Watches a download. By themselves its methods do nothing.
pub trait HubProgress {
    /// A download begins, of `bytes` in `files` files. What an interrupted one has left is part of it.
    fn begin(&self, _files: usize, _bytes: u64) {}

    /// So many of the bytes are there. The number falls when a file has to be begun again.
    fn reached(&self, _bytes: u64) {}

    /// All is there, or the download has failed.
    fn end(&self) {}

    /// Something the user should know but that stops nothing.
    fn warn(&self, _message: &str) {}
}

/// A hub and the cache for what is downloaded from it.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
    client: Client,
}

/// A model at one commit.
#[derive(Debug)]
pub struct Snapshot {
    /// The model.
    pub id: ModelId,
    /// What was asked for.
    pub revision: Revision,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The model directory in the cache. It is whole when nothing is lacking.
    pub dir: PathBuf,
    /// The files that a conversion needs and that the cache does not have, the weights last.
    pub lacking: Vec<RemoteFile>,
    /// Files that a conversion takes where a model has them, and that this one is known not to have.
    absent: Vec<&'static str>,
}

impl Snapshot {
    /// The bytes of the files that are lacking; the largest number there is where a hub says more.
    pub fn lacking_bytes(&self) -> u64 {
        total(self.lacking.iter().map(|file| file.size))
    }
}

impl Hub {
    /// A hub with these settings. Nothing is asked of it yet.
    pub fn new(settings: HubSettings) -> Hub {
        Hub { client: Client::new(&settings), settings }
    }

    /// Whether the hub answers, whatever it says; asked once, in the way of downloads: through a proxy where one is set.
    ///
    /// The error is `Network`.
    pub fn reach(&self) -> Result<()> {
        match self.client.get(&self.settings.endpoint, 0) {
            Ok(_) | Err(Trouble::Status(_)) => Ok(()),
            Err(Trouble::Connection(why)) => Err(Error::network(why)
                .at(&self.settings.endpoint)
                .mending("check HTTPS_PROXY and HF_ENDPOINT")),
        }
    }

    /// Finds a model: the commit that `revision` stands for, and which of the files that a conversion needs are lacking
    /// in the cache. Writes no file.
    ///
    /// A whole commit that the cache has is not asked for. Offline, and where the hub cannot be reached, what the cache
    /// has of the revision serves, if that is whole; `progress` is told so.
    ///
    /// Errors are `Missing` where there is no such model, revision, or file in it, or not for this user; `Network` where the
    /// hub does not answer; `Malformed` where it answers what makes no sense.
    pub fn find(&self, id: &ModelId, revision: &Revision, progress: &dyn HubProgress) -> Result<Snapshot> {
        let repository = Repository::new(&self.settings.cache, id);
        let cached = repository.commit_of(revision);
        let whole = cached.as_ref().filter(|commit| repository.gap(commit).is_none());
        let local = |commit: &String| Snapshot {
            id: id.clone(),
            revision: revision.clone(),
            commit: commit.clone(),
            dir: repository.snapshot(commit),
            lacking: Vec::new(),
            absent: Vec::new(),
        };
        if let Some(commit) = whole.filter(|c| revision.is_commit() && repository.unknown(c).is_empty()) {
            return Ok(local(commit));
        }
        if self.settings.offline {
            let Some(commit) = whole else { return Err(self.not_cached(&repository, id, revision, cached)) };
            note_unknown(&repository, commit, progress);
            return Ok(local(commit));
        }
        let request = self.request(id, revision, None);
        let told = |why: &str| progress.warn(&format!("{}: {why}", self.settings.endpoint));
        let patience = if whole.is_some() { Patience::none() } else { self.client.patience(&told) };
        let answer = self.client.bytes(&self.listing_url(id, revision), MAX_LISTING_BYTES, patience);
        let listing = match (answer, whole) {
            (Err(trouble), Some(commit)) if trouble.is_passing() => {
                progress
                    .warn(&format!("{}; the cache's copy of it is used, {commit}", request.error(&trouble)));
                note_unknown(&repository, commit, progress);
                return Ok(local(commit));
            }
            (answer, _) => Listing::parse(&request.answered(answer)?, &self.settings.endpoint)?,
        };
        if revision.is_commit() && listing.commit != revision.as_str() {
            return Err(self.other_commit(id, revision, &listing.commit));
        }
        self.compare(&repository, id, revision, &listing, &told)
    }

    /// Compares what the hub has with what the cache has.
    fn compare(
        &self,
        repository: &Repository,
        id: &ModelId,
        revision: &Revision,
        listing: &Listing,
        told: Told<'_>,
    ) -> Result<Snapshot> {
        let page = self.request(id, revision, None).page();
        let mut names: Vec<String> = listing.beside_weights(&page)?.into_iter().map(str::to_owned).collect();
        match listing.weights(&page)? {
            Weights::Single(name) => names.push(name),
            Weights::Index => {
                names.push(INDEX.to_owned());
                let index = self.index(repository, id, revision, listing, told)?;
                names.extend(listing.shards(&index, &page)?);
            }
        }
        let mut lacking = Vec::new();
        for name in &names {
            let file = self.remote_file(id, revision, listing, name, told)?;
            if !repository.has(&listing.commit, &file) {
                lacking.push(file);
            }
        }
        Ok(Snapshot {
            id: id.clone(),
            revision: revision.clone(),
            commit: listing.commit.clone(),
            dir: repository.snapshot(&listing.commit),
            lacking,
            absent: listing.absent().collect(),
        })
    }

    /// The text of the index, from the cache or from the hub.
    fn index(
        &self,
        repository: &Repository,
        id: &ModelId,
        revision: &Revision,
        listing: &Listing,
        told: Told<'_>,
    ) -> Result<Vec<u8>> {
        let file = self.remote_file(id, revision, listing, INDEX, told)?;
        let path = repository.snapshot(&listing.commit).join(INDEX);
        if repository.has(&listing.commit, &file) && file.size <= MAX_INDEX_BYTES {
            return fs::read(&path).map_err(|e| Error::io("read", &path, &e));
        }
        let url = self.file_url(id, &listing.commit, INDEX);
        let answer = self.client.bytes(&url, MAX_INDEX_BYTES, self.client.patience(told));
        self.request(id, revision, Some(INDEX)).answered(answer)
    }

    /// Size and digest of a file, from the list, or where that does not tell them, from the file's own headers.
    fn remote_file(
        &self,
        id: &ModelId,
        revision: &Revision,
        listing: &Listing,
        name: &str,
        told: Told<'_>,
    ) -> Result<RemoteFile> {
        if let Some(file) = listing.file(name) {
            return Ok(file);
        }
        let request = self.request(id, revision, Some(name));
        let answer = self.client.head(&self.file_url(id, &listing.commit, name), self.client.patience(told));
        let answer = request.answered(answer)?;
        let file = answer.etag.zip(answer.size).and_then(|(etag, size)| RemoteFile::new(name, size, &etag));
        file.ok_or_else(|| {
            request.error(&Trouble::Connection(
                "the answer has no ETag with Content-Length, or none that names a file".into(),
            ))
        })
    }

    /// Downloads what a snapshot lacks. Files that are complete stay whatever happens to the others; of a file that is not
    /// there is the beginning, with which the next download goes on.
    ///
    /// `config.json` is read before any weight is downloaded: a model that is not converted is refused then.
    ///
    /// Errors are `Io` where the disk has no room or fails, those of [`Hub::find`], and those of [`Config::read`].
    pub fn download(&self, snapshot: &Snapshot, progress: &dyn HubProgress) -> Result<()> {
        let repository = Repository::new(&self.settings.cache, &snapshot.id);
        self.check_room(&repository, snapshot)?;
        if !snapshot.lacking.is_empty() {
            progress.begin(snapshot.lacking.len(), snapshot.lacking_bytes());
            let done = self.download_files(&repository, snapshot, progress);
            progress.end();
            done?;
        }
        snapshot.absent.iter().for_each(|name| repository.note_absent(&snapshot.commit, name));
        if !snapshot.revision.is_commit() {
            repository.note_commit(&snapshot.revision, &snapshot.commit);
        }
        Ok(())
    }

    fn download_files(
        &self,
        repository: &Repository,
        snapshot: &Snapshot,
        progress: &dyn HubProgress,
    ) -> Result<()> {
        let done = Cell::new(0);
        let mut is_config_read = false;
        let told = |why: &str| progress.warn(&format!("{}: {why}", self.settings.endpoint));
        for file in &snapshot.lacking {
            if file.is_weights() && !is_config_read {
                Config::read(&snapshot.dir)?;
                is_config_read = true;
            }
            if !Digest::is_known(&file.etag) {
                let name = &file.name;
                progress.warn(&format!("the hub tells no digest of {name}; only its size is checked"));
            }
            let reached = |bytes: u64| progress.reached(done.get() + bytes);
            let on_wait =
                || progress.warn(&format!("another process downloads {}; waiting for it", file.name));
            let lock = repository.lock(file, on_wait)?;
            if repository.lacking(file) > 0 || !repository.blob(file).is_file() {
                let download = Download {
                    client: &self.client,
                    repository,
                    request: self.request(&snapshot.id, &snapshot.revision, Some(&file.name)),
                    file,
                    url: self.file_url(&snapshot.id, &snapshot.commit, &file.name),
                    reached: &reached,
                    told: &told,
                };
                download.run()?;
            }
            if !repository.has(&snapshot.commit, file) {
                repository.link(&snapshot.commit, file)?;
            }
            drop(lock);
            done.set(done.get() + file.size);
            progress.reached(done.get());
        }
        Ok(())
    }

    /// Refuses to begin what the disk has no room for.
    fn check_room(&self, repository: &Repository, snapshot: &Snapshot) -> Result<()> {
        let needed = total(snapshot.lacking.iter().map(|file| repository.lacking(file)));
        let place = existing(repository.dir());
        let available = match needed {
            0 => return Ok(()),
            _ => fs4::available_space(place).map_err(|e| Error::io("find the free space of", place, &e))?,
        };
        if needed <= available {
            return Ok(());
        }
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        Err(Error::no_room(format!("the disk has no room for `{}`", snapshot.id))
            .at(place.display())
            .expecting(format!("{} free", megabytes(needed)))
            .finding(format!("{} free", megabytes(available)))
            .mending("free some space, or set HF_HUB_CACHE to a directory on another disk"))
    }

    fn not_cached(
        &self,
        repository: &Repository,
        id: &ModelId,
        revision: &Revision,
        cached: Option<String>,
    ) -> Error {
        let found = match cached {
            Some(commit) => repository.gap(&commit).map(|gap| format!("of {commit}: {gap}")),
            None if repository.dir().is_dir() => Some("other revisions of it".to_owned()),
            None => None,
        };
        Error::missing(format!("offline, and the cache does not have `{id}` at `{revision}`"))
            .at(repository.dir().display())
            .expecting("config.json, the tokenizer files and the weights of that revision")
            .finding(found.unwrap_or_else(|| "nothing of it".to_owned()))
            .mending("take HF_HUB_OFFLINE away to download it, or give a directory to --model")
    }

    /// Who names a commit wants that one and no other.
    fn other_commit(&self, id: &ModelId, revision: &Revision, found: &str) -> Error {
        Error::malformed(format!("the hub answers with another commit of `{id}` than was asked for"))
            .at(&self.settings.endpoint)
            .expecting(revision)
            .finding(found)
            .mending("check HF_ENDPOINT, and what stands between it and this machine")
    }

    fn request<'r>(&'r self, id: &'r ModelId, revision: &'r Revision, file: Option<&'r str>) -> Request<'r> {
        Request { endpoint: &self.settings.endpoint, id, revision, file, has_token: self.client.has_token() }
    }

    fn listing_url(&self, id: &ModelId, revision: &Revision) -> String {
        format!(
            "{}/api/models/{id}/revision/{}?blobs=true",
            self.settings.endpoint,
            escaped(revision.as_str())
        )
    }

    fn file_url(&self, id: &ModelId, commit: &str, name: &str) -> String {
        format!("{}/{id}/resolve/{commit}/{}", self.settings.endpoint, escaped(name))
    }
}

/// The sum of sizes that a hub has told, which may be any numbers.
fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// Without the hub nobody knows whether the model has files that the cache lacks.
fn note_unknown(repository: &Repository, commit: &str, progress: &dyn HubProgress) {
    let unknown = repository.unknown(commit);
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        progress.warn(&format!("the cache does not have {names}; if the model has, it is converted without"));
    }
}
