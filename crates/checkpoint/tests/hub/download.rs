//! What is downloaded, in which pieces, and who sees the token.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anelith_checkpoint::{Checkpoint, ErrorKind};

use crate::server::{COMMIT, Fault, Server, etag};
use crate::{Cache, lines, names, token};

const NEEDED: [&str; 8] = [
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

#[test]
fn what_is_needed_comes_and_lies_as_other_tools_lay_it() {
    let (server, cache) = (Server::demo(), Cache::new());
    let snapshot = cache.get(&server).unwrap();
    assert_eq!(snapshot.dir, cache.model().join("snapshots").join(COMMIT));
    assert!(names(&snapshot.dir).iter().eq(NEEDED), "{:?}", names(&snapshot.dir));
    for name in NEEDED {
        let bytes = server.file(name);
        assert_eq!(fs::read(snapshot.dir.join(name)).unwrap(), bytes, "{name}");
        let blob = format!("../../blobs/{}", etag(name, &bytes));
        #[cfg(unix)]
        assert_eq!(fs::read_link(snapshot.dir.join(name)).unwrap().to_str(), Some(blob.as_str()));
        assert!(cache.model().join("blobs").join(&blob[12..]).is_file());
    }
    assert_eq!(cache.blobs().len(), NEEDED.len());
    assert_eq!(fs::read_to_string(cache.model().join("refs/main")).unwrap(), COMMIT);
    let absent = names(&cache.model().join(".no_exist").join(COMMIT));
    assert!(absent.iter().eq(["merges.txt", "tokenizer.model", "vocab.json"]), "{absent:?}");
    let checkpoint = Checkpoint::open(&snapshot.dir).unwrap().named(snapshot.id.model_name());
    assert_eq!(checkpoint.model_name(), "acme-Demo-0.5M");
    let reached = cache.said.reached.lock().unwrap();
    assert!(reached.is_sorted());
    assert_eq!(*reached.last().unwrap(), NEEDED.iter().map(|n| server.file(n).len() as u64).sum::<u64>());
    assert!(cache.warnings().is_empty());
}

#[test]
fn only_the_shards_of_the_index_come() {
    let (server, cache) = (Server::demo(), Cache::new());
    let whole = server.file("model.safetensors");
    server.remove("model.safetensors");
    let header: usize = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&whole[8..8 + header]).unwrap();
    let map: serde_json::Map<_, _> = header
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "__metadata__")
        .map(|name| (name.clone(), "model-00001-of-00001.safetensors".into()))
        .collect();
    server.put("model-00001-of-00001.safetensors", &whole);
    server
        .put("model.safetensors.index.json", serde_json::json!({ "weight_map": map }).to_string().as_bytes());
    let snapshot = cache.get(&server).unwrap();
    let weights: Vec<String> =
        names(&snapshot.dir).into_iter().filter(|n| n.contains("safetensors")).collect();
    assert_eq!(weights, ["model-00001-of-00001.safetensors", "model.safetensors.index.json"]);
    Checkpoint::open(&snapshot.dir).unwrap();
    // The commit is whole, and known to be.
    server.requests();
    cache.get_with(cache.settings(&server), COMMIT).unwrap();
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let (server, cache) = (Server::demo(), Cache::new());
    *server.state.token.lock().unwrap() = Some("hf_secret".to_owned());
    let mut settings = cache.settings(&server);
    settings.token = token("hf_secret");
    cache.get_with(settings, "main").unwrap();
    let requests = server.requests();
    assert!(requests.iter().any(|r| r.is_storage) && requests.iter().any(|r| !r.is_storage));
    for request in requests {
        let said = request.headers.get("authorization").map(String::as_str);
        assert_eq!(said, (!request.is_storage).then_some("Bearer hf_secret"), "{}", request.path);
    }
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let (server, cache) = (Server::demo(), Cache::new());
    server.fail("name=model.safetensors", Fault::Cut(500_000));
    server.fail("name=model.safetensors", Fault::Cut(700_000));
    server.fail("tokenizer.json", Fault::Cut(0));
    let snapshot = cache.get(&server).unwrap();
    assert_eq!(fs::read(snapshot.dir.join("model.safetensors")).unwrap(), server.file("model.safetensors"));
    let range = |r: crate::server::Request| r.is_storage.then(|| r.headers.get("range").cloned());
    let ranges: Vec<_> = server.requests().into_iter().filter_map(range).collect();
    assert_eq!(ranges, [None, Some("bytes=500000-".to_owned()), Some("bytes=1200000-".to_owned())]);
}

#[test]
fn what_an_earlier_run_has_left_is_kept() {
    let (server, cache) = (Server::demo(), Cache::new());
    let weights = server.file("model.safetensors");
    let partial = cache.model().join("blobs").join(etag("model.safetensors", &weights) + ".incomplete");
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, &weights[..1_000_000]).unwrap();
    cache.get(&server).unwrap();
    let requests = server.requests();
    let stored: Vec<_> = requests.iter().filter(|r| r.is_storage).collect();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].headers["range"], "bytes=1000000-");
    assert!(!partial.exists());
}

