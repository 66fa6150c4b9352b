//! Models from a hub, which is a server on this machine: what is asked for, what the cache holds afterwards, and what
//! users are told. No test reaches another machine.

mod cached;
mod download;
mod refused;
mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anelith_checkpoint::{
    Error, Hub, HubProgress, HubSettings, HubToken, ModelId, Result, Revision, Snapshot,
};
use tempfile::TempDir;

use server::{ID, Server};

/// A cache, and what it was told.
struct Cache {
    dir: TempDir,
    said: Said,
}

#[derive(Debug, Default)]
struct Said {
    warnings: Mutex<Vec<String>>,
    reached: Mutex<Vec<u64>>,
}

impl HubProgress for Said {
    fn reached(&self, bytes: u64) {
        self.reached.lock().unwrap().push(bytes);
    }

    fn warn(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_owned());
    }
}

impl Cache {
    fn new() -> Cache {
        Cache { dir: TempDir::new().unwrap(), said: Said::default() }
    }

    fn settings(&self, server: &Server) -> HubSettings {
        let mut settings = HubSettings::new(&server.endpoint, self.dir.path().join("hub")).unwrap();
        settings.first_wait = Duration::from_millis(1);
        settings
    }

    fn get(&self, server: &Server) -> Result<Snapshot> {
        self.get_with(self.settings(server), "main")
    }

    fn get_with(&self, settings: HubSettings, revision: &str) -> Result<Snapshot> {
        let hub = Hub::new(settings);
        let snapshot = hub.find(&id(), &Revision::parse(revision)?, &self.said)?;
        hub.download(&snapshot, &self.said)?;
        Ok(snapshot)
    }

    /// The model's directory in the cache.
    fn model(&self) -> PathBuf {
        self.dir.path().join("hub/models--acme--Demo-0.5M")
    }

    fn blobs(&self) -> BTreeSet<String> {
        names(&self.model().join("blobs"))
    }

    fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.said.warnings.lock().unwrap())
    }
}

fn id() -> ModelId {
    ModelId::parse(ID).unwrap()
}

fn token(text: &str) -> Option<HubToken> {
    HubToken::new(text, "the test").unwrap()
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// All that is said of an error.
fn lines(error: &Error) -> String {
    use anelith_report::Reported;
    let report = error.report();
    let rows = [&report.location, &report.expected, &report.found, &report.mend];
    let rows: Vec<&str> = rows.into_iter().flatten().map(String::as_str).collect();
    format!("{}\n{}", report.what, rows.join("\n"))
}
