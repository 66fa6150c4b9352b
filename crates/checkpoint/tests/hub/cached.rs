//! What the cache holds is used: without the hub, beside it, and with other processes.

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use anelith_checkpoint::{Checkpoint, ErrorKind, Hub, Revision};

use crate::server::{COMMIT, Fault, OLD, Server, etag};
use crate::{Cache, id, lines, names};

#[test]
fn a_revision_is_a_branch_a_tag_or_a_commit() {
    let (server, cache) = (Server::demo(), Cache::new());
    for revision in ["main", "v1", "refs/pr/1", "0123456", COMMIT] {
        let snapshot = cache.get_with(cache.settings(&server), revision).unwrap();
        assert_eq!(snapshot.commit, COMMIT, "{revision}");
        let said = fs::read_to_string(cache.model().join("refs").join(revision)).ok();
        assert_eq!(said.as_deref(), (revision != COMMIT).then_some(COMMIT));
    }
    // The same files under another commit come from the cache.
    server.requests();
    let old = cache.get_with(cache.settings(&server), OLD).unwrap();
    assert_eq!(old.dir, cache.model().join("snapshots").join(OLD));
    Checkpoint::open(&old.dir).unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_is_there_is_not_downloaded_again() {
    let (server, cache) = (Server::demo(), Cache::new());
    let snapshot = cache.get(&server).unwrap();
    server.requests();
    assert!(cache.get(&server).unwrap().lacking.is_empty());
    assert_eq!(server.requests().len(), 1, "the branch may have moved");
    cache.get_with(cache.settings(&server), COMMIT).unwrap();
    assert_eq!(server.requests().len(), 0, "a commit does not move");
    // A file that was cut short is not there.
    let config = snapshot.dir.join("config.json");
    let blob = cache.model().join("blobs").join(etag("config.json", &server.file("config.json")));
    fs::write(&blob, "{").unwrap();
    cache.get(&server).unwrap();
    assert_eq!(fs::read(config).unwrap(), server.file("config.json"));
}

#[test]
fn offline_the_cache_serves_or_it_is_said_what_it_lacks() {
    let (server, cache) = (Server::demo(), Cache::new());
    let mut settings = cache.settings(&server);
    settings.offline = true;
    let error = cache.get_with(settings.clone(), "main").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    let said = lines(&error);
    assert!(
        said.contains("offline") && said.contains("nothing of it") && said.contains("HF_HUB_OFFLINE"),
        "{said}"
    );

    let snapshot = cache.get(&server).unwrap();
    server.requests();
    for revision in ["main", COMMIT] {
        assert_eq!(cache.get_with(settings.clone(), revision).unwrap().dir, snapshot.dir);
    }
    assert!(cache.warnings().is_empty());
    let said = lines(&cache.get_with(settings.clone(), "v2").unwrap_err());
    assert!(said.contains("other revisions"), "{said}");

    fs::remove_file(snapshot.dir.join("generation_config.json")).unwrap();
    cache.get_with(settings.clone(), "main").unwrap();
    assert!(cache.warnings()[0].contains("does not have generation_config.json"));
    fs::remove_file(snapshot.dir.join("tokenizer.json")).unwrap();
    let said = lines(&cache.get_with(settings, "main").unwrap_err());
    assert!(said.contains("no tokenizer.json"), "{said}");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_hub_that_is_gone_leaves_the_cache() {
    let (server, cache) = (Server::demo(), Cache::new());
    let settings = cache.settings(&server);
    let snapshot = cache.get(&server).unwrap();
    server.fail("/api/", Fault::Status(503, &[]));
    assert_eq!(cache.get(&server).unwrap().dir, snapshot.dir);
    assert!(cache.warnings()[0].contains("the cache's copy"));
    drop(server);
    assert_eq!(cache.get_with(settings.clone(), "main").unwrap().dir, snapshot.dir);
    let other = Cache::new();
    let mut settings = settings;
    settings.cache = other.dir.path().to_owned();
    let error = other.get_with(settings, "main").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(lines(&error).contains("HTTPS_PROXY"));
}

#[test]
fn looking_writes_nothing() {
    let (server, cache) = (Server::demo(), Cache::new());
    let hub = Hub::new(cache.settings(&server));
    let snapshot = hub.find(&id(), &Revision::default(), &cache.said).unwrap();
    let lacking: Vec<&str> = snapshot.lacking.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(lacking.last(), Some(&"model.safetensors"));
    assert!(names(cache.dir.path()).is_empty());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn who_comes_second_waits_and_takes_what_the_first_has() {
    let (server, cache) = (Server::demo(), Cache::new());
    let weights = server.file("model.safetensors");
    let digest = etag("model.safetensors", &weights);
    let locks = cache.dir.path().join("hub/.locks/models--acme--Demo-0.5M");
    fs::create_dir_all(&locks).unwrap();
    let lock = File::create(locks.join(format!("{digest}.lock"))).unwrap();
    lock.lock().unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| cache.get(&server).unwrap());
        while cache.said.warnings.lock().unwrap().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        // The first has finished meanwhile.
        fs::write(cache.model().join("blobs").join(&digest), &weights).unwrap();
        drop(lock);
        let snapshot = second.join().unwrap();
        assert_eq!(fs::read(snapshot.dir.join("model.safetensors")).unwrap(), weights);
    });
    assert!(cache.warnings()[0].contains("another process downloads model.safetensors"));
    assert!(server.requests().iter().all(|r| !r.is_storage));
}