#[test]
fn a_server_without_ranges_sends_the_file_again() {
    let (server, cache) = (Server::demo(), Cache::new());
    server.fail("name=model.safetensors", Fault::Cut(500_000));
    server.fail("name=model.safetensors", Fault::Whole);
    let snapshot = cache.get(&server).unwrap();
    assert_eq!(fs::read(snapshot.dir.join("model.safetensors")).unwrap(), server.file("model.safetensors"));
}

#[test]
fn a_server_that_never_comes_further_is_given_up() {
    let (server, cache) = (Server::demo(), Cache::new());
    for _ in 0..30 {
        server.fail("name=model.safetensors", Fault::Cut(500_000));
        server.fail("name=model.safetensors", Fault::Status(416, &[]));
    }
    assert!(cache.get(&server).is_err());
    assert!(server.requests().iter().filter(|r| r.is_storage).count() < 30);
}

#[test]
fn another_file_than_the_hub_has_is_not_kept() {
    for (name, kind) in [("model.safetensors", "SHA-256"), ("tokenizer.json", "git SHA-1")] {
        let (server, cache) = (Server::demo(), Cache::new());
        server.fail(
            if kind == "SHA-256" { "name=model.safetensors" } else { "/tokenizer.json" },
            Fault::Changed,
        );
        let error = cache.get(&server).unwrap_err();
        let said = lines(&error);
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(
            said.starts_with(&format!("what was downloaded is not `{name}`")) && said.contains(kind),
            "{said}"
        );
        assert!(!cache.blobs().iter().any(|blob| blob.ends_with(".incomplete")));
        // Nor is what stood in the partial file before.
        let partial = cache.model().join("blobs").join(etag(name, &server.file(name)) + ".incomplete");
        fs::write(&partial, "not the beginning of that file").unwrap();
        assert!(lines(&cache.get(&server).unwrap_err()).contains("is not"));
        assert!(!partial.exists());
        cache.get(&server).unwrap();
    }
}

#[test]
fn a_partial_file_that_is_too_long_is_begun_again() {
    let (server, cache) = (Server::demo(), Cache::new());
    let weights = server.file("model.safetensors");
    let partial = cache.model().join("blobs").join(etag("model.safetensors", &weights) + ".incomplete");
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, vec![0; weights.len() + 1]).unwrap();
    cache.get(&server).unwrap();
    // A whole one lacks nothing but its name.
    fs::remove_file(cache.model().join("blobs").join(etag("model.safetensors", &weights))).unwrap();
    fs::write(&partial, &weights).unwrap();
    server.requests();
    cache.get(&server).unwrap();
    assert!(server.requests().iter().all(|r| !r.is_storage));
}

#[test]
fn what_passes_is_waited_for() {
    let (server, cache) = (Server::demo(), Cache::new());
    for status in [500, 503, 429] {
        server.fail("/api/", Fault::Status(status, &[("Retry-After", "0")]));
        server.fail("name=model.safetensors", Fault::Status(status, &[]));
        server.fail("/config.json", Fault::Status(status, &[]));
    }
    cache.get(&server).unwrap();
    assert!(server.state.faults.lock().unwrap().is_empty());
    // Each wait is told, since a server may ask for long ones.
    let told = cache.warnings();
    assert_eq!(told.len(), 9);
    assert!(told[2].contains("HTTP status 429; asked again in 0ns"), "{told:?}");
}

#[test]
fn a_silent_server_is_left_and_asked_again() {
    let (server, cache) = (Server::demo(), Cache::new());
    server.fail("name=model.safetensors", Fault::Stalled);
    let mut settings = cache.settings(&server);
    settings.silence = Duration::from_millis(300);
    cache.get_with(settings, "main").unwrap();
    assert_eq!(server.requests().iter().filter(|r| r.is_storage).count(), 2);
}

#[test]
fn a_hub_that_lists_only_names_is_asked_for_each_file() {
    let (server, cache) = (Server::demo(), Cache::new());
    server.state.is_terse.store(true, Ordering::SeqCst);
    let snapshot = cache.get(&server).unwrap();
    Checkpoint::open(&snapshot.dir).unwrap();
    assert_eq!(server.requests().iter().filter(|r| r.method == "HEAD").count(), NEEDED.len());
    assert!(cache.blobs().contains(&etag("model.safetensors", &server.file("model.safetensors"))));
}

#[test]
fn a_file_that_cannot_be_checked_is_told() {
    let (server, cache) = (Server::demo(), Cache::new());
    cache.get(&server).unwrap();
    assert!(cache.warnings().is_empty());
    let cache = Cache::new();
    server.state.is_odd.store(true, Ordering::SeqCst);
    cache.get(&server).unwrap();
    let told = cache.warnings();
    assert_eq!(told.len(), NEEDED.len());
    assert!(told.iter().any(|t| t.contains("no digest of model.safetensors; only its size")), "{told:?}");
}
