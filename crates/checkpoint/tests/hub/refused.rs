//! What users are told when there is nothing for them.

use std::sync::atomic::Ordering;

use anelith_checkpoint::{Error, ErrorKind};

use crate::server::{COMMIT, Fault, OLD, Server};
use crate::{Cache, lines, token};

/// Asks a hub that always fails so for its list of files.
fn refused(status: u16, headers: &'static [(&str, &str)], has_token: bool) -> Error {
    let (server, cache) = (Server::demo(), Cache::new());
    (0..5).for_each(|_| server.fail("/api/", Fault::Status(status, headers)));
    let mut settings = cache.settings(&server);
    settings.token = token(if has_token { "hf_secret" } else { "" });
    let error = cache.get_with(settings, "main").unwrap_err();
    assert!(cache.blobs().is_empty());
    assert!(!format!("{error:?}").contains("hf_secret"));
    error
}

#[test]
fn every_refusal_says_what_to_do() {
    const GATED: &[(&str, &str)] =
        &[("X-Error-Code", "GatedRepo"), ("X-Error-Message", "Access is restricted.")];
    const UNKNOWN: &[(&str, &str)] = &[("X-Error-Code", "RepoNotFound")];
    const REVISION: &[(&str, &str)] = &[("X-Error-Code", "RevisionNotFound")];
    for (status, headers, has_token, kind, words) in [
        (
            401,
            GATED,
            false,
            ErrorKind::Missing,
            &["accepted its terms", "/acme/Demo-0.5M", "HF_TOKEN", "restricted"][..],
        ),
        (403, GATED, true, ErrorKind::Missing, &["accepted its terms", "owner of the token"]),
        (401, UNKNOWN, false, ErrorKind::Missing, &["does not exist, or is not for everyone", "HF_TOKEN"]),
        (401, UNKNOWN, true, ErrorKind::Missing, &["does not accept the token", "hf auth whoami"]),
        (403, &[], true, ErrorKind::Missing, &["the token may not read", "another"]),
        (404, UNKNOWN, true, ErrorKind::Missing, &["there is no model `acme/Demo-0.5M`", "private"]),
        (404, REVISION, false, ErrorKind::Missing, &["no revision `main`", "--revision"]),
        (429, &[("Retry-After", "0")], false, ErrorKind::Network, &["refuses more requests", "HF_TOKEN"]),
        (
            500,
            &[],
            false,
            ErrorKind::Network,
            &["fails to give the list of files", "HTTP status 500", "later"],
        ),
        (418, &[], false, ErrorKind::Network, &["does not give", "HF_ENDPOINT"]),
    ] {
        let error = refused(status, headers, has_token);
        let said = lines(&error);
        assert_eq!(error.kind(), kind, "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{status}, {word}: {said}"));
    }
}

#[test]
fn what_is_no_hub_is_not_taken_for_one() {
    let (server, cache) = (Server::demo(), Cache::new());
    server.fail("/api/", Fault::Status(200, &[]));
    let error = cache.get(&server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(lines(&error).contains("HF_ENDPOINT"), "{}", lines(&error));
}

#[test]
fn other_formats_are_refused_before_anything_is_downloaded() {
    let (server, cache) = (Server::demo(), Cache::new());
    server.remove("model.safetensors");
    server.remove("consolidated.safetensors");
    let error = cache.get(&server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    let said = lines(&error);
    assert!(said.contains("pytorch_model.bin") && said.contains("safetensors"), "{said}");
    assert_eq!(server.requests().len(), 1);

    server.put("model.safetensors", b"x");
    server.remove("tokenizer.json");
    assert!(lines(&cache.get(&server).unwrap_err()).contains("tokenizer.json"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn models_that_are_not_converted_are_refused_before_their_weights() {
    let (server, cache) = (Server::demo(), Cache::new());
    let config = String::from_utf8(server.file("config.json")).unwrap();
    server
        .put("config.json", config.replace("qwen3", "bloom").replace("Qwen3ForCausalLM", "Bloom").as_bytes());
    let error = cache.get(&server).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", lines(&error));
    assert!(server.requests().iter().all(|request| !request.is_storage));
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_downloaded() {
    // The second is more than a number of bytes can be once the other files are added.
    for size in [1 << 60, u64::MAX] {
        let (server, cache) = (Server::demo(), Cache::new());
        server.state.size.store(size, Ordering::SeqCst);
        let error = cache.get(&server).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let said = lines(&error);
        assert!(said.contains("no room for `acme/Demo-0.5M`") && said.contains("HF_HUB_CACHE"), "{said}");
        assert_eq!(server.requests().len(), 1);
        assert!(cache.blobs().is_empty());
    }
}

#[test]
fn a_commit_that_is_named_is_the_one_that_is_taken() {
    let (server, cache) = (Server::demo(), Cache::new());
    server.state.is_elsewhere.store(true, Ordering::SeqCst);
    let error = cache.get_with(cache.settings(&server), COMMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(lines(&error).contains("another commit"), "{}", lines(&error));
    assert!(cache.blobs().is_empty());
    // A branch is whatever the hub says.
    assert_eq!(cache.get(&server).unwrap().commit, OLD);
}
